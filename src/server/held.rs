//! The state of counting what the directory holds; [`super::count`] counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much the directory of a server holds. Counts of what was stored and removed since the start
/// stand in the server's `Place`.
#[derive(Debug, Default)]
pub(super) struct Held {
    counted: Mutex<Counting>,
    pub(super) removed_files: AtomicU64,
    pub(super) removed_bytes: AtomicU64,
}

/// The last count, and whether one runs.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) is_running: bool,
    pub(super) last: Option<Count>,
}

/// A count of the files in the directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    /// The result, less what was stored and plus what was removed until then. Between two counts the
    /// sum may be less than nothing, if others take files away.
    pub(super) files: i128,
    pub(super) bytes: i128,
    /// When it ended, and how long it took.
    pub(super) at: Instant,
    pub(super) took: Duration,
    /// When the directory had last been changed.
    pub(super) changed: (i64, u64),
}

impl Held {
    /// A file was removed.
    pub(super) fn remove(&self, bytes: u64) {
        self.removed_files.fetch_add(1, Ordering::Relaxed);
        self.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
