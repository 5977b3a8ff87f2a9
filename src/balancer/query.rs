//! What operators ask about files, and tell the balancer to do with them.
//!
//! Only the admin listener brings these: a client at a doorway has no operator's power, so none of
//! them is part of a client's protocol.

use serde::{Deserialize, Serialize};

use super::saved::Content;
pub use super::selection::{Bulk, BulkDone, Left, MAX_BULK, MAX_LEFT, Matcher, Selection};
use crate::access::Right;

/// The most files that one answer lists.
pub const MAX_LISTED: usize = 1000;

/// A question about files, or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Lists the files that wait, oldest first.
    Waiting {
        /// Only files with a higher number, for the next page.
        after: u64,
        /// The most files in the answer, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Lists the dead letters, oldest first.
    Dead {
        /// Only files with a higher number, for the next page.
        after: u64,
        /// The most files in the answer, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Traces one file.
    Show {
        /// The file's request number.
        number: u64,
    },
    /// Finds files by their titles, newest first.
    Find {
        /// Part of the title, in any case.
        title: String,
        /// The most files in the answer, up to [`MAX_LISTED`].
        limit: usize,
    },
    /// Gives the content of a dead letter or a waiting file.
    Content {
        /// The file's request number.
        number: u64,
    },
    /// Sends a dead letter to the servers again.
    Replay {
        /// The dead letter's request number.
        number: u64,
    },
    /// Throws a dead letter, or a file that waits or is with a server, away for good.
    Drop {
        /// The file's request number.
        number: u64,
    },
    /// Ends a file that waits and that no server has or may have.
    Cancel {
        /// The file's request number.
        number: u64,
    },
    /// Does this with all files that are selected.
    Bulk(Bulk, Box<Selection>),
}

impl Query {
    /// Its name in the audit log, and what it is about; `None` if it tells nothing but what is known
    /// of files, and changes nothing.
    pub(super) fn told(&self) -> Option<(&'static str, String)> {
        let file = |number: &u64| format!("file {number}");
        match self {
            Self::Waiting { .. } | Self::Dead { .. } | Self::Show { .. } | Self::Find { .. } => {
                None
            }
            Self::Content { number } => Some(("order.save", file(number))),
            Self::Replay { number } => Some(("order.replay", file(number))),
            Self::Drop { number } => Some(("order.drop", file(number))),
            Self::Cancel { number } => Some(("order.cancel", file(number))),
            Self::Bulk(what, which) => {
                let event = match what {
                    Bulk::Replay => "order.replay",
                    Bulk::Drop => "order.drop",
                    Bulk::Cancel => "order.cancel",
                };
                Some((event, format!("{}{}", what.files(), which.matcher())))
            }
        }
    }

    /// The right that it takes. What is in a file is for those who may deal with it.
    pub fn right(&self) -> Right {
        match self {
            Self::Waiting { .. } | Self::Dead { .. } | Self::Show { .. } | Self::Find { .. } => {
                Right::Read
            }
            Self::Content { .. }
            | Self::Replay { .. }
            | Self::Drop { .. }
            | Self::Cancel { .. }
            | Self::Bulk(..) => Right::Operate,
        }
    }
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A page of files.
    Files {
        /// The files of this page, by number.
        files: Vec<FileReport>,
        /// How many files all pages together have.
        total: usize,
        /// Bytes of content of all pages together.
        total_bytes: u64,
    },
    /// The files whose titles match.
    Found {
        /// The files, newest first.
        files: Vec<FileReport>,
        /// Whether all known files were searched. Titles of files far back in the queue are in the
        /// journal only, and are not searched.
        complete: bool,
    },
    /// All that is known of one file.
    File(Box<FileReport>),
    /// The content of a file.
    Content(Box<Content>),
    /// An order about many files was carried out.
    Bulk(Box<BulkDone>),
    /// The order was carried out.
    Done {
        /// How many files were replayed or dropped.
        files: usize,
    },
    /// Too many searches and orders about many files are under way: try again in a moment.
    Busy,
    /// The order cannot be carried out as things are.
    Conflict {
        /// The reason, in words for an operator.
        reason: String,
    },
    /// The query cannot be answered, or the order cannot be carried out.
    Failed {
        /// The reason, in words for an operator.
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
    /// A server has stored it.
    Delivered,
    /// It is a dead letter.
    Dead,
    /// An operator threw it away.
    Dropped,
    /// An operator cancelled it while it waited.
    Cancelled,
}

/// A file's way so far. Times are in milliseconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file's request number.
    pub number: u64,
    /// The file's title.
    pub title: String,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content, as 8 hex digits.
    pub crc32c: String,
    /// Where it is.
    pub place: Place,
    /// The address that it was accepted from.
    pub from: String,
    /// The client's durable name for it.
    pub key: Option<String>,
    /// When it was accepted.
    pub accepted_ms: u64,
    /// The server that it is with, or that has stored it.
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
    pub history: Vec<Attempt>,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it failed, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// The server's name. Empty: it was a dead letter since then, until it was replayed.
    pub server: String,
    /// Why it failed.
    pub reason: String,
}
