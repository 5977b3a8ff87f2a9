//! The registry of members: who is in the fleet, where, and in which state.
//!
//! It is told what happened and when (times are on a clock that never steps back; no other clock is
//! used), and answers with [`Action`]s. It knows no socket, task, clock or disk.
//!
//! A member is known by the strongest identity that was found, and keeps its weaker ones: an address
//! leads to the directory that a probe found there, and a directory that registers from another
//! address is the same member, moved. The old address is given up once nothing is in doubt there.
//!
//! Who gets files is decided elsewhere. What registers is added as a server, and gets files when
//! probes and links find it; what is only claimed is shown. A lease says that a server wants to be
//! here, and its end removes nobody: that takes a long silence, probes that find nothing, and
//! nothing in doubt, and never happens while many are silent together.
//!
//! Invariants: each identity and each address leads to one member; at most one address of a member
//! is wanted by its registration, and its others are given up; a member that is known by claims
//! only has no server; no server is added before the member is kept on disk.
//!
//! | file | what it decides |
//! |---|---|
//! | `table` | the registry's members, and how many there can be |
//! | `identities` | which identities are one member |
//! | `leases` | who registers, beats and leaves |
//! | `copies` | which of two servers with one directory counts |
//! | `given` | the servers of the configuration and of orders |
//! | `services` | which servers the balancer is to have, and what probes find |
//! | `driver` | what has to be done so that it has them |
//! | `words` | what is told of members |
//! | `layers` | which of several words about one figure counts |
//! | `judge` | in which state a member is, and why |
//! | `seeing` | what a registered server hears of that |
//! | `state` | what time does, and what follows from another state |
//! | `preserve` | when nobody is removed |
//! | `report` | members for people, and operators' orders |
//! | `kept` | what outlives the balancer |

mod action;
mod config;
mod copies;
mod driver;
mod given;
mod identities;
mod judge;
mod kept;
mod layers;
mod leases;
mod member;
mod preserve;
mod probed;
mod registration;
mod report;
mod seeing;
mod services;
mod state;
mod table;
mod words;

#[cfg(test)]
mod tests;

pub use action::{Action, Notice};
pub use config::{
    BEATS_IN_LEASE, DEFAULT_FORGET_AFTER, DEFAULT_LEASE, MAX_CLAIMED, MAX_MEMBERS, RegistryConfig,
};
pub use kept::{BadKept, KeptMember};
pub use probed::Probed;
pub use registration::{InService, LeaseId, NotRegistered, Registered, Registration, Seen};
pub use report::NotDone;
pub use table::{Registry, Renamed};
pub use words::NoRoom;
