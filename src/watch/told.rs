//! What a watcher tells of its work.

use std::path::PathBuf;

/// Something that people or programs may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The folder is being watched.
    Started {
        /// Files from an earlier process that were not ended with.
        unfinished: usize,
        /// Whether the system tells of changes.
        by_events: bool,
    },
    /// A file was handed over, and what is to happen then has happened.
    HandedOver {
        /// Its path below the folder.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// Its key.
        key: String,
        /// Its request number.
        number: u64,
        /// The server that has it, if that was waited for.
        server: Option<String>,
        /// Where it was moved to; `None` if it is deleted, or stays.
        to: Option<PathBuf>,
        /// Whether it stays.
        stays: bool,
    },
    /// A file cannot be handed over.
    Failed {
        /// Its path below the folder.
        path: PathBuf,
        /// Why.
        reason: String,
        /// Where it was moved to; `None` if it stays.
        to: Option<PathBuf>,
    },
    /// A file was handed over, or cannot be, and what is to happen then fails; it is tried again.
    Stuck {
        /// Its path below the folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Something in the folder is left alone.
    Skipped {
        /// Its path below the folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file changed while it was handed over, and is handed over again as it is now.
    Changed {
        /// Its path below the folder.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A file that was being handed over is gone from the folder.
    Gone {
        /// Its path below the folder.
        path: PathBuf,
    },
    /// The balancer cannot take files now; the watcher waits.
    Waiting {
        /// Why.
        reason: String,
    },
    /// The balancer takes files again.
    Resumed,
    /// Something else.
    Note(String),
}

/// What a watcher has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were handed over.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that cannot be handed over.
    pub failed: u64,
    /// Files and folders that were left alone: unreadable, or no regular files.
    pub skipped: u64,
    /// Files that are left in the folder and are still to be handed over, or to be put away.
    pub left: usize,
}
