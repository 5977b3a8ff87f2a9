//! Reads the lines of an index and works out the state they describe. Memory is bounded, whatever
//! the file says.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::entry::IndexEntry;
use super::line::{self, Fate, Line, MAX_LINE};
use super::owners::Owners;
use super::place::WrittenIn;
use super::seen::Seen;
use super::table::Table;

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("there is no index")]
    Missing,
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The state that the lines of an index describe.
pub(super) struct Replay {
    pub(super) identity: Arc<str>,
    pub(super) table: Table,
    /// Files that were announced, without a line about what became of them.
    pub(super) announced: Table,
    pub(super) seen: Seen,
    pub(super) owners: Owners,
    /// Where the index was when it was last opened.
    pub(super) written_in: Option<WrittenIn>,
    /// The length of all whole lines in bytes.
    pub(super) len: u64,
    pub(super) lines: u64,
    pub(super) damaged: u64,
    pub(super) torn: bool,
}

impl Replay {
    pub(super) fn read(file: &File, limit: usize) -> Result<Self, LoadError> {
        let unreadable = |error: io::Error| LoadError::Damaged(error.to_string());
        let mut lines = Lines {
            reader: BufReader::with_capacity(256 * 1024, file),
            line: Vec::new(),
        };
        let identity = lines.identity()?;
        let mut replay = Self {
            identity,
            table: Table::default(),
            announced: Table::default(),
            seen: Seen::default(),
            owners: Owners::default(),
            written_in: None,
            len: lines.line.len() as u64,
            lines: 1,
            damaged: 0,
            torn: false,
        };
        while let Some((line, whole)) = lines.next().map_err(unreadable)? {
            if !whole {
                replay.torn = true;
                break;
            }
            replay.take(line, limit);
        }
        Ok(replay)
    }

    fn take(&mut self, line: &[u8], limit: usize) {
        self.len += line.len() as u64;
        self.lines += 1;
        match line.strip_suffix(b"\n").and_then(line::decode) {
            Some(Line::Storing {
                journal,
                number,
                size,
                crc32c,
                name,
            }) => {
                let entry = IndexEntry {
                    size,
                    crc32c,
                    name: name.into(),
                    shared: false,
                };
                self.announced.insert(journal, number, entry);
                self.seen.raise(journal, number);
            }
            Some(Line::Fate {
                fate,
                journal,
                numbers,
            }) => {
                // A dropped file may never have been published; if it was, an earlier line said so.
                if let Some(highest) = numbers.iter().max().filter(|_| fate != Fate::Dropped) {
                    self.seen.raise(journal, *highest);
                }
                for number in numbers {
                    self.settle(fate, journal, number);
                }
                self.limit(limit);
            }
            Some(Line::Complete(complete)) => self.seen.is_complete = complete,
            Some(Line::WrittenIn(place)) => {
                self.written_in = place.parse().ok().or(self.written_in);
            }
            Some(Line::Owner { balancer, journal }) => self.owners.set(journal, balancer),
            Some(Line::Identity { .. }) | None => self.damaged += 1,
        }
    }

    fn settle(&mut self, fate: Fate, journal: &str, number: u64) {
        let announced = self.announced.remove(journal, number);
        if !matches!(fate, Fate::Stored | Fate::Shared) {
            self.table.remove(journal, number);
            return;
        }
        if let Some(entry) = announced {
            self.table.insert(journal, number, entry);
        }
        if let Some(entry) = self.table.get_mut(journal, number) {
            entry.shared = fate == Fate::Shared;
        }
    }

    /// Keeps memory bounded while the file is read. Entries over the exact limit are forgotten, and
    /// that is logged, once all of it is read.
    fn limit(&mut self, limit: usize) {
        let slack = limit / 10 + 1;
        if self.table.len() > limit + slack {
            for key in self.table.oldest(slack) {
                self.table.remove(&key.journal, key.number);
            }
        }
    }
}

fn read_identity(first: &[u8]) -> Result<Arc<str>, LoadError> {
    match first.strip_suffix(b"\n").and_then(line::decode) {
        Some(Line::Identity {
            version: line::VERSION,
            identity,
        }) if is_identity(identity) => Ok(identity.into()),
        Some(Line::Identity { version, .. }) if version != line::VERSION => {
            Err(io::Error::other(format!(
                "the index has version {version} of its format, and this program knows only \
                 version {}: use the program that wrote it, or move .bilico-index away to begin a \
                 new index that knows none of the files here",
                line::VERSION
            ))
            .into())
        }
        _ => Err(LoadError::Damaged("its first line is damaged".to_owned())),
    }
}

fn is_identity(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads lines of bounded length.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The identity in the first line.
    fn identity(&mut self) -> Result<Arc<str>, LoadError> {
        match self
            .next()
            .map_err(|error| LoadError::Damaged(error.to_string()))?
        {
            Some((first, true)) => read_identity(first),
            _ => Err(LoadError::Damaged("it has no first line".to_owned())),
        }
    }

    /// The next line, and whether it is whole: false for the end of a file without a line feed. A
    /// line that is too long comes in pieces, each of which counts as damaged.
    fn next(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        self.line.clear();
        let mut bounded = io::Read::take(&mut self.reader, MAX_LINE as u64);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let whole = self.line.last() == Some(&b'\n') || self.line.len() == MAX_LINE;
        Ok(Some((&self.line, whole)))
    }
}
