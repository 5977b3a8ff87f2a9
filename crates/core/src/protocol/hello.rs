//! The first message of each side.

use std::sync::Arc;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::facts::HelloFacts;
use super::status::Memory;
use super::versions::Versions;
use crate::secret::Secret;

/// The part that a peer plays, as it says in its `hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Hands files over.
    Client,
    /// Queues files and sends them on.
    Balancer,
    /// Stores files.
    Server,
    /// Tells the figures of a host that stores no files.
    Agent,
}

/// How a peer introduces itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The part that the sender plays.
    pub role: Role,
    /// The sender's overload byte, from a server.
    pub overloaded: Option<bool>,
    /// The identity that survives restarts and changes of address: of a balancer's journal, as it
    /// tells servers, or of a server's directory. 32 hex digits; `None` from a peer that keeps no
    /// identity.
    pub identity: Option<Arc<str>>,
    /// The sender's memory, from a server.
    pub memory: Option<Memory>,
    /// The process, as 32 hex digits drawn at each start. Two servers with one identity at the same
    /// time work on a directory and on a copy of it.
    pub instance: Option<Arc<str>>,
    /// From a balancer that shares its journal with others, to a server: the epoch of that journal
    /// to which the balancer belongs. The journal counts its epochs, and begins a new one whenever
    /// a balancer joins or is given up; links of older epochs then end. `None` from a balancer that
    /// has its journal for itself: its newest link ends all others.
    pub epoch: Option<u64>,
    /// From a server: it takes a second connection of a balancer, for large files. From a balancer
    /// to a server: this is that connection.
    pub bulk: Option<bool>,
    /// From a server: it takes files ahead, see [`Message::Ahead`](super::Message::Ahead).
    pub ahead: Option<bool>,
    /// From a server: what it tells of its host and of itself.
    pub facts: HelloFacts,
    /// From a client or an agent: the token that says who it is.
    pub token: Option<Secret>,
    /// From a balancer to a client: it wants to know who sends. `None` if whoever reaches it may.
    pub locked: Option<bool>,
    /// From a balancer to a client: the user that the client's token is of.
    pub user: Option<Arc<str>>,
    /// From a balancer to a server or an agent: what a proof of the secret must be made over, 32 hex
    /// digits drawn for each connection. See [`Proof`](super::Proof).
    pub challenge: Option<Arc<str>>,
    /// The versions that the sender speaks. `None` from releases that did not say:
    /// [`Versions::UNNAMED`].
    pub versions: Option<Versions>,
}

impl Hello {
    /// The shortest greeting of this role, by this program.
    pub fn of(role: Role) -> Self {
        Self {
            role,
            overloaded: None,
            identity: None,
            memory: None,
            instance: None,
            epoch: None,
            bulk: None,
            ahead: None,
            facts: HelloFacts::Untold,
            token: None,
            locked: None,
            user: None,
            challenge: None,
            versions: Some(Versions::SPOKEN),
        }
    }
}
