//! What can be asked of a balancer about its files, and told it to do with them: the JSON content
//! of `query` messages.

use serde::{Deserialize, Serialize};

use super::object::nested;

/// The most files that one answer lists.
pub const MAX_LISTED: usize = 1000;

/// A question, or an order. `ask` names which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// Lists the files that wait, oldest first.
    Waiting {
        /// Only files with a higher number, for the next page.
        #[serde(default)]
        after: u64,
        /// How many at the most, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Lists the dead letters, oldest first.
    Dead {
        /// Only files with a higher number, for the next page.
        #[serde(default)]
        after: u64,
        /// How many at the most, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Tells the way of one file.
    Show {
        /// Its request number.
        number: u64,
    },
    /// Finds files by their titles, newest first.
    Find {
        /// What the title contains; the case of letters does not matter.
        title: String,
        /// How many at the most, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Sends a dead letter, or with no number all of them, to the servers again.
    Replay {
        /// Its request number.
        number: Option<u64>,
    },
    /// Throws a dead letter, or a file that waits or is with a server, away for good.
    Drop {
        /// Its request number.
        number: u64,
    },
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// A list of files.
    Files {
        /// The files, by number.
        #[serde(deserialize_with = "nested")]
        files: Vec<FileReport>,
        /// How many there are in all.
        total: usize,
        /// Bytes of content of all of them.
        total_bytes: u64,
    },
    /// The files with such a title, newest first.
    Found {
        /// The files.
        #[serde(deserialize_with = "nested")]
        files: Vec<FileReport>,
        /// Whether all known files were looked at. Those that wait behind thousands of others are
        /// not: what is known of them is in the journal.
        complete: bool,
    },
    /// The way of one file.
    File(Box<FileReport>),
    /// So many files were replayed or dropped.
    Done {
        /// How many.
        files: usize,
    },
    /// It cannot be done.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It is being written to the journal; its client has no receipt yet.
    Accepting,
    /// It waits for a server.
    Waiting,
    /// It is with a server that has not acknowledged it yet.
    InFlight,
    /// A server has it.
    Delivered,
    /// It is a dead letter.
    Dead,
    /// It was a dead letter, and was thrown away.
    Dropped,
}

/// The way of one file. Times are in milliseconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileReport {
    /// Its request number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content, as 8 hex digits.
    pub crc32c: String,
    /// Where it is.
    pub place: Place,
    /// Who sent it.
    pub from: String,
    /// The client's key for it.
    pub key: Option<String>,
    /// When it was accepted.
    pub accepted_ms: u64,
    /// The server that it is with, or that has it.
    pub server: Option<String>,
    /// When it was delivered, became a dead letter or was dropped.
    pub ended_ms: Option<u64>,
    /// False from an old-style server, which never acknowledges.
    pub confirmed: Option<bool>,
    /// Why it waits, or why it is a dead letter.
    pub reason: Option<String>,
    /// How many times it came back from a server.
    pub attempts: u32,
    /// The first of those.
    #[serde(deserialize_with = "nested")]
    pub history: Vec<Attempt>,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it failed, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// The server.
    pub server: String,
    /// How it failed.
    pub reason: String,
}
