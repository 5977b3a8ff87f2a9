//! Where connections come from, as far as bounds are concerned.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One address, or one IPv6 network of 64 bits: whoever has such a network has all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

/// The bits of an IPv6 address that tell its network.
const NETWORK: u128 = !0 << 64;

impl Source {
    /// Where this peer comes from.
    pub fn of(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Ipv6Addr::from_bits(address.to_bits() & NETWORK).into()
            }
            other => other,
        })
    }

    /// Whether it is this machine, with all the clients that come through a proxy on it.
    pub fn is_local(self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) if !network.is_loopback() => write!(f, "{network}/64"),
            address => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str) -> Source {
        Source::of(peer.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_owner_are_one_source() {
        assert_eq!(of("10.0.0.1:1"), of("10.0.0.1:2"));
        assert_ne!(of("10.0.0.1:1"), of("10.0.0.2:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:1:2:3]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:10.0.0.1]:1"), of("10.0.0.1:1"));
        assert_eq!(of("[2001:db8::1]:1").to_string(), "2001:db8::/64");
        assert_eq!(of("[::ffff:10.0.0.1]:1").to_string(), "10.0.0.1");
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(of(local).is_local(), "{local}");
        }
        assert!(!of("[fe80::1]:1").is_local());
    }
}
