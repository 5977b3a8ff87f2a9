//! What the store's thread is asked to do, and what it answers.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::directory::Directory;
use super::index::Key;
use super::staged::Staged;
use crate::durability::Durability;
use crate::protocol::Expected;
use crate::protocol::lists::StoredFile;

/// The content of a file that is to be stored.
#[derive(Debug)]
pub enum IncomingBody {
    /// In memory.
    Whole(Bytes),
    /// Already written, and not under its final name yet.
    Staged(Staged),
}

impl IncomingBody {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Whole(content) => content.len() as u64,
            Self::Staged(staged) => staged.size(),
        }
    }
}

/// A file that is to be stored.
#[derive(Debug)]
pub struct Incoming {
    /// Its request number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Its content.
    pub body: IncomingBody,
    /// Whose it is, from a balancer that said so: then it is kept in the index until it is
    /// confirmed. Without one, a file of the same name and content is as good, and other content is
    /// stored beside it.
    pub claim: Option<Origin>,
}

/// What makes a file known again.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The identity of the journal that gave the number.
    pub journal: Arc<str>,
    /// The CRC32C of the content.
    pub crc32c: u32,
}

/// What a balancer is told when it connects.
#[derive(Debug)]
pub struct Told {
    /// What is stored for its journal and not confirmed.
    pub held: Vec<StoredFile>,
    /// The highest number of its journal that was ever stored, 0 for none; `None` if that is not
    /// known.
    pub seen: Option<u64>,
}

/// How a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It came now.
    Stored,
    /// It was stored already.
    Known,
}

/// Why a file is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed; trying again may help.
    #[error("cannot store: {0}")]
    Io(#[from] io::Error),
    /// The number is another file's, which stays. Trying again cannot help.
    #[error(
        "number {number} is stored already with other content: {} bytes with CRC32C {:08x}, not {} with {:08x}",
        known.0, known.1, new.0, new.1
    )]
    Conflict {
        /// The request number.
        number: u64,
        /// The size in bytes and the CRC32C of what is stored.
        known: (u64, u32),
        /// The same of what came.
        new: (u64, u32),
    },
}

impl StoreError {
    /// The same once more.
    pub(super) fn copy(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(copy(error)),
            Self::Conflict { number, known, new } => Self::Conflict {
                number: *number,
                known: *known,
                new: *new,
            },
        }
    }
}

/// Told what became of a file; called on the store's thread.
pub type Done = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

/// Where the files go.
pub(super) struct Place {
    pub(super) dir: Directory,
    /// What a file must outlive to count as stored.
    pub(super) durability: Durability,
    /// The directory's identity, if its index is open.
    pub(super) identity: Mutex<Option<Arc<str>>>,
    /// Files stored since the start, and bytes of content of those.
    pub(super) stored: (AtomicU64, AtomicU64),
    /// Which process this is of all that ever have this identity: 32 hex digits.
    pub(super) instance: Arc<str>,
    /// Keeps other servers out of the directory, if it could be opened.
    pub(super) _lock: Option<File>,
}

impl Place {
    /// Counts a file that is stored.
    pub(super) fn count(&self, bytes: u64) {
        self.stored.0.fetch_add(1, Ordering::Relaxed);
        self.stored.1.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn identity(&self) -> Option<Arc<str>> {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_identity(&self, identity: Option<Arc<str>>) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

/// What is told when a copy is removed, or cannot be.
pub(super) type Removed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Store a file.
    File(Incoming, Done),
    /// Say what is held for a journal, of all that was asked for before.
    Holding(Arc<str>, oneshot::Sender<io::Result<Told>>),
    /// Forget what a balancer knows to be here; the room is what the list takes.
    Confirmed(Arc<str>, Vec<u64>, Option<OwnedSemaphorePermit>),
    /// Remove a file, if it is what it must be.
    Remove(Key, Option<Expected>, Removed),
    /// Open the index, if it is not.
    Open,
}

/// The same error for one more: the system's can be had only once.
pub(super) fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
