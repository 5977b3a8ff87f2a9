//! The store thread's jobs and their results.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::index::Key;
use super::staged::Staged;
use crate::access::Balancers;
use crate::protocol::Expected;
use crate::protocol::lists::StoredFile;

/// The content of a file that is to be stored.
#[derive(Debug)]
pub enum IncomingBody {
    /// In memory.
    Whole(Bytes),
    /// In a staged file: written, and without its final name yet.
    Staged(Staged),
}

impl IncomingBody {
    /// The size of the content in bytes.
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
    /// The file's request number.
    pub number: u64,
    /// The title from which the name on disk is made.
    pub title: String,
    /// The content, in memory or staged.
    pub body: IncomingBody,
    /// The journal that the number belongs to: the file is kept in the index until it is confirmed.
    /// `None` from a balancer that names no journal: then a file of the same name and content takes
    /// its place, and other content is stored beside it.
    pub origin: Option<Origin>,
}

/// What a file is recognized by when it comes again, beside its number and size.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The identity of the journal that gave the number.
    pub journal: Arc<str>,
    /// The CRC32C of the content.
    pub crc32c: u32,
}

/// What a balancer is told about its journal when it connects.
#[derive(Debug)]
pub struct Inventory {
    /// The files that are stored and not confirmed, by ascending number.
    pub files: Vec<StoredFile>,
    /// The highest number that was ever stored, 0 if no file was; `None` if that is not known.
    pub seen: Option<u64>,
}

/// How a file came to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Stored,
    /// It was stored already.
    Known,
}

/// Why a file is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed. Trying again may help.
    #[error("cannot store: {0}")]
    Io(#[from] io::Error),
    /// Another file is stored under this number, and stays. Trying again cannot help.
    #[error(
        "number {number} is stored already with other content: {} bytes with CRC32C {:08x}, \
         not {} with {:08x}",
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
    /// A copy, for another sender of the same file.
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

/// Called with what became of a file, on the store's thread.
pub type Done = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

/// Called when a copy is removed durably, or cannot be removed.
pub(super) type Removed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A balancer that has proved its name, and comes with a journal.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The journal's identity.
    pub journal: Arc<str>,
    /// The balancer's name.
    pub balancer: Arc<str>,
    /// Who may come: a journal stays with its balancer for as long as that one may.
    pub among: Balancers,
}

/// A job of the store's thread.
pub(super) enum Job {
    /// Store a file.
    File(Incoming, Done),
    /// List what is stored for a journal, once all earlier jobs are done.
    Inventory(Arc<str>, oneshot::Sender<io::Result<Inventory>>),
    /// Give a journal to a balancer of the cluster.
    Bind(Claimed, oneshot::Sender<io::Result<Arc<str>>>),
    /// Forget files that their balancer has recorded as delivered. The permit is for the list.
    Confirmed(Arc<str>, Vec<u64>, Option<OwnedSemaphorePermit>),
    /// Remove a file that another server has, if it is the expected one.
    Remove(Key, Option<Expected>, Removed),
    /// Open the index, if it is not open.
    Open,
}

/// A copy of an error, which `io::Error` itself does not offer.
pub(super) fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
