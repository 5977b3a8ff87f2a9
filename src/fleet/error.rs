//! Why something told is not taken, and why an order is not carried out.

use crate::access::Denied;
use crate::fleet_core::BadFact;

/// Why something told is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotTaken {
    /// A figure is impossible.
    #[error(transparent)]
    Fact(#[from] BadFact),
    /// There are as many members as there can be.
    #[error("there are {0} members, the most that a balancer keeps")]
    Full(usize),
    /// It came over a registration that counts no longer.
    #[error(
        "another registration took this one's place, or the member was forgotten: register again"
    )]
    Superseded,
}

/// Why an order about a member is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// There is no such member.
    #[error("there is no member {0}")]
    Unknown(String),
    /// Several members have a name that contains this.
    #[error("{name} may be any of {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their names.
        candidates: Vec<String>,
    },
    /// The member cannot be forgotten.
    #[error("{name} cannot be forgotten: {reason}")]
    Kept {
        /// The member.
        name: String,
        /// Why.
        reason: String,
    },
    /// Whoever ordered it may not.
    #[error(transparent)]
    Denied(#[from] Denied),
}
