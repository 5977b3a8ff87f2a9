//! Ports that can be listened on again after a restart.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rand::RngExt;

/// Below the ports that the kernel gives to whoever asks for any port, which are 32768 and up
/// unless the machine is configured otherwise: each outgoing connection takes one of those, and
/// while it lasts nobody can listen there.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

/// A port of 127.0.0.1 that no other test takes while this is held, whether something listens there
/// or not.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// A name that one process at a time can have, and that is free again when the process ends.
    _claim: UnixListener,
}

impl Port {
    /// A port where nobody listens.
    pub fn take() -> Self {
        let mut random = rand::rng();
        std::iter::repeat_with(|| random.random_range(PORTS))
            .take(10_000)
            .find_map(Self::claim)
            .expect("a port that nobody has")
    }

    fn claim(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("bilico-test-port-{number}")).unwrap();
        let claim = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self {
            number,
            _claim: claim,
        })
    }

    /// The address to listen on.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_test_s_alone_until_it_is_dropped() {
        let port = Port::take();
        assert!(Port::claim(port.number).is_none());
        let number = port.number;
        drop(port);
        let again = Port::claim(number).unwrap();
        let listener = TcpListener::bind(again.address()).unwrap();
        drop(again);
        assert!(Port::claim(number).is_none(), "somebody listens there");
        drop(listener);
    }
}
