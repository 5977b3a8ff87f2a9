//! The first and last lines of a file, by which a file of receipts is told from any other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::receipt::Receipt;
use crate::protocol::object;

/// The longest line, in bytes: it holds a path and a title in which each character is escaped.
pub const MAX_LINE: usize = 256 * 1024;

/// How many bytes of a line that is not a receipt a message shows.
const SHOWN: usize = 40;

/// What every line begins with.
const BEGINNING: &[u8] = br#"{"path":"#;

/// How a file of receipts ends.
pub(super) enum Tail {
    /// With a line's end, or it is empty.
    Whole,
    /// With a receipt that lacks nothing but its line's end.
    Unended,
    /// In the middle of a receipt.
    Torn,
}

/// The first and the last lines of a file, up to [`MAX_LINE`] bytes of each.
pub(super) struct Ends {
    /// Whether a line ends in the last two [`MAX_LINE`] bytes.
    has_lines: bool,
    first: Vec<u8>,
    /// The last whole line, or the part of it in the last two [`MAX_LINE`] bytes.
    last: Vec<u8>,
    /// The bytes behind the last line's end.
    torn: Vec<u8>,
    /// The offset at which those begin.
    pub(super) torn_from: u64,
}

impl Ends {
    pub(super) fn of(file: &mut File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut first = read_at(file, 0, MAX_LINE)?;
        first.truncate(memchr::memchr(b'\n', &first).unwrap_or(first.len()));
        let start = size.saturating_sub(2 * MAX_LINE as u64);
        let mut last = read_at(file, start, 2 * MAX_LINE)?;
        let end = memchr::memrchr(b'\n', &last);
        let torn = last.split_off(end.map_or(0, |end| end + 1));
        last.truncate(end.unwrap_or(0));
        let torn_from = start + end.map_or(0, |end| end as u64 + 1);
        let begin = memchr::memrchr(b'\n', &last).map_or(0, |end| end + 1);
        Ok(Self {
            has_lines: end.is_some(),
            first,
            last: last.split_off(begin),
            torn,
            torn_from,
        })
    }

    /// How the file ends. The error says what it holds instead of receipts.
    pub(super) fn tail(&self) -> Result<Tail, String> {
        for (which, line) in [("first", &self.first), ("last", &self.last)] {
            if self.has_lines && !is_receipt(line) {
                return Err(format!("its {which} line is {}", beginning(line)));
            }
        }
        match &*self.torn {
            [] => Ok(Tail::Whole),
            torn if is_receipt(torn) => Ok(Tail::Unended),
            torn if is_torn(torn) => Ok(Tail::Torn),
            torn => Err(format!("it ends with {}", beginning(torn))),
        }
    }
}

pub(super) fn is_receipt(line: &[u8]) -> bool {
    object::flat_from_slice::<Receipt>(line).is_ok()
}

/// Whether this is a receipt that was cut, and not JSON that is whole by itself.
fn is_torn(line: &[u8]) -> bool {
    let begins = line.starts_with(BEGINNING) || BEGINNING.starts_with(line);
    begins
        && line.len() <= MAX_LINE
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err()
}

/// The first bytes of a line, for a message.
fn beginning(line: &[u8]) -> String {
    let (shown, more) = line.split_at_checked(SHOWN).unwrap_or((line, &[]));
    format!(
        "{:?}{}",
        String::from_utf8_lossy(shown),
        if more.is_empty() { "" } else { "…" }
    )
}

/// Up to `most` bytes from an offset on.
fn read_at(file: &mut File, from: u64, most: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
