//! Compares the receipts of clients with the files in the directories of servers: which are
//! missing, which are there twice, and which have no receipt.
//!
//! [`ledger`] reads the receipts, [`shelf`] lists and hashes the stored files, and [`compare()`]
//! finds the differences. Only the first two read from disk.

mod compare;
mod error;
pub mod ledger;
mod names;
mod report;
pub mod shelf;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use compare::compare;
pub use error::VerifyError;
pub use ledger::Receipts;
pub use report::{Claim, Finding, Report};
pub use shelf::Shelf;

/// Reads receipts and directories, and compares them. `others` says that the directories hold files
/// of other clients, too: then a file without a receipt is not a finding, nor is one that could be
/// another client's.
pub fn verify(receipts: &[PathBuf], dirs: &[PathBuf], others: bool) -> Result<Report, VerifyError> {
    let ledger = Receipts::read(receipts)?;
    let shelf = Shelf::read(dirs)?;
    Ok(compare(&ledger, &shelf, others))
}
