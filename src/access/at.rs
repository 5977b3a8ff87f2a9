//! Where somebody is, and over what they speak.

use std::net::{IpAddr, SocketAddr};

/// Where a connection comes from, and whether others could listen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    address: SocketAddr,
    is_encrypted: bool,
}

impl At {
    /// Over plain text: only within this machine nobody else hears it.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            is_encrypted: false,
        }
    }

    /// Over TLS.
    pub fn encrypted(address: SocketAddr) -> Self {
        Self {
            address,
            is_encrypted: true,
        }
    }

    /// The other end's address.
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// Whether secrets may go over it.
    pub(super) fn is_private(self) -> bool {
        self.is_encrypted || self.is_here()
    }

    /// Whether it is over TLS.
    pub fn is_encrypted(self) -> bool {
        self.is_encrypted
    }

    /// Whether the other end is on this machine.
    pub(super) fn is_here(self) -> bool {
        is_here(self.address.ip())
    }
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
