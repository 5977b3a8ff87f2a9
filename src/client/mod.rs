//! Role: the client. Hands files over and follows their receipts.
//!
//! [`Session`] is one connection to a balancer; [`transfer()`] sends many files over one and keeps the [`Tally`] of what
//! became of each. How that is shown to people is the command line's.

mod session;
mod tally;
mod transfer;

pub use session::{Answer, Answers, ClientError, Content, Session, query, status};
pub use tally::{Fate, Tally};
pub use transfer::{Form, Options, Source, Wait, transfer};
