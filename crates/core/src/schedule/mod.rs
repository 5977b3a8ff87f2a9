//! Core: which server gets the next file, and which servers may get one at all.
//!
//! [`Scheduler`] picks by weighted round robin among the eligible servers; [`Health`] says, out of
//! independent facts, whether a server is one of them. Both are told what happened and when;
//! neither asks.

mod health;
mod heap;
mod slots;
mod wrr;

pub use health::{Fact, Flip, Health, HealthConfig, Trouble};
pub use slots::{Slot, Slots};
pub use wrr::Scheduler;
