//! Role: the client. Hands files over and follows their receipts.
//!
//! [`Session`] is one connection to a balancer; [`transfer()`] sends many files over as many
//! connections as it takes and keeps the [`Tally`] of what became of each; [`receipts`] writes that
//! down. [`walk`] finds the files of folders. The command line shows it to people.

mod account;
mod backoff;
mod content;
mod error;
mod keys;
mod look;
mod options;
mod reading;
pub mod receipts;
mod session;
mod source;
mod tally;
mod transfer;
pub mod walk;
mod way;

#[cfg(test)]
mod tests;

pub use account::account;
pub use error::ClientError;
pub use keys::{KeyError, Keys, KnownFile, MAX_PREFIX};
pub use look::Seen;
pub use options::{Changed, Options, Wait};
pub use session::{Answer, Answers, Session, status};
pub use source::{Form, Source};
pub use tally::{Fate, Sent, Tally};
pub use transfer::{resume, transfer};
pub use way::Way;
