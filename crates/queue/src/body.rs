//! Where the content of a file is.

use bytes::Bytes;

use crate::journal::Location;

/// Content of up to this many bytes is in the journal itself; larger content has a file of its own.
pub const INLINE: u64 = 64 * 1024;

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub enum FileBody {
    /// In memory, and also in the journal once its record is committed.
    Memory(Bytes, Option<Location>),
    /// In the journal.
    Journal(Location),
    /// In the content file with this id.
    Own(u64),
}

impl FileBody {
    /// The same content, out of memory if the journal has it, too.
    #[must_use]
    pub fn without_memory(self) -> Self {
        match self {
            Self::Memory(_, Some(location)) => Self::Journal(location),
            other => other,
        }
    }
}
