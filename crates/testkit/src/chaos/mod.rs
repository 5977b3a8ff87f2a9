//! Chaos on real processes. A balancer, its servers and its clients are killed, stopped, cut off and
//! starved of disk and descriptors at random; then the history checker judges what came of it.
//!
//! `stage` is what runs, `secure` its TLS and its lock, `load` the clients, `faults` the schedule of what happens to all of them,
//! `inflict` how, `judge` what must hold, `shows` single claims at length.

mod crowd;
mod deaths;
mod faults;
mod inflict;
mod judge;
mod kind;
mod load;
mod proxy;
mod run;
mod secure;
pub mod shows;
mod stage;
mod tamper;

pub use run::{Outcome, run, seed};
