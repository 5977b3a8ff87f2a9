//! The lines of the index file: pure encoding and decoding.
//!
//! Every line is text, begins with the CRC32C of its rest as 8 hex digits and a space, and ends
//! with a line feed. A file's name stands last and may have spaces. It has no control characters,
//! which [`stored_name`] guarantees; a line that breaks that counts as damaged.
//!
//! The first versions of this format had fewer kinds of lines. To the programs of then, the later
//! kinds look like the fate of number 0 of a journal that no balancer has, and they ignore it.
//!
//! [`stored_name`]: super::super::name::stored_name

use std::fmt::{self, Write};

use super::entry::IndexEntry;
use crate::checksum;

/// The version of the format that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

/// The longest line that is read, in bytes: more than the numbers of one message need.
pub(super) const MAX_LINE: usize = 512 * 1024;

/// The most numbers in a line, which take far less than [`MAX_LINE`].
const MAX_NUMBERS: usize = 16 * 1024;

/// What a line of the index says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The first line: the version of the format, and the directory's identity.
    Identity {
        version: u32,
        /// 32 hex digits.
        identity: &'a str,
    },
    /// A file is about to be published under this name, or the first one beside it that is free.
    Storing {
        journal: &'a str,
        number: u64,
        /// The size of its content in bytes.
        size: u64,
        /// The CRC32C of its content.
        crc32c: u32,
        /// Its name on disk.
        name: &'a str,
    },
    /// What has become of files of one journal.
    Fate {
        fate: Fate,
        journal: &'a str,
        numbers: Vec<u64>,
    },
    /// Whether no file was ever stored here for a journal that no other line names.
    Complete(bool),
    /// Where the index is, as [`WrittenIn`] formats it.
    ///
    /// [`WrittenIn`]: super::place::WrittenIn
    WrittenIn(&'a str),
    /// The balancer that a journal belongs to.
    Owner { balancer: &'a str, journal: &'a str },
}

/// Stands for all journals.
const ALL: &str = "*";

/// What [`Line::WrittenIn`] begins with.
const IN: &str = "in:";

/// What [`Line::Owner`] begins with.
const OF: &str = "of:";

/// What becomes of a file after its `storing` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is published.
    Stored,
    /// A file with its name and content was there already, which may be another balancer's, too.
    Shared,
    /// Its balancer has recorded it as delivered.
    Confirmed,
    /// It was removed, or never published.
    Dropped,
    /// The index does not keep it any more: there were too many entries.
    Forgotten,
}

const FATES: [(Fate, &str); 5] = [
    (Fate::Stored, "stored"),
    (Fate::Shared, "shared"),
    (Fate::Confirmed, "confirmed"),
    (Fate::Dropped, "dropped"),
    (Fate::Forgotten, "forgotten"),
];

impl Fate {
    fn word(self) -> &'static str {
        FATES
            .iter()
            .find(|(fate, _)| *fate == self)
            .map_or("", |(_, word)| word)
    }
}

/// Appends the first line.
pub(super) fn push_identity(out: &mut Vec<u8>, identity: &str) {
    push(out, format_args!("bilico-index {VERSION} {identity}"));
}

/// Appends a `storing` line.
pub(super) fn push_storing(out: &mut Vec<u8>, journal: &str, number: u64, entry: &IndexEntry) {
    let IndexEntry {
        size, crc32c, name, ..
    } = entry;
    push(
        out,
        format_args!("storing {journal} {number} {size} {crc32c:08x} {name}"),
    );
}

/// Appends as many lines as the numbers take, and returns how many that are.
pub(super) fn push_fate(out: &mut Vec<u8>, fate: Fate, journal: &str, numbers: &[u64]) -> u64 {
    let mut lines = 0;
    for part in numbers.chunks(MAX_NUMBERS) {
        push(
            out,
            format_args!("{} {journal}{}", fate.word(), Numbers(part)),
        );
        lines += 1;
    }
    lines
}

/// Appends a line that says whether the account of all journals is complete.
pub(super) fn push_complete(out: &mut Vec<u8>, complete: bool) {
    push_fate(
        out,
        if complete {
            Fate::Confirmed
        } else {
            Fate::Forgotten
        },
        ALL,
        &[0],
    );
}

/// Appends a line that says where the index is.
pub(super) fn push_written_in(out: &mut Vec<u8>, place: impl fmt::Display) {
    push_fate(out, Fate::Confirmed, &format!("{IN}{place}"), &[0]);
}

/// Appends a line that says which balancer a journal belongs to. A balancer's name has none of the
/// characters that have a meaning here.
pub(super) fn push_owner(out: &mut Vec<u8>, balancer: &str, journal: &str) {
    let words = format!("{OF}{balancer}={journal}");
    push_fate(out, Fate::Confirmed, &words, &[0]);
}

struct Numbers<'a>(&'a [u64]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let mut line = String::with_capacity(128);
    let _ = line.write_fmt(text);
    let _ = io_write(
        out,
        format_args!("{:08x} {line}\n", checksum::crc32c(line.as_bytes())),
    );
}

fn io_write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) -> std::io::Result<()> {
    std::io::Write::write_fmt(out, text)
}

/// Reads a line, without its line feed; `None` if it is damaged.
pub(super) fn decode(line: &[u8]) -> Option<Line<'_>> {
    let (crc, text) = std::str::from_utf8(line).ok()?.split_at_checked(9)?;
    let crc = hex(crc.strip_suffix(' ')?)?;
    if crc != checksum::crc32c(text.as_bytes()) {
        return None;
    }
    let (word, rest) = text.split_once(' ')?;
    match word {
        "bilico-index" => {
            let (version, identity) = rest.split_once(' ')?;
            Some(Line::Identity {
                version: version.parse().ok()?,
                identity,
            })
        }
        "storing" => decode_storing(rest),
        word => {
            let (fate, _) = FATES.iter().find(|(_, known)| *known == word)?;
            let mut words = rest.split(' ');
            let journal = words.next()?;
            if let Some(place) = journal.strip_prefix(IN) {
                return Some(Line::WrittenIn(place));
            }
            if let Some(owner) = journal.strip_prefix(OF) {
                let (balancer, journal) = owner.split_once('=')?;
                return Some(Line::Owner { balancer, journal });
            }
            if journal == ALL {
                return Some(Line::Complete(*fate == Fate::Confirmed));
            }
            let numbers = words
                .map(|number| number.parse().ok())
                .collect::<Option<_>>()?;
            Some(Line::Fate {
                fate: *fate,
                journal,
                numbers,
            })
        }
    }
}

fn decode_storing(rest: &str) -> Option<Line<'_>> {
    let mut words = rest.splitn(5, ' ');
    let journal = words.next()?;
    let number: u64 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let crc32c = hex(words.next()?)?;
    let name = words.next()?;
    is_name_of(name, number).then_some(Line::Storing {
        journal,
        number,
        size,
        crc32c,
        name,
    })
}

/// Whether a stored file of this number can have this name: a damaged or forged line must not lead
/// the server out of its directory.
fn is_name_of(name: &str, number: u64) -> bool {
    let rest = name
        .strip_prefix(&number.to_string())
        .and_then(|rest| rest.strip_prefix('_'));
    rest.is_some() && name.len() <= 255 && !name.contains(|c: char| c == '/' || c.is_control())
}

fn hex(digits: &str) -> Option<u32> {
    // Lower case only, as they are written: an upper-case digit is a flipped bit.
    let plain = digits.len() == 8
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain {
        u32::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
