//! What is told of a member, and how far it can be believed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::identity::Identity;

/// How far something can be believed; more stands later.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Anybody could have said it: a plain datagram, an announcement. It is shown, and nothing is
    /// done because of it.
    #[default]
    Claimed,
    /// The answer to a question of ours, at an address that is allowed.
    Asked,
    /// It came with a proof: a token, a secret, a certificate.
    Proved,
    /// Our own probe or link found it.
    Measured,
}

impl Trust {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Claimed, Self::Asked, Self::Proved, Self::Measured];

    /// Its name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Asked => "asked",
            Self::Proved => "proved",
            Self::Measured => "measured",
        }
    }
}

/// What a member came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The balancer's configuration.
    Configuration,
    /// An operator's order.
    Order,
    /// It registered itself.
    Registered,
    /// It announced itself, as the first system's servers do.
    Announced,
    /// Its datagrams.
    Datagram,
    /// What it sent over HTTP, without a token.
    Posted,
    /// An agent with a token.
    Token,
}

impl Source {
    /// Its name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Order => "order",
            Self::Registered => "registered",
            Self::Announced => "announced",
            Self::Datagram => "datagram",
            Self::Posted => "posted",
            Self::Token => "token",
        }
    }
}

/// What somebody tells of a member: all doorways of the fleet come down to this.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The member.
    pub who: Identity,
    /// What it is to be called where people look, if the identity is not enough.
    pub name: Option<Arc<str>>,
    /// What it came by, if it is not known yet.
    pub source: Source,
    /// How far it can be believed.
    pub trust: Trust,
    /// Where the word came from.
    pub peer: Option<IpAddr>,
    /// How often a word is expected; after three of these without one, the member is unknown.
    pub every: Duration,
    /// What it tells. They have passed [`Facts::check`].
    pub facts: Facts,
}
