//! The doorway for datagrams: those of the first datagram system, which anybody could have sent, and
//! signed ones. Nothing is ever answered, so nobody can be made to get what they have not asked for.

mod kernel;
mod signed;

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::net::sockopt;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use self::kernel::Dropped;
use self::signed::{OLDER_RUN, Runs};
use super::known::Known;
use super::object::is_shallow;
use super::refused::Refused;
use super::words::{self, DATAGRAM_EVERY};
use crate::access::users::TokenId;
use crate::access::{At, Lock, Right};
use crate::fleet::datagram::{Datagram, MAX_DATAGRAM, Sealed};
use crate::fleet::{Author, DoorName, Fleet};
use crate::fleet_core::{Identity, Source, Told, Trust};

/// The most addresses that plain datagrams are taken from.
pub const MAX_SOURCES: usize = 1024;

/// The most tokens whose datagrams are told apart.
const MAX_TOKENS: usize = 16 * 1024;

/// Bytes of datagrams that the kernel holds until they are read.
const RECEIVE_BUFFER: usize = 1 << 20;

/// The most datagrams that are read without a look at what else is to be done.
const AT_ONCE: usize = 64;

/// Datagrams gather for so long before they are read: of many agents some always speak, and to wake
/// up for each costs more than what it says.
const GATHER: Duration = Duration::from_millis(4);

/// How often notes are made, and what the kernel has dropped is counted.
const TICK: Duration = Duration::from_secs(5);

/// What is noted at a member whose name is that of two agents.
const TWO_AT_ADDRESS: &str =
    "two agents speak from this address: only the last word of either is shown";
const TWO_WITH_TOKEN: &str = "two agents use this token: give each host a user of its own";

/// The doorway for datagrams, bound and not open yet.
#[derive(Debug)]
pub struct AgentsUdp {
    /// Where they come in.
    pub socket: UdpSocket,
    /// Where plain ones may come from. Signed ones may come from anywhere.
    pub from: Vec<IpNet>,
}

/// What is known of those who send datagrams.
struct Udp {
    lock: Lock,
    fleet: Fleet,
    from: Vec<IpNet>,
    sources: Known<IpAddr>,
    tokens: Known<TokenId>,
    users: BTreeMap<TokenId, Arc<str>>,
    runs: Runs,
    author: Author,
    began: Instant,
}

impl AgentsUdp {
    /// Takes datagrams until `stop` is cancelled.
    pub async fn run(self, lock: Lock, fleet: Fleet, stop: CancellationToken) {
        let Self { socket, from } = self;
        if let Err(error) = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER) {
            tracing::debug!(%error, "the receive buffer for datagrams stays small");
        }
        let mut dropped = Dropped::of(&socket);
        let mut udp = Udp {
            lock,
            author: fleet.author(),
            fleet,
            from,
            sources: Known::new(MAX_SOURCES),
            tokens: Known::new(MAX_TOKENS),
            users: BTreeMap::new(),
            runs: Runs::default(),
            began: Instant::now(),
        };
        // One byte more: what is longer is seen, and refused.
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = socket.readable() => {
                    let are_read = (0..AT_ONCE).all(|_| udp.take_one(&socket, &mut buffer));
                    if are_read {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                _ = tick.tick() => {
                    udp.note();
                    let more = dropped.more().await;
                    udp.fleet.doors().refused_many(DoorName::Udp, DROPPED, more);
                }
            }
        }
    }
}

/// The reason for what nobody could read in time.
const DROPPED: &str = "dropped by the kernel";

impl Udp {
    /// Takes a datagram that has come. Whether there was one.
    fn take_one(&mut self, socket: &UdpSocket, buffer: &mut [u8]) -> bool {
        match socket.try_recv_from(buffer) {
            Ok((length, peer)) => {
                self.came(buffer.get(..length).unwrap_or_default(), peer);
                true
            }
            Err(error) => {
                // An earlier answer of the network to nothing that was sent passes.
                if error.kind() != ErrorKind::WouldBlock {
                    tracing::debug!(%error, "no datagram could be read");
                }
                false
            }
        }
    }

    /// A datagram came.
    fn came(&mut self, bytes: &[u8], peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match self.take(bytes, peer) {
            Ok(()) => self.fleet.doors().took(DoorName::Udp),
            Err(Refused(reason)) => self.fleet.doors().refused(DoorName::Udp, reason, &peer),
        }
    }

    fn take(&mut self, bytes: &[u8], peer: SocketAddr) -> Result<(), Refused> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(Refused::TOO_LONG);
        }
        if Sealed::is_meant(bytes) {
            self.signed(bytes, peer)
        } else {
            self.plain(bytes, peer)
        }
    }

    /// A datagram that anybody could have sent: a claim.
    fn plain(&mut self, bytes: &[u8], peer: SocketAddr) -> Result<(), Refused> {
        let ip = peer.ip();
        if !self.from.iter().any(|network| network.contains(&ip)) {
            return Err(Refused::NOT_ALLOWED);
        }
        let now = self.began.elapsed();
        let fleet = &self.fleet;
        self.sources.may(&ip, now, || {
            let there = fleet.ids();
            move |ip: &IpAddr| there.contains(&Identity::Source(*ip).to_string())
        })?;
        let (mut facts, lost) = words::datagram(bytes)?;
        let told = |facts, every| Told {
            who: Identity::Source(ip),
            name: None,
            source: Source::Datagram,
            trust: Trust::Claimed,
            peer: Some(ip),
            every,
            facts,
        };
        let gap = self.sources.took(&ip, u64::from(peer.port()), now);
        // A packet that was lost is counted over the time in which it was lost.
        facts.net_dropped = lost.and_then(|lost| lost.over(gap.filter(|gap| *gap < LONG)));
        let every = words::interval(gap, DATAGRAM_EVERY, LONG);
        Ok(self.fleet.told(told(facts, every))?)
    }

    /// A signed one.
    fn signed(&mut self, bytes: &[u8], peer: SocketAddr) -> Result<(), Refused> {
        if !is_shallow(bytes) {
            return Err(Refused::TOO_DEEP);
        }
        let sealed =
            Sealed::read(bytes).map_err(|_| Refused("not in the form of signed datagrams"))?;
        let token = sealed.token().clone();
        let at = At::plain(peer);
        let proven = self.lock.by_datagram(at, &token, |key| sealed.is_by(key));
        let pass = proven.map_err(|_| {
            Refused(if self.lock.is_locked() {
                "not signed with a token that is good here"
            } else {
                "signed, and there are no users here"
            })
        })?;
        pass.check(Right::Report)
            .map_err(|_| Refused("the token may not report"))?;
        let user: Arc<str> = pass
            .user()
            .map(ToString::to_string)
            .unwrap_or_default()
            .into();
        let now = self.began.elapsed();
        self.tokens.may(&token, now, || |_: &TokenId| false)?;
        let datagram = sealed.into_datagram();
        let run = hash(&datagram.boot);
        let is_new = self.runs.check(&datagram);
        if is_new == Err(OLDER_RUN) {
            // Of two agents whose clocks differ, the one is always too old.
            self.tokens.saw(&token, run, now);
        }
        is_new?;
        let Datagram { every_s, facts, .. } = datagram;
        let facts = words::checked(facts)?;
        let every = words::every(Some(f64::from(every_s)).filter(|every| every.is_finite()));
        self.tokens.took(&token, run, now);
        if self.users.len() >= MAX_TOKENS {
            self.users.clear();
        }
        self.users.insert(token, user.clone());
        let told = Told {
            who: Identity::Agent(user),
            name: None,
            source: Source::Token,
            trust: Trust::Proved,
            peer: Some(peer.ip()),
            every,
            facts,
        };
        Ok(self.fleet.told(told)?)
    }

    /// Notes at members whose name is that of two agents.
    fn note(&mut self) {
        let now = self.began.elapsed();
        let sources = self.sources.doubles(now);
        let mut notes: BTreeMap<_, _> = sources
            .map(|ip| (Identity::Source(*ip).to_string(), TWO_AT_ADDRESS.to_owned()))
            .collect();
        let users = self
            .tokens
            .doubles(now)
            .filter_map(|token| self.users.get(token));
        notes.extend(users.map(|user| {
            let who = Identity::Agent(user.clone()).to_string();
            (who, TWO_WITH_TOKEN.to_owned())
        }));
        self.author.note(notes);
    }
}

/// A longer silence is no interval.
const LONG: Duration = Duration::from_mins(1);

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Binds the doorway.
pub async fn bind(address: &str, from: Vec<IpNet>) -> io::Result<(AgentsUdp, SocketAddr)> {
    let socket = UdpSocket::bind(address).await?;
    let bound = socket.local_addr()?;
    Ok((AgentsUdp { socket, from }, bound))
}

#[cfg(test)]
mod tests;
