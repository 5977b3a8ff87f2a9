//! A file on disk while it is read and sent, and the sums of its content.

use std::io;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::look::{Look, shrunk_or_grown};

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
    pub(super) hash: blake3::Hash,
    /// How the file changed while its content was read, which is sent all the same.
    pub(super) change: Option<String>,
}

impl Summed {
    pub(super) fn of(bytes: &[u8], change: Option<String>) -> Self {
        Self {
            size: bytes.len() as u64,
            crc32c: crc32c::crc32c(bytes),
            hash: blake3::hash(bytes),
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
    async fn check(&mut self) -> Result<(), Trouble> {
        let open = self.file.metadata().await?;
        let path = tokio::fs::metadata(&self.path).await;
        match self.look.change_since(&open, path) {
            Some(change) if self.is_sent_anyway => self.change = Some(change),
            Some(change) => return Err(Trouble::Changed(change)),
            None => {}
        }
        Ok(())
    }

    /// Reads all of it.
    pub(super) async fn sum(self) -> Result<Summed, Trouble> {
        let mut reading = Reading::new(self);
        let mut out = Vec::new();
        let mut crc32c = 0;
        let size = reading.size();
        while reading.came < size {
            out.resize(STEP, 0);
            reading.step(&mut out, size).await?;
            crc32c = crc32c::crc32c_append(crc32c, &out);
        }
        reading.end(crc32c).await
    }
}

/// A file that is being read, with its hash so far.
pub(super) struct Reading {
    opened: Opened,
    /// How many bytes were read.
    pub(super) came: u64,
    hasher: blake3::Hasher,
}

impl Reading {
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            opened,
            came: 0,
            hasher: blake3::Hasher::new(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.opened.size()
    }

    /// Reads the next bytes into `out`, at most up to offset `end`, and cuts `out` to them.
    pub(super) async fn step(&mut self, out: &mut Vec<u8>, end: u64) -> Result<(), Trouble> {
        let left = usize::try_from(end - self.came).unwrap_or(usize::MAX);
        out.truncate(left);
        let read = self.opened.file.read(out).await;
        out.truncate(read.as_ref().copied().unwrap_or(0));
        match read? {
            0 => Err(Trouble::Changed(shrunk_or_grown(self.size(), self.came))),
            read => {
                self.hasher.update(out);
                self.came += read as u64;
                Ok(())
            }
        }
    }

    /// The sums of all of the content, unless the file changed meanwhile. Call it before the last
    /// bytes are sent, so that nobody can accept a file that changed.
    pub(super) async fn end(&mut self, crc32c: u32) -> Result<Summed, Trouble> {
        self.opened.check().await?;
        let change = self.opened.change.take();
        Ok(Summed {
            size: self.came,
            crc32c,
            hash: self.hasher.finalize(),
            change,
        })
    }
}
