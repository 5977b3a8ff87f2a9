//! A file on disk while it is read and sent, and what its content is told by.

use std::io;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::look::{Look, shrunk_or_grown};

/// How much of a file is read and sent at once.
pub(super) const STEP: usize = 256 * 1024;

/// Why a file cannot be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be read.
    Unreadable(String),
    /// It changed while it was read, so that what came of it may be what it never was. Later it may
    /// be still.
    Changed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// What content is told by from other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summed {
    pub(super) size: u64,
    pub(super) crc32c: u32,
    pub(super) hash: blake3::Hash,
    /// How the file changed while the content was read that is sent all the same.
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
    /// What it was before anything was read.
    pub(super) look: Look,
    /// How it has changed since, if it is to be sent all the same.
    pub(super) change: Option<String>,
    /// Whether it is.
    pub(super) is_sent_anyway: bool,
}

impl Opened {
    /// The size that it is sent with, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.look.size
    }

    /// Makes sure that the file is still what it was when it was opened.
    async fn check(&mut self) -> Result<(), Trouble> {
        let (open, path) = (
            self.file.metadata().await?,
            tokio::fs::metadata(&self.path).await,
        );
        match self.look.change_since(&open, path) {
            Some(change) if self.is_sent_anyway => self.change = Some(change),
            Some(change) => return Err(Trouble::Changed(change)),
            None => {}
        }
        Ok(())
    }

    /// Reads all of it.
    pub(super) async fn sum(self) -> Result<Summed, Trouble> {
        let (mut reading, mut out) = (Reading::new(self), Vec::new());
        let (mut crc32c, size) = (0, reading.size());
        while reading.came < size {
            out.resize(STEP, 0);
            reading.step(&mut out, size).await?;
            crc32c = crc32c::crc32c_append(crc32c, &out);
        }
        reading.end(crc32c).await
    }
}

/// A file that is being read, and what came of it.
pub(super) struct Reading {
    opened: Opened,
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

    /// Reads on into `out`, at most up to `end`, and cuts it to what came.
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

    /// All of it came: says what it is, unless it changed meanwhile. To be asked before the last of
    /// it is sent.
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
