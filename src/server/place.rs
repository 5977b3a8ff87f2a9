//! Where a server's files go.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::Directory;
use super::held::Held;
use crate::durability::Durability;

/// The directory of a server, and what all its parts know of it.
pub(super) struct Place {
    pub(super) dir: Directory,
    /// What a file must survive to count as stored.
    pub(super) durability: Durability,
    /// The directory's identity; `None` while its index is not open.
    pub(super) identity: Mutex<Option<Arc<str>>>,
    /// Files stored since the start.
    pub(super) stored_files: AtomicU64,
    /// Bytes of content of those files.
    pub(super) stored_bytes: AtomicU64,
    /// What the directory holds.
    pub(super) held: Held,
    /// Tells this process from others that have the same identity: 32 hex digits.
    pub(super) instance: Arc<str>,
    /// Keeps other servers out of the directory; `None` if it could not be opened.
    pub(super) _lock: Option<File>,
}

impl Place {
    /// Counts a stored file.
    pub(super) fn count(&self, bytes: u64) {
        self.stored_files.fetch_add(1, Ordering::Relaxed);
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
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
