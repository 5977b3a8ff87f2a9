//! The fleet: every host that a balancer knows of, whatever it came by.
//!
//! A member has one identity that outlives its address, facts with their age and trust, and a state
//! with a reason. What a member claims is shown and never decides who gets files: that is decided
//! by the balancer's own probes and links, in [`crate::schedule`].

pub mod facts;
pub mod history;
mod identity;
pub mod old;
pub mod registry;
mod report;
mod told;

pub use facts::{BadFact, Facts, Figure};
pub use history::{GivenUp, History, Known, Minute};
pub use identity::{BadIdentity, Identity};
pub use report::{Averages, Capabilities, Column, Columns, MemberReport, MemberState, Summary};
pub use told::{Source, Told, Trust};
