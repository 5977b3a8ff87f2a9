//! What records say.

use std::sync::Arc;

use bilico_core::file::{Attempt, History, Meta};
use bytes::Bytes;

/// When and why a file became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// When it became one, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// The reason.
    pub reason: Box<str>,
}

/// The content of a file, as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In the record itself; at most [`INLINE`](crate::INLINE) bytes.
    Inline(Bytes),
    /// In a content file with this id.
    Own(u64),
}

/// An accepted file: everything that is known about it when the record is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its request number.
    pub number: u64,
    /// What its client said about it.
    pub meta: Arc<Meta>,
    /// How often it came back from servers.
    pub history: History,
    /// When and why it became a dead letter; `None` if it is not one.
    pub death: Option<Death>,
    /// Its content, or where that is.
    pub content: Content,
}

/// How a file left the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A server stored it.
    Delivered {
        /// The server's name.
        server: Arc<str>,
        /// The identity of the server's directory; `None` for an old-style server.
        identity: Option<Arc<str>>,
        /// Whether the server acknowledged it; an old-style server never does.
        confirmed: bool,
    },
    /// It was a dead letter, and an operator dropped it.
    Dropped {
        /// Why it was a dead letter.
        reason: Box<str>,
    },
}

/// A file that left the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its request number.
    pub number: u64,
    /// When it ended, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// How it ended.
    pub end: End,
    /// What its client said about it.
    pub meta: Arc<Meta>,
    /// How often it came back from servers before.
    pub history: History,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A file was accepted. A later record for the same number replaces everything that was
    /// recorded of it before: cleaning moves files in this way.
    Accepted(Box<Accepted>),
    /// A file came back from a server.
    Attempt {
        /// Its request number.
        number: u64,
        /// The delivery that failed.
        attempt: Attempt,
        /// Whether that was the file's own fault.
        is_failure: bool,
    },
    /// A file left the queue.
    Ended(Box<Ended>),
    /// A file became a dead letter.
    Dead {
        /// Its request number.
        number: u64,
        /// When and why.
        death: Death,
    },
    /// A dead letter waits again, as if it had never been sent.
    Replayed {
        /// Its request number.
        number: u64,
    },
    /// Everything before this record was synced when it was written.
    Mark,
    /// No segment before the one named is needed any more.
    Oldest {
        /// The number of the oldest segment that is needed.
        segment: u64,
    },
}
