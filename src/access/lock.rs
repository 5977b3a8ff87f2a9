//! All ways to a pass.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::pass::Pass;
use super::right::{Right, Rights};

/// Says who somebody is. Each role has one, and all its doorways ask it.
///
/// There is no authentication yet: where somebody is decides what they may do. This machine has all
/// rights.
#[derive(Debug, Clone)]
pub struct Lock {
    /// The rights of other machines.
    elsewhere: Rights,
}

impl Lock {
    /// A balancer's, without authentication: other machines hand files over, and ask about their
    /// own.
    pub const fn off_at_balancer() -> Self {
        Self {
            elsewhere: Rights::of(&[Right::Send, Right::ReadOwn]),
        }
    }

    /// A file server's, without authentication: other machines are taken for balancers.
    pub const fn off_at_server() -> Self {
        Self {
            elsewhere: Rights::of(&[Right::Store]),
        }
    }

    /// That of a listener which has only the metrics: everybody may read them.
    pub const fn open_metrics() -> Self {
        Self {
            elsewhere: Rights::of(&[Right::Metrics]),
        }
    }

    /// The pass of whoever connects from this address.
    pub fn by_place(&self, peer: SocketAddr) -> Pass {
        let rights = if is_here(peer.ip()) {
            Rights::all()
        } else {
            self.elsewhere
        };
        Pass::new(peer.to_string(), rights)
    }

    /// The pass of the process itself: for what it does of its own accord, and for whoever may send
    /// it signals.
    pub fn own() -> Pass {
        Pass::new("this process", Rights::all())
    }
}

/// What the lock lets in, for the log.
impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elsewhere = self.elsewhere;
        write!(
            f,
            "there is no authentication: this machine has all rights, others have {elsewhere}"
        )
    }
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ToSend, ToStore};

    fn at(lock: &Lock, address: &str) -> Pass {
        lock.by_place(address.parse().unwrap())
    }

    #[test]
    fn this_machine_has_all_rights_and_others_have_few() {
        let balancer = Lock::off_at_balancer();
        for here in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(at(&balancer, here).rights(), Rights::all(), "{here}");
        }
        let server = Lock::off_at_server();
        for there in [
            "192.0.2.1:1",
            "[2001:db8::1]:1",
            "[::ffff:192.0.2.1]:1",
            "0.0.0.0:1",
        ] {
            let (client, other) = (at(&balancer, there), at(&server, there));
            assert_eq!(client.rights().to_string(), "send, read-own", "{there}");
            assert_eq!(other.rights().to_string(), "store", "{there}");
            assert!(client.allow::<ToSend>().is_ok() && other.allow::<ToStore>().is_ok());
            let denied = other.allow::<ToSend>().unwrap_err().to_string();
            let wanted = format!(
                "{there} may not do this: it takes the right `send`, and this address has store"
            );
            assert_eq!(denied, wanted);
        }
    }

    #[test]
    fn everybody_may_read_open_metrics_and_nothing_else() {
        let pass = at(&Lock::open_metrics(), "192.0.2.1:1");
        assert_eq!(pass.rights(), Rights::of(&[Right::Metrics]));
    }

    #[test]
    fn what_it_lets_in_is_told_in_words() {
        assert_eq!(
            Lock::off_at_balancer().to_string(),
            "there is no authentication: this machine has all rights, others have send, read-own"
        );
    }
}
