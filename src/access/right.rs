//! What somebody may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::excerpt;

/// One thing that somebody may do. No right contains another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Hand files over, and follow their receipts.
    Send,
    /// Ask what became of one's own files, and how the balancer is.
    ReadOwn,
    /// Look at everything: servers, queue, files of all senders, events.
    Read,
    /// Change how servers are used, and send dead letters again or throw files away.
    Operate,
    /// Add and remove servers, and apply the configuration.
    Admin,
    /// Act as a balancer at a file server: store files, list and remove what is stored.
    Store,
    /// Read the metrics.
    Metrics,
    /// Tell figures of a host to the fleet.
    Report,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Send,
        Self::ReadOwn,
        Self::Read,
        Self::Operate,
        Self::Admin,
        Self::Store,
        Self::Metrics,
        Self::Report,
    ];

    /// Its name for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::ReadOwn => "read-own",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
            Self::Store => "store",
            Self::Metrics => "metrics",
            Self::Report => "report",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(name: &str) -> Result<Self, UnknownRight> {
        let found = Self::ALL.into_iter().find(|right| right.name() == name);
        found.ok_or_else(|| UnknownRight(excerpt(name).into_owned()))
    }
}

/// There is no right of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown right `{0}`: expected send, read-own, read, operate, admin, store, metrics or report"
)]
pub struct UnknownRight(String);

/// A set of rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Right>", into = "Vec<Right>")]
pub struct Rights(u8);

impl Rights {
    /// These rights.
    pub const fn of(rights: &[Right]) -> Self {
        let mut bits = 0;
        let mut rest = rights;
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// All rights.
    pub const fn all() -> Self {
        Self::of(&Right::ALL)
    }

    /// Those that are in both sets.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Whether all of these are among the others.
    pub const fn are_among(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the right is one of them.
    pub const fn contains(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }
}

impl From<Vec<Right>> for Rights {
    fn from(rights: Vec<Right>) -> Self {
        Self::of(&rights)
    }
}

impl From<Rights> for Vec<Right> {
    fn from(rights: Rights) -> Self {
        let all = Right::ALL.into_iter();
        all.filter(|right| rights.contains(*right)).collect()
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for right in Right::ALL.into_iter().filter(|right| self.contains(*right)) {
            write!(f, "{separator}{right}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

/// What an [`Allowed`](super::Allowed) is for. Only this room says what there is.
pub trait Purpose: sealed::Sealed {
    /// The right that it takes.
    const RIGHT: Right;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident: $right:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $name {}

            impl sealed::Sealed for $name {}

            impl Purpose for $name {
                const RIGHT: Right = Right::$right;
            }
        )*
    };
}

purposes! {
    /// To hand files over.
    ToSend: Send,
    /// To ask for the status.
    ToReadOwn: ReadOwn,
    /// To look after users.
    ToAdminister: Admin,
    /// To reach a file server's store.
    ToStore: Store,
    /// To tell figures of a host.
    ToReport: Report,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_stands_for_itself() {
        for right in Right::ALL {
            let alone = Rights::of(&[right]);
            for other in Right::ALL {
                assert_eq!(alone.contains(other), other == right, "{right}, {other}");
            }
            assert!(Rights::all().contains(right));
            assert_eq!(alone.to_string(), right.name());
        }
        assert_eq!(Rights::default().to_string(), "none");
        assert_eq!(
            Rights::of(&[Right::ReadOwn, Right::Send]).to_string(),
            "send, read-own"
        );
    }
}
