//! The servers that have announced themselves, and when each is looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most servers that are kept.
pub(super) const MAX_ANNOUNCED: usize = 256;

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

    /// A server announces itself. `false`: there are too many, and it is not among them.
    pub(super) fn announce(&self, at: SocketAddr, now: Instant) -> bool {
        let mut servers = self.servers(now);
        if servers.len() >= MAX_ANNOUNCED && !servers.contains_key(&at) {
            return false;
        }
        let server = Server {
            until: now + self.keep,
            look_at: now,
            failed: 0,
        };
        servers.insert(at, server);
        true
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

    /// Whether this server is known and was there at the last looks.
    pub(super) fn is_there(&self, at: SocketAddr, now: Instant) -> bool {
        let servers = self.servers(now);
        servers.get(&at).is_some_and(|server| server.failed < FALL)
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

    #[test]
    fn an_announcement_lasts_until_its_time_is_over_unless_it_is_heard_again() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(announced.announce(at(5050), start));
        assert!(announced.announce(at(5051), start));
        assert_eq!(announced.due(start), [at(5050), at(5051)]);
        assert_eq!(announced.due(after(9)), []);
        announced.heard(at(5050), after(9));
        assert_eq!(announced.due(after(10)), [at(5051)]);
        assert_eq!(announced.due(after(19)), [at(5050)]);
        announced.heard(at(5050), after(590));
        assert!(announced.is_there(at(5051), after(599)));
        assert!(!announced.is_there(at(5051), after(600)));
        assert!(announced.is_there(at(5050), after(1189)));
        assert!(!announced.is_there(at(5050), after(1190)));
        announced.heard(at(5050), after(1191));
        assert!(
            !announced.is_there(at(5050), after(1191)),
            "it is forgotten"
        );
    }

    #[test]
    fn a_server_that_is_silent_three_times_is_not_listed_until_it_is_heard() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let now = Instant::now();
        announced.announce(at(5050), now);
        for listed in [true, true, false] {
            announced.silent(at(5050), now);
            assert_eq!(announced.is_there(at(5050), now), listed);
        }
        announced.heard(at(5050), now);
        assert!(announced.is_there(at(5050), now));
        announced.forget(at(5050), now);
        assert!(!announced.is_there(at(5050), now));
    }

    #[test]
    fn so_many_are_kept_and_no_known_one_is_pushed_out() {
        let announced = Announced::new(Duration::from_mins(10), Duration::from_secs(10));
        let now = Instant::now();
        for port in 0..MAX_ANNOUNCED {
            assert!(announced.announce(at(5000 + port), now));
        }
        assert!(!announced.announce(at(4000), now));
        assert!(announced.announce(at(5000), now), "a known one");
        assert!(announced.is_there(at(5000 + MAX_ANNOUNCED - 1), now));
        assert!(announced.announce(at(4000), now + Duration::from_mins(10)));
    }
}
