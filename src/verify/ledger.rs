//! Reads receipts: one entry per file, however many lines it has.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::VerifyError;
use super::report::Claim;
use crate::client::receipts::{MAX_LINE, Receipt, State};
use crate::protocol::object;

/// The receipts of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptLine {
    /// Path of the file at the client.
    pub path: Box<str>,
    /// Its title.
    pub title: Box<str>,
    /// The size of its content in bytes, if it is known.
    pub size: Option<u64>,
    /// The hash of its content, if it is known.
    pub hash: Option<blake3::Hash>,
    /// The file's last known state.
    pub state: State,
    /// Its request number, if it had one.
    pub number: Option<u64>,
}

impl ReceiptLine {
    fn new(receipt: Receipt) -> Self {
        Self {
            path: receipt.path.into(),
            title: receipt.title.into(),
            size: receipt.size,
            hash: receipt.hash,
            state: receipt.state,
            number: receipt.number,
        }
    }

    /// Adopts a later receipt of the same file, unless it knows less about the balancer: a later
    /// attempt that could not read the file, or that ended without a receipt, changes nothing.
    fn update(&mut self, later: Self) {
        if weight(later.state) >= weight(self.state) {
            let same = later.size.is_none() || later.size == self.size;
            let earlier = std::mem::replace(self, later);
            if same {
                // If the balancer knew the key, the client did not read the file.
                self.size = self.size.or(earlier.size);
                self.hash = self.hash.or(earlier.hash);
            }
        }
    }

    /// Whether size and hash match the file's, as far as those are known.
    pub(super) fn fits(&self, size: u64, hash: &blake3::Hash) -> bool {
        self.size.is_none_or(|expected| expected == size)
            && self.hash.is_none_or(|expected| expected == *hash)
    }

    pub(super) fn claim(&self) -> Claim {
        Claim {
            path: self.path.to_string(),
            title: self.title.to_string(),
            state: self.state,
            number: self.number,
        }
    }
}

/// How much a state tells. A receipt does not supersede one that tells more.
fn weight(state: State) -> u8 {
    match state {
        State::Refused | State::Unreadable | State::Changed => 0,
        State::Unknown => 1,
        // A dead letter can be replayed, so a delivery tells more.
        State::Forgotten | State::Accepted | State::Dead => 2,
        State::Delivered => 3,
    }
}

/// All receipts.
#[derive(Debug, Default)]
pub struct Receipts {
    /// One per file, in the order of the first lines.
    pub entries: Vec<ReceiptLine>,
    /// Remarks on skipped lines.
    pub notes: Vec<String>,
    /// Indexes of the entries by a hash of their keys.
    places: HashMap<u128, usize>,
}

impl Receipts {
    /// Reads files of receipts, the oldest first. A torn last line is skipped; any other invalid
    /// line is an error.
    pub fn read(paths: &[PathBuf]) -> Result<Self, VerifyError> {
        let mut ledger = Self::default();
        for path in paths {
            ledger.read_one(path)?;
        }
        Ok(ledger)
    }

    /// Adds a receipt. It supersedes an earlier one of the same key.
    pub fn add(&mut self, receipt: Receipt) {
        let key = blake3::hash(receipt.key.as_bytes())
            .as_bytes()
            .first_chunk()
            .copied()
            .unwrap_or_default();
        let next = self.entries.len();
        let place = *self.places.entry(u128::from_le_bytes(key)).or_insert(next);
        let entry = ReceiptLine::new(receipt);
        match self.entries.get_mut(place) {
            Some(earlier) => earlier.update(entry),
            None => self.entries.push(entry),
        }
    }

    fn read_one(&mut self, path: &Path) -> Result<(), VerifyError> {
        let failed = |error| VerifyError::Receipts {
            path: path.to_owned(),
            error,
        };
        let mut input = BufReader::with_capacity(256 * 1024, File::open(path).map_err(failed)?);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = read_line(&mut input, &mut text).map_err(failed)?;
            if read == 0 {
                break;
            }
            let is_whole = text.ends_with(b"\n");
            match parse(&text) {
                Ok(receipt) => self.add(receipt),
                Err(_) if !is_whole && read <= MAX_LINE => {
                    self.notes.push(format!(
                        "{}, line {line} is torn, and was passed over",
                        path.display()
                    ));
                }
                Err(reason) => {
                    return Err(VerifyError::Line {
                        path: path.to_owned(),
                        line,
                        reason,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Reads a line with its end; the length is bounded.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<usize> {
    input.take(MAX_LINE as u64 + 1).read_until(b'\n', text)
}

fn parse(line: &[u8]) -> Result<Receipt, String> {
    let receipt: Receipt =
        object::flat_from_slice(line).map_err(|error| format!("not a receipt: {error}"))?;
    let has_number = match receipt.state {
        State::Delivered | State::Accepted | State::Dead | State::Forgotten => {
            receipt.number.is_some()
        }
        State::Refused | State::Unreadable | State::Changed | State::Unknown => true,
    };
    if has_number {
        Ok(receipt)
    } else {
        Err("not a receipt: the `number` is missing".to_owned())
    }
}
