//! Role: a load generator. Measures a balancer as its clients see it.
//!
//! [`Plan`] says which files are sent and how fast; a [`Lane`] is one connection without its
//! socket: it produces the outgoing bytes and parses the incoming ones; [`Tally`] collects the
//! times, and [`Report`] sums them up. All of these are cores: the time since the start is passed
//! in. [`drive`] and [`hold`] own the connections and the clock. Everything runs on one thread,
//! because the generator shares its machine with the balancer that it measures.
//!
//! Invariant: in the open loop the time of a file begins when it was due, however late it was sent.

pub mod drive;
pub mod hold;
mod lane;
mod numbers;
mod plan;
mod rate;
mod sizes;
mod slots;
mod spec;
mod tally;

pub use lane::{Lane, Run};
pub use plan::{Amount, Load, OPEN_LOOP_MOST, Plan};
pub use rate::{Rate, TICK};
pub use sizes::{Contents, Mix};
pub use spec::SpecError;
pub use tally::{Failed, Percentiles, Report, Tally};
