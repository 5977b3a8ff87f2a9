//! The file of receipts.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::ends::{Ends, Tail};
use super::receipt::Receipt;
use crate::client::tally::Tally;

/// How many bytes of lines are written with one call, not counting the last line of them.
const BATCH: usize = 1024 * 1024;

/// Why receipts cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The file cannot be opened or written.
    #[error("cannot write receipts to {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The path leads to something else than receipts.
    #[error(
        "{path} is not a file of receipts: {found}; receipts are appended to a new file, an empty \
         one, or one of receipts only, so nothing was written"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the path leads to, or the file holds.
        found: String,
    },
}

/// A file to which receipts are appended.
#[derive(Debug)]
pub struct ReceiptFile {
    file: File,
    path: PathBuf,
    /// Lines that are not written yet. Begins in the middle of a line after a short write.
    lines: Vec<u8>,
    /// How many of the settled files have their line.
    told: usize,
}

impl ReceiptFile {
    /// Opens the file, or creates it. A file with anything but receipts in it, judged by its first
    /// and last lines, is an error and stays as it is. A torn last line, of a client that could not
    /// write all of it, is cut off.
    pub fn open(path: &Path) -> Result<Self, ReceiptError> {
        let failed = |error| ReceiptError::Io {
            path: path.to_owned(),
            error,
        };
        let foreign = |found| ReceiptError::Foreign {
            path: path.to_owned(),
            found,
        };
        // First of all, since opening a FIFO would wait for its other end.
        if let Ok(metadata) = fs::metadata(path) {
            is_regular(&metadata).map_err(foreign)?;
        }
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        is_regular(&file.metadata().map_err(failed)?).map_err(foreign)?;
        let ends = Ends::of(&mut file).map_err(failed)?;
        let mut lines = Vec::new();
        match ends.tail().map_err(foreign)? {
            Tail::Whole => {}
            Tail::Unended => lines.push(b'\n'),
            Tail::Torn => file.set_len(ends.torn_from).map_err(failed)?,
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            lines,
            told: 0,
        })
    }

    /// Appends the receipts of the files that have been settled since the last call.
    pub fn tell(
        &mut self,
        tally: &Tally,
        receipt: impl Fn(usize) -> Option<Receipt>,
    ) -> Result<(), ReceiptError> {
        while let Some(file) = tally.settled.get(self.told) {
            self.told += 1;
            self.add(receipt(*file))?;
        }
        self.flush()
    }

    /// Appends the receipts of all files without one, whatever is known of the files.
    pub fn finish(
        &mut self,
        tally: &Tally,
        receipt: impl Fn(usize) -> Option<Receipt>,
    ) -> Result<(), ReceiptError> {
        self.tell(tally, &receipt)?;
        for (file, fate) in tally.fates.iter().enumerate() {
            if !fate.is_final() {
                self.add(receipt(file))?;
            }
        }
        self.flush()
    }

    fn add(&mut self, receipt: Option<Receipt>) -> Result<(), ReceiptError> {
        let Some(receipt) = receipt else {
            return Ok(());
        };
        let failed = |error: serde_json::Error| ReceiptError::Io {
            path: self.path.clone(),
            error: error.into(),
        };
        serde_json::to_writer(&mut self.lines, &receipt).map_err(failed)?;
        self.lines.push(b'\n');
        if self.lines.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), ReceiptError> {
        while !self.lines.is_empty() {
            match self.file.write(&self.lines) {
                Ok(0) => return Err(self.failed(io::ErrorKind::WriteZero.into())),
                Ok(written) => drop(self.lines.drain(..written.min(self.lines.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ReceiptError {
        ReceiptError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

fn is_regular(metadata: &Metadata) -> Result<(), String> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err("it is a directory".to_owned()),
        _ => Err("it is not a regular file".to_owned()),
    }
}
