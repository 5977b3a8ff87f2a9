//! The doorways of the first monitoring system, for its programs as they are: servers that announce
//! themselves and push lines of status, clients that pick a server from a list, and checkers.
//!
//! Servers that announce themselves are claims: they are shown and looked at, never sent a file. What
//! a checker says is shown as a note at the member, and removes nobody.

mod announce;
mod announced;
mod checker;
mod entries;
mod lines;
mod look;
mod pick;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::announced::Announced;
use crate::fleet::Fleet;
use crate::transport::{self, BoxStream, Places, Seat};

/// The most connections of announcing servers at once.
const ANNOUNCING: usize = 64;

/// The most clients at once.
const CLIENTS: usize = 64;

/// The most checkers at once, and more that are told to go.
const CHECKERS: usize = 8;

/// The doorways of the first monitoring system; each may be closed.
#[derive(Debug, Default)]
pub struct OldDoors {
    /// Where servers announce themselves.
    pub announce: Option<TcpListener>,
    /// Networks whose addresses everybody may announce; without them, servers announce themselves
    /// only.
    pub hosts: Vec<IpNet>,
    /// Where clients pick a server.
    pub pick: Option<TcpListener>,
    /// Where checkers come.
    pub checker: Option<TcpListener>,
    /// Waits that no flag sets.
    pub limits: OldLimits,
}

/// The waits at these doorways; tests pass shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct OldLimits {
    /// How long an announcement may take.
    pub announcement: Duration,
    /// How long an announced server is known without another announcement or a line of status.
    pub announced: Duration,
    /// The time between two looks at an announced server.
    pub look: Duration,
    /// How long a connection to a server, a line of it, or room for what is written may take.
    pub patience: Duration,
    /// How long a client may be silent.
    pub idle: Duration,
    /// The least time between two lines to one client, and between two lists to one checker.
    pub pace: Duration,
    /// How long a checker may take for its answer, beside [`Self::check_each`].
    pub check: Duration,
    /// How long it may take for each server of its list.
    pub check_each: Duration,
}

impl Default for OldLimits {
    fn default() -> Self {
        Self {
            announcement: Duration::from_secs(2),
            announced: Duration::from_mins(10),
            look: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            idle: Duration::from_mins(5),
            pace: Duration::from_secs(1),
            check: Duration::from_secs(10),
            check_each: Duration::from_secs(2),
        }
    }
}

/// Who is at the other end of a connection.
struct Peer {
    address: SocketAddr,
    seat: Arc<Seat>,
}

/// What all three share.
struct Shared {
    fleet: Fleet,
    announced: Announced,
    hosts: Vec<IpNet>,
    limits: OldLimits,
    stop: CancellationToken,
}

/// The most connections at once, in either direction, of doorways of which these are open.
pub fn max_connections(announce: bool, pick: bool, checker: bool) -> usize {
    let announce = if announce {
        ANNOUNCING + look::AT_ONCE
    } else {
        0
    };
    // A client's server has a connection of its own.
    let pick = if pick { 2 * CLIENTS } else { 0 };
    announce + pick + if checker { CHECKERS } else { 0 }
}

impl OldDoors {
    /// Whether any of them is open.
    pub fn is_open(&self) -> bool {
        self.announce.is_some() || self.pick.is_some() || self.checker.is_some()
    }

    /// Serves until `stop` is cancelled, and ends the connections then.
    pub async fn run(self, fleet: Fleet, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            announced: Announced::new(self.limits.announced, self.limits.look),
            fleet,
            hosts: self.hosts,
            limits: self.limits,
            stop: stop.clone(),
        });
        if let Some(listener) = self.announce {
            shared.remember();
            tasks.spawn(look::keep_looking(shared.clone(), tasks.clone()));
            shared.serve(listener, ANNOUNCING, &tasks, announce::serve);
        }
        if let Some(listener) = self.pick {
            shared.serve(listener, CLIENTS, &tasks, pick::serve);
        }
        if let Some(listener) = self.checker {
            let turns = Arc::default();
            shared.serve(listener, CHECKERS, &tasks, move |stream, peer, shared| {
                checker::serve(stream, peer, shared, Arc::clone(&turns))
            });
        }
        stop.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }
}

impl Shared {
    /// Accepts connections, at most so many at once, and ends them when it is told to stop.
    fn serve<H, F>(
        self: &Arc<Self>,
        listener: TcpListener,
        most: usize,
        tasks: &TaskTracker,
        handle: H,
    ) where
        H: Fn(BoxStream, Peer, Arc<Self>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = self.clone();
        tasks.spawn(transport::serve(
            listener,
            Arc::new(Places::new(most)),
            self.stop.clone(),
            tasks.clone(),
            move |stream, address, seat: Arc<Seat>| {
                let stop = shared.stop.clone();
                let peer = Peer {
                    address,
                    seat: seat.clone(),
                };
                let serving = handle(stream, peer, shared.clone());
                async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = seat.asked_to_leave() => {}
                        () = serving => {}
                    }
                }
            },
        ));
    }
}

#[cfg(test)]
mod tests;
