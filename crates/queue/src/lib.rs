//! Core: the files that were accepted, kept so that nothing loses them.
//!
//! [`journal`] writes what happens to files, [`recovery`] reads it back, [`Writer`] is the one
//! thread that does it; all three know a disk only as [`disk::Disk`]. [`Ledger`] is what is
//! remembered of files that do not wait. Leaves to the balancer which files wait, where they go, and
//! how many may wait.
//!
//! The interface is narrow, so that another backend can take the journal's place: [`journal::Op`]s
//! go in, in order; [`Progress`] comes back and says how many of them are lasting.
//!
//! Invariant: what a commit has counted survives what its [`Durability`] says, and a request number
//! is never given twice, not after a restart either.

mod aside;
pub mod backlog_entry;
pub mod content;
pub mod disk;
pub mod error;
pub mod file;
mod identity;
pub mod journal;
#[cfg(test)]
mod journal_tests;
pub mod keys;
mod ledger;
mod lock;
pub mod paged;
#[cfg(test)]
mod proof;
mod real;
pub mod record;
pub mod recovery;
pub mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod writer;

use bytes::Bytes;

pub use bilico_core::durability::Durability;
pub use error::JournalError;
pub use journal::{Handle, JournalConfig, Location, Op, RecordPosition};
pub use ledger::{DeadLetter, Ledger, Retention};
pub use lock::{Lock, lock, take_hold};
pub use writer::{Progress, Writer};

/// The name of the queue in the log's filters, whatever crate it is in.
pub(crate) const LOG: &str = "bilico::queue";

/// Content up to this many bytes stands in the journal itself, larger content in a file of its own.
pub const INLINE: u64 = 64 * 1024;

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub enum FileBody {
    /// In memory, and perhaps in the journal, too.
    Memory(Bytes, Option<Location>),
    /// In the journal.
    Journal(Location),
    /// In a content file of its own, by its id.
    Own(u64),
}

impl FileBody {
    /// The same content, not in memory if it stands in the journal, too.
    #[must_use]
    pub fn without_memory(self) -> Self {
        match self {
            Self::Memory(_, Some(location)) => Self::Journal(location),
            other => other,
        }
    }
}

/// A client's key as it is looked up: two keys with the same hash will not be found.
pub fn key_hash(key: &str) -> u128 {
    let [hash @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        *blake3::hash(key.as_bytes()).as_bytes();
    u128::from_be_bytes(hash)
}
