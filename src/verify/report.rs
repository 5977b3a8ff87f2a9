//! The result of a comparison.

use std::path::PathBuf;

use serde::Serialize;

use crate::client::receipts::State;

/// Result of the comparison. Every count is of files.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Files with a receipt; several lines with one key count once.
    pub receipts: usize,
    /// Files in the directories, without temporary ones.
    pub files: usize,
    /// Files with a receipt that are in a directory.
    pub stored: usize,
    /// Files that are in no directory, and whose receipt does not say that they are (`unknown`,
    /// `forgotten`).
    pub absent: usize,
    /// Files without a receipt that are taken for other clients' files.
    pub others: usize,
    /// Accepted or delivered, but in no directory.
    pub missing: Vec<Finding>,
    /// Stored more than once.
    pub double: Vec<Finding>,
    /// Stored under their name, but with other content.
    pub differing: Vec<Finding>,
    /// Stored without a receipt, or although the receipt says that they should not be.
    pub unexpected: Vec<Finding>,
    /// Temporary files, which only a working server should have.
    pub partial: Vec<Finding>,
    /// Remarks that are not findings.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether there are no findings.
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

/// A receipt, stored files, or both, that are not as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `None` for a file without a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Claim>,
    /// The stored files concerned.
    pub files: Vec<PathBuf>,
}

/// What a receipt says of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Path of the file at the client.
    pub path: String,
    /// Its title.
    pub title: String,
    /// The file's last known state.
    pub state: State,
    /// Its request number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}
