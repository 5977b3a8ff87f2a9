//! The content of a file that waits or is a dead letter, read for an operator.
//!
//! The hub tells where the content is; reading it is the asker's, so it holds up no other file. It
//! is compared with the client's checksum while it is read: unless damage is accepted, damaged
//! content ends in an error before its last piece.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::checksum;
use crate::queue::disk::{Disk, DiskFile, read_full_at};
use crate::queue::{FileBody, content};

/// How many bytes of large content are read at once.
const STEP: u64 = 256 * 1024;

/// Where the content of a file is.
#[derive(Clone)]
pub struct Content {
    /// The file's request number.
    pub number: u64,
    /// Its title, as its client gave it; not checked.
    pub title: Box<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content.
    pub crc32c: u32,
    pub(super) body: FileBody,
    pub(super) disk: Arc<dyn Disk>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("number", &self.number)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Two are the same if they are of the same file.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// Content that is being read. Its methods block.
pub struct ContentReader {
    source: Source,
    offset: u64,
    size: u64,
    crc32c: u32,
    read: u32,
    accepts_damage: bool,
}

enum Source {
    Memory(Bytes),
    File(Arc<dyn DiskFile>),
}

/// Why damaged content is not given.
fn damaged(read: u32, crc32c: u32) -> io::Error {
    io::Error::other(format!(
        "the content is damaged in the journal: its CRC32C is {read:08x}, and was {crc32c:08x}"
    ))
}

impl Content {
    /// Opens it. Small content is read and compared at once.
    pub fn open(self, accepts_damage: bool) -> io::Result<ContentReader> {
        let source = match self.body {
            FileBody::Memory(bytes, None) => Source::Memory(bytes),
            FileBody::Memory(bytes, Some(_)) if checksum::crc32c(&bytes) == self.crc32c => {
                Source::Memory(bytes)
            }
            FileBody::Memory(_, Some(location)) | FileBody::Journal(location) => {
                Source::Memory(location.read_as_it_is()?)
            }
            FileBody::Own(id) => Source::File(self.disk.open(&content::name(id))?),
        };
        if let Source::Memory(bytes) = &source {
            let read = checksum::crc32c(bytes);
            let is_sound = read == self.crc32c && bytes.len() as u64 == self.size;
            if !is_sound && !accepts_damage {
                return Err(damaged(read, self.crc32c));
            }
        }
        Ok(ContentReader {
            source,
            offset: 0,
            size: self.size,
            crc32c: self.crc32c,
            read: 0,
            accepts_damage,
        })
    }
}

impl ContentReader {
    /// How many bytes are still to come.
    pub fn rest(&self) -> u64 {
        self.size - self.offset
    }

    /// The next piece; empty at the end.
    pub fn piece(&mut self) -> io::Result<Bytes> {
        let len = self.rest().min(STEP);
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let piece = match &self.source {
            Source::Memory(bytes) => {
                let start = whole(self.offset).min(bytes.len());
                let end = start.saturating_add(whole(len)).min(bytes.len());
                bytes.slice(start..end)
            }
            Source::File(file) => {
                let mut piece = vec![0; whole(len)];
                let read = read_full_at(&**file, &mut piece, self.offset)?;
                piece.truncate(read);
                Bytes::from(piece)
            }
        };
        if (piece.len() as u64) < len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content is cut short in the journal",
            ));
        }
        self.offset += len;
        self.read = checksum::append(self.read, &piece);
        if self.rest() == 0 && self.read != self.crc32c && !self.accepts_damage {
            return Err(damaged(self.read, self.crc32c));
        }
        Ok(piece)
    }
}
