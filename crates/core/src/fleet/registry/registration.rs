//! How a server registers, and what it is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::facts::Facts;

/// A registration: it ends when its connection does, and a server that connects again has another
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// What a native server says when it registers. Who may register was checked before.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The identity of its directory: 32 hex digits.
    pub directory: Arc<str>,
    /// The identity of its process, as its greeting has it. It tells a server that registers twice
    /// from two servers with one directory.
    pub instance: Option<Arc<str>>,
    /// The address at which it takes files, as `HOST:PORT`, with what it left out filled in.
    pub address: Arc<str>,
    /// Its weight.
    pub weight: u32,
    /// What it is to be called where people look.
    pub name: Option<Arc<str>>,
    /// The ticket of the provider that created it.
    pub ticket: Option<Arc<str>>,
    /// Whether it was proved that it may register. If not, it is a claim until a probe finds it.
    pub is_proved: bool,
    /// Where the registration came from.
    pub peer: Option<IpAddr>,
    /// How long a word of it counts; [`DEFAULT_LEASE`](super::DEFAULT_LEASE) is the usual one.
    pub lease: Duration,
    /// What it tells.
    pub facts: Facts,
}

/// What a server is told when it has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its registration.
    pub lease: LeaseId,
    /// What it is called.
    pub name: Arc<str>,
    /// The address that is used.
    pub address: Arc<str>,
    /// How long a word of it counts.
    pub lasts: Duration,
    /// How often it is to say one.
    pub beat: Duration,
}

/// A server that is in service because it registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InService<'a> {
    /// Its address.
    pub address: &'a Arc<str>,
    /// The weight that it registered with.
    pub weight: u32,
    /// The directory that is to answer there; `None` if the configuration or an order has the
    /// address.
    pub directory: Option<&'a Arc<str>>,
}

/// How the balancer sees a server that has registered, so that the server can say why it gets no
/// files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Probes find it, and it may get files.
    pub good: bool,
    /// Why not.
    pub reason: Option<Arc<str>>,
    /// It said that it leaves, and nothing is in flight to it and nothing in doubt there: it may go.
    pub left: bool,
}

/// Why a server cannot register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// There are as many members as there can be.
    #[error("there are {0} members, the most that a balancer keeps")]
    Full(usize),
    /// Its address is that of another server which is there.
    #[error("{address} is the address of {member}, which is there: each server needs its own")]
    Taken {
        /// The address.
        address: Arc<str>,
        /// The other server's name.
        member: Arc<str>,
    },
    /// Too many have registered without a proof.
    #[error(
        "{0} servers have registered from this address, or very many in all, that no probe has found \
         with their certificates yet: when they are found, or gone, others can register"
    )]
    Unproven(usize),
    /// It has moved so often that its former addresses are not settled.
    #[error(
        "files may be in doubt at {0} of its former addresses; when the balancer has settled them, \
         or an operator has removed those servers, it can register again"
    )]
    Restless(usize),
}
