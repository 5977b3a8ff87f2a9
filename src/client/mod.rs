//! Role: the client. Hands files over and follows their receipts.
//!
//! [`Session`] is one connection to a balancer; [`transfer()`] sends many files over as many as it
//! takes and keeps the [`Tally`] of what became of each; [`receipts`] writes that down. How it is
//! shown to people is the command line's.

mod backoff;
mod content;
mod course;
mod keys;
mod look;
mod reading;
pub mod receipts;
mod session;
mod tally;
mod transfer;

#[cfg(test)]
mod tests;

pub use content::{Form, Source};
pub use keys::{KeyError, Keys, MAX_PREFIX};
pub use session::{Answer, Answers, ClientError, Session, status};
pub use tally::{Fate, Sent, Tally};
pub use transfer::{Changed, Options, Wait, transfer};
