//! Compares the receipts of clients with what lies in the directories of servers: what is missing,
//! what is there twice, and what nobody speaks of.
//!
//! [`ledger`] reads the receipts, [`shelf`] lists and hashes the stored files, and [`compare()`]
//! says what does not fit. Only the first two read from disk.

mod compare;
pub mod ledger;
mod names;
pub mod shelf;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

pub use compare::compare;
pub use ledger::Receipts;
pub use shelf::Shelf;

use crate::client::receipts::State;

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file of receipts cannot be read.
    #[error("cannot read the receipts in {path}: {error}")]
    Receipts {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is no receipt.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file of receipts.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory cannot be read.
    #[error("cannot read the directory {path}: {error}")]
    Dir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A directory was named twice: everything in it would be double.
    #[error("the directory {0} is named twice")]
    Twice(PathBuf),
    /// A stored file cannot be read.
    #[error("cannot read the stored file {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What the comparison found. Every count is of files.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// That receipts speak of; several lines with one key are one.
    pub receipts: usize,
    /// In the directories, temporary ones not among them.
    pub files: usize,
    /// With a receipt, and there.
    pub stored: usize,
    /// With a receipt that leaves open whether they are there (`unknown`, `forgotten`), and not
    /// there.
    pub absent: usize,
    /// With no receipt, and taken for those of other clients.
    pub others: usize,
    /// Accepted or delivered, and nowhere.
    pub missing: Vec<Finding>,
    /// There more than once.
    pub double: Vec<Finding>,
    /// There under their name, but with other content.
    pub differing: Vec<Finding>,
    /// There, though no receipt speaks of them, or a receipt says that they should not be.
    pub unexpected: Vec<Finding>,
    /// Temporary files, which a server that is not at work should not have.
    pub partial: Vec<Finding>,
    /// What is worth knowing and no finding.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, findings)| findings.is_empty())
    }

    /// The kinds of findings by their names.
    pub fn kinds(&self) -> [(&'static str, &[Finding]); 5] {
        [
            ("missing", &self.missing),
            ("double", &self.double),
            ("differing", &self.differing),
            ("unexpected", &self.unexpected),
            ("partial", &self.partial),
        ]
    }
}

/// Something that is not as it should be: a receipt, stored files, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What the receipt says, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Claim>,
    /// The stored files concerned.
    pub files: Vec<PathBuf>,
}

/// What a receipt says of the file concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Where the client had the file.
    pub path: String,
    /// Its title.
    pub title: String,
    /// What became of it.
    pub state: State,
    /// Its request number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// Reads receipts and directories, and compares them. With `others` the directories hold other
/// clients' files, too: then what no receipt speaks of is no finding, and neither is what cannot be
/// told from theirs.
pub fn verify(receipts: &[PathBuf], dirs: &[PathBuf], others: bool) -> Result<Report, VerifyError> {
    let ledger = Receipts::read(receipts)?;
    let shelf = Shelf::read(dirs)?;
    Ok(compare(&ledger, &shelf, others))
}
