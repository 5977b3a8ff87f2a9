//! What the index knows of a file.

use std::sync::Arc;

/// A file: its journal and its number in that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct Key {
    pub(in super::super) journal: Arc<str>,
    pub(in super::super) number: u64,
}

impl Key {
    pub(in super::super) fn new(journal: Arc<str>, number: u64) -> Self {
        Self { journal, number }
    }
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct IndexEntry {
    /// The size of its content in bytes.
    pub(in super::super) size: u64,
    pub(in super::super) crc32c: u32,
    /// Its name on disk.
    pub(in super::super) name: Box<str>,
    /// Whether the file may be another balancer's, too: then it is never removed.
    pub(in super::super) shared: bool,
}

/// An announced file that is published, with the name that it got.
#[derive(Debug)]
pub(in super::super) struct Settled {
    pub(in super::super) key: Key,
    pub(in super::super) entry: IndexEntry,
    /// Whether the name differs from the announced one.
    pub(in super::super) renamed: bool,
}
