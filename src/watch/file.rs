//! What tells one file from another.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::client::Seen;

/// A file as it is, under whatever name: a rename keeps it, and another file, or other content, has
/// another one. Devices are left out: their numbers change when a machine starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Ident {
    /// Its inode.
    pub(super) inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) born: Option<u64>,
    /// When it was written to, in seconds and nanoseconds since 1970.
    pub(super) written: (i64, i64),
    /// Its size in bytes.
    pub(super) size: u64,
}

/// 128 bits of a hash of an [`Ident`]: what is kept of a file that stays in its folder.
pub(super) type Fingerprint = u128;

impl Ident {
    /// Of this file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: metadata.ino(),
            born: born.and_then(|born| u64::try_from(born.as_nanos()).ok()),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.len(),
        }
    }

    /// What is kept of it.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        self.hash_into(&mut hasher);
        first_half(&hasher)
    }

    fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.inode.to_le_bytes());
        hasher.update(&self.born.unwrap_or(0).to_le_bytes());
        hasher.update(&self.written.0.to_le_bytes());
        hasher.update(&self.written.1.to_le_bytes());
        hasher.update(&self.size.to_le_bytes());
    }
}

fn first_half(hasher: &blake3::Hasher) -> u128 {
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    u128::from_be_bytes(half)
}

/// A regular file that was found in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path below the folder.
    pub(super) path: Arc<Path>,
    /// Which file it is.
    pub(super) ident: Ident,
    /// The device that it is on.
    pub(super) device: u64,
    /// When its content or metadata last changed, in seconds and nanoseconds since 1970.
    pub(super) touched: (i64, i64),
}

impl Found {
    /// The file with this path below the folder.
    pub(super) fn new(path: Arc<Path>, metadata: &Metadata) -> Self {
        Self {
            path,
            ident: Ident::of(metadata),
            device: metadata.dev(),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// What must be the same when it is read.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            device: self.device,
            inode: self.ident.inode,
            size: self.ident.size,
            written: self.ident.written,
        }
    }

    /// Its lasting key, in the state with this identity: the same as long as nothing touches it,
    /// and no other file's.
    pub(super) fn key(&self, prefix: &str, state: &str) -> Arc<str> {
        let mut hasher = blake3::Hasher::new();
        self.ident.hash_into(&mut hasher);
        hasher.update(&self.touched.0.to_le_bytes());
        hasher.update(&self.touched.1.to_le_bytes());
        hasher.update(self.path.as_os_str().as_bytes());
        format!("{prefix}{state}-{:032x}", first_half(&hasher)).into()
    }
}
