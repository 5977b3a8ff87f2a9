//! How a transfer goes.

use std::time::Duration;

use super::keys::Keys;

/// The receipt that a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The balancer has every file.
    Accepted,
    /// A server has every file.
    Delivered,
}

/// How to treat a file that changes while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changed {
    /// Give it up at once: it is not sent.
    Fail,
    /// Read it again, up to 5 times within some 3 s, and then give it up.
    #[default]
    Retry,
    /// Send what was read, and say so; a file that becomes shorter is read again.
    Send,
}

/// The options of a transfer.
#[derive(Debug, Clone)]
pub struct Options {
    /// The receipt that it waits for.
    pub wait: Wait,
    /// How files get their keys. The caller has checked that no two files have one key.
    pub keys: Keys,
    /// How long it tries to connect again when the connection is lost; zero means not at all.
    pub retry: Duration,
    /// How to treat a file that changes while it is read.
    pub changed: Changed,
    /// Whether content is hashed, for receipts ([`Sent::hash`](super::tally::Sent::hash)).
    pub hashed: bool,
}
