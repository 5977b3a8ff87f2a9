//! The registry of members: who is in the fleet, where, and in which state.
//!
//! It is told what happened and when (times are on a clock that never steps back), and answers with
//! [`Action`]s. It knows no socket, task, clock or disk.

mod action;
mod config;
mod probed;
mod registration;

pub use action::{Action, Notice};
pub use config::{
    BEATS_IN_LEASE, DEFAULT_FORGET_AFTER, DEFAULT_LEASE, MAX_CLAIMED, MAX_MEMBERS, RegistryConfig,
};
pub use probed::Probed;
pub use registration::{LeaseId, NotRegistered, Registered, Registration, Seen};
