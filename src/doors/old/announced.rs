//! The servers that have announced themselves, and when each is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::doors::refused::Refused;
use crate::transport::Source;

/// The most servers that are kept.
pub(super) const MAX_ANNOUNCED: usize = 256;

/// The most of them at one address or IPv6 network, this machine excepted: a host can announce only
/// itself, and leaves place for others.
const MAX_AT_ONE: usize = 64;

const FULL: Refused = Refused("there are 256 announced servers, the most that are kept");
const FULL_HOST: Refused =
    Refused("there are 64 announced servers at that host, the most that are kept");

/// After so many looks in a row that have found nothing, a server is not listed.
const FALL: u32 = 3;

/// The servers that have announced themselves.
pub(super) struct Announced {
    servers: Mutex<BTreeMap<SocketAddr, Server>>,
    /// How long one is kept without a word.
    keep: Duration,
    /// The time between two looks.
    look: Duration,
}

struct Server {
    until: Instant,
    look_at: Instant,
    /// Looks in a row that have found nothing.
    failed: u32,
}

impl Announced {
    pub(super) fn new(keep: Duration, look: Duration) -> Self {
        Self {
            servers: Mutex::default(),
            keep,
            look,
        }
    }

    /// A server announces itself. It is refused if there are too many, and it is not among them.
    pub(super) fn announce(&self, at: SocketAddr, now: Instant) -> Result<(), Refused> {
        let mut servers = self.servers(now);
        if !servers.contains_key(&at) {
            if servers.len() >= MAX_ANNOUNCED {
                return Err(FULL);
            }
            let host = Source::of(at);
            let there = servers.keys().filter(|known| Source::of(**known) == host);
            if !host.is_local() && there.count() >= MAX_AT_ONE {
                return Err(FULL_HOST);
            }
        }
        let server = Server {
            until: now + self.keep,
            look_at: now,
            failed: 0,
        };
        servers.insert(at, server);
        Ok(())
    }

    /// A line of status came from a server.
    pub(super) fn heard(&self, at: SocketAddr, now: Instant) {
        if let Some(server) = self.servers(now).get_mut(&at) {
            server.until = now + self.keep;
            server.look_at = now + self.look;
            server.failed = 0;
        }
    }

    /// A look at a server has found nothing.
    pub(super) fn silent(&self, at: SocketAddr, now: Instant) {
        if let Some(server) = self.servers(now).get_mut(&at) {
            server.failed = server.failed.saturating_add(1);
        }
    }

    /// A server that nobody is to know any more.
    pub(super) fn forget(&self, at: SocketAddr, now: Instant) {
        self.servers(now).remove(&at);
    }

    /// The servers that are to be looked at now: each once, until its next turn.
    pub(super) fn due(&self, now: Instant) -> Vec<SocketAddr> {
        let mut servers = self.servers(now);
        let due = servers
            .iter_mut()
            .filter(|(_, server)| server.look_at <= now);
        let due = due.map(|(at, server)| {
            server.look_at = now + self.look;
            *at
        });
        due.collect()
    }

    /// The servers that were there at the last looks.
    pub(super) fn there(&self, now: Instant) -> BTreeSet<SocketAddr> {
        let servers = self.servers(now);
        let there = servers.iter().filter(|(_, server)| server.failed < FALL);
        there.map(|(at, _)| *at).collect()
    }

    /// Those whose time is not over.
    fn servers(&self, now: Instant) -> MutexGuard<'_, BTreeMap<SocketAddr, Server>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, server| server.until > now);
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: usize) -> SocketAddr {
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn is_there(announced: &Announced, at: SocketAddr, now: Instant) -> bool {
        announced.there(now).contains(&at)
    }

    #[test]
    fn an_announcement_lasts_until_its_time_is_over_unless_it_is_heard_again() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        announced.announce(at(5050), start).unwrap();
        announced.announce(at(5051), start).unwrap();
        assert_eq!(announced.due(start), [at(5050), at(5051)]);
        assert_eq!(announced.due(after(9)), []);
        announced.heard(at(5050), after(9));
        assert_eq!(announced.due(after(10)), [at(5051)]);
        assert_eq!(announced.due(after(19)), [at(5050)]);
        announced.heard(at(5050), after(590));
        assert!(is_there(&announced, at(5051), after(599)));
        assert!(!is_there(&announced, at(5051), after(600)));
        assert!(is_there(&announced, at(5050), after(1189)));
        assert!(!is_there(&announced, at(5050), after(1190)));
        announced.heard(at(5050), after(1191));
        assert!(
            !is_there(&announced, at(5050), after(1191)),
            "it is forgotten"
        );
    }

    #[test]
    fn a_server_that_is_silent_three_times_is_not_listed_until_it_is_heard() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let now = Instant::now();
        announced.announce(at(5050), now).unwrap();
        for listed in [true, true, false] {
            announced.silent(at(5050), now);
            assert_eq!(is_there(&announced, at(5050), now), listed);
        }
        announced.heard(at(5050), now);
        assert!(is_there(&announced, at(5050), now));
        announced.forget(at(5050), now);
        assert!(!is_there(&announced, at(5050), now));
    }

    #[test]
    fn so_many_are_kept_and_no_known_one_is_pushed_out() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let now = Instant::now();
        for port in 0..MAX_ANNOUNCED {
            announced.announce(at(5000 + port), now).unwrap();
        }
        assert_eq!(announced.announce(at(4000), now), Err(FULL));
        announced.announce(at(5000), now).expect("a known one");
        assert!(is_there(&announced, at(5000 + MAX_ANNOUNCED - 1), now));
        let later = now + Duration::from_mins(10);
        announced.announce(at(4000), later).unwrap();
    }

    /// One host could take all places.
    #[test]
    fn a_host_leaves_place_for_others() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let now = Instant::now();
        let announce = |host: &str, port: usize| {
            let at = format!("{host}:{port}").parse().unwrap();
            announced.announce(at, now)
        };
        for port in 0..MAX_AT_ONE {
            announce("10.0.0.1", 5000 + port).unwrap();
            announce(&format!("[2001:db8::{port}]"), 5000).unwrap();
        }
        assert_eq!(announce("10.0.0.1", 4000), Err(FULL_HOST));
        assert_eq!(announce("[2001:db8::ffff]", 5000), Err(FULL_HOST));
        announce("10.0.0.1", 5000).expect("a known one");
        announce("10.0.0.2", 5000).unwrap();
        announce("[2001:db8:0:1::1]", 5000).unwrap();
    }
}
