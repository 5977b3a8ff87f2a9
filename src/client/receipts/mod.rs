//! Receipts on disk: a JSON line for each file, written when its fate is final.
//!
//! Lines are appended whole, several with one call where they come together, so that a client that
//! is killed leaves only whole lines behind. [`crate::verify`] reads them back and compares them
//! with the files of servers.

mod ends;
mod file;
mod receipt;

#[cfg(test)]
mod tests;

pub use ends::MAX_LINE;
pub use file::{ReceiptError, ReceiptFile};
pub use receipt::{Receipt, State};
