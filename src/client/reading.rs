//! A file on disk while it is read and sent, and the sums of its content.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::look::{Look, shrunk_or_grown};
use crate::bulk::{Fill, ReadAhead};
use crate::checksum;

/// How many bytes of a file are read and sent at once.
pub(super) const STEP: usize = 256 * 1024;

/// Why a file cannot be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be read.
    Unreadable(String),
    /// It changed while it was read, so that the bytes that were read may be no content that it
    /// ever had. A later attempt may succeed.
    Changed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The size and sums of content, which tell it from other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summed {
    pub(super) size: u64,
    pub(super) crc32c: u32,
    /// If it was asked for.
    pub(super) hash: Option<blake3::Hash>,
    /// How the file changed while its content was read, which is sent all the same.
    pub(super) change: Option<String>,
}

impl Summed {
    pub(super) fn of(bytes: &[u8], change: Option<String>, is_hashed: bool) -> Self {
        Self {
            size: bytes.len() as u64,
            crc32c: checksum::crc32c(bytes),
            hash: is_hashed.then(|| blake3::hash(bytes)),
            change,
        }
    }
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// The file before any of it was read.
    pub(super) look: Look,
    /// How the file has changed since, if it is sent all the same.
    pub(super) change: Option<String>,
    /// Whether it is sent even if it changes.
    pub(super) is_sent_anyway: bool,
}

impl Opened {
    /// The size that its frame promises, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.look.size
    }

    /// Fails if the file has changed since it was opened, unless it is sent all the same.
    fn check(&mut self) -> Result<(), Trouble> {
        let open = self.file.metadata()?;
        match self.look.change_since(&open, std::fs::metadata(&self.path)) {
            Some(change) if self.is_sent_anyway => self.change = Some(change),
            Some(change) => return Err(Trouble::Changed(change)),
            None => {}
        }
        Ok(())
    }

    /// Reads it from its beginning, and hashes it if it is to be hashed. A piece ends at this offset.
    pub(super) fn read(self, offset: u64, is_hashed: bool) -> ReadAhead<Reading> {
        ReadAhead::new(Reading {
            opened: self,
            came: 0,
            offset,
            crc32c: 0,
            before: 0,
            hasher: is_hashed.then(blake3::Hasher::new),
        })
    }

    /// Reads all of it.
    pub(super) async fn sum(self, is_hashed: bool) -> Result<Summed, Trouble> {
        let mut reading = self.read(0, is_hashed);
        while let Some(piece) = reading.next().await {
            let piece = piece?.piece;
            if let Some(whole) = piece.whole {
                return Ok(whole);
            }
            reading.reuse(piece);
        }
        Ok(Summed::of(&[], None, is_hashed))
    }
}

/// A file that is being read, with its sums so far.
pub(super) struct Reading {
    opened: Opened,
    /// How many bytes were read.
    came: u64,
    /// Where the prefix ends.
    offset: u64,
    /// The CRC32C of the prefix until it ends, and of what came after it from then on.
    crc32c: u32,
    /// The CRC32C of the prefix.
    before: u32,
    hasher: Option<blake3::Hasher>,
}

/// The next bytes of a file.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// The CRC32C up to their end: of the prefix if they belong to it, else of what follows it.
    pub(super) crc32c: u32,
    /// The sums of all of the content, with the last bytes. Nobody can accept a file that changed,
    /// for its last bytes are not there then.
    pub(super) whole: Option<Summed>,
}

impl Reading {
    /// The sums of all of the content, unless the file changed meanwhile.
    fn end(&mut self) -> Result<Summed, Trouble> {
        self.opened.check()?;
        let crc32c = match self.came - self.offset {
            0 => self.crc32c,
            rest => checksum::combine(self.before, self.crc32c, rest),
        };
        Ok(Summed {
            size: self.came,
            crc32c,
            hash: self.hasher.as_ref().map(blake3::Hasher::finalize),
            change: self.opened.change.take(),
        })
    }
}

impl Fill for Reading {
    type Piece = Piece;
    type Error = Trouble;

    fn fill(&mut self, piece: &mut Piece) -> Result<bool, Trouble> {
        let size = self.opened.size();
        if self.came == size {
            return Ok(false);
        }
        let end = if self.came < self.offset {
            self.offset
        } else {
            size
        };
        let left = usize::try_from(end - self.came).unwrap_or(STEP);
        piece.bytes.resize(left.min(STEP), 0);
        let read = self.opened.file.read(&mut piece.bytes)?;
        if read == 0 {
            return Err(Trouble::Changed(shrunk_or_grown(size, self.came)));
        }
        piece.bytes.truncate(read);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece.bytes);
        }
        if self.came == self.offset {
            self.before = std::mem::take(&mut self.crc32c);
        }
        self.crc32c = checksum::append(self.crc32c, &piece.bytes);
        self.came += read as u64;
        piece.crc32c = self.crc32c;
        piece.whole = if self.came == size {
            Some(self.end()?)
        } else {
            None
        };
        Ok(true)
    }
    /// The last piece goes out only once its sums were told.
    fn ready(piece: &Piece) -> Option<&[u8]> {
        piece.whole.is_none().then_some(&piece.bytes)
    }
}
