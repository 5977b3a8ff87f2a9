//! Sets of rights that people have names for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::right::{Right, Rights};
use crate::text::excerpt;

/// What a user is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserRole {
    /// Hands files over, and asks about their own.
    Sender,
    /// Looks at everything, and changes nothing.
    Viewer,
    /// A sender and a viewer who drains servers and sees to dead letters.
    Operator,
    /// An operator who adds servers and users, too.
    Admin,
    /// Reads the metrics.
    Metrics,
    /// A host that tells its figures to the fleet.
    Agent,
}

impl UserRole {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Sender,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
        Self::Metrics,
        Self::Agent,
    ];

    /// What users of this role may do.
    pub const fn rights(self) -> Rights {
        match self {
            Self::Sender => Rights::of(&[Right::Send, Right::ReadOwn]),
            Self::Viewer => Rights::of(&[Right::ReadOwn, Right::Read, Right::Metrics]),
            Self::Operator => Rights::of(&[
                Right::Send,
                Right::ReadOwn,
                Right::Read,
                Right::Operate,
                Right::Metrics,
            ]),
            Self::Admin => Rights::of(&[
                Right::Send,
                Right::ReadOwn,
                Right::Read,
                Right::Operate,
                Right::Admin,
                Right::Metrics,
            ]),
            Self::Metrics => Rights::of(&[Right::Metrics]),
            Self::Agent => Rights::of(&[Right::Report]),
        }
    }

    /// Its name for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no role of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`: expected sender, viewer, operator, admin, metrics or agent")]
pub struct UnknownRole(String);

impl FromStr for UserRole {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == name);
        found.ok_or_else(|| UnknownRole(excerpt(name).into_owned()))
    }
}
