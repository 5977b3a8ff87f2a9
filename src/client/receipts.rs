//! Receipts on disk: a JSON line for each file, written when its fate is final.
//!
//! Lines are appended whole, several with one call where they come together, so that a client that
//! is killed leaves nothing but whole lines behind. Reading them back and comparing them with what
//! servers have is [`crate::verify`]'s.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::Source;
use super::keys::Keys;
use super::tally::{Fate, Tally};
use crate::protocol::object;

/// The longest line, in bytes: a path and a title, each character of them escaped, fit in.
pub const MAX_LINE: usize = 256 * 1024;

/// How many bytes of lines are written with one call, but for the last line of them.
const BATCH: usize = 1024 * 1024;

/// How many bytes of what is no receipt a message shows.
const SHOWN: usize = 40;

/// What every line begins with.
const BEGINNING: &[u8] = br#"{"path":"#;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A server has it.
    Delivered,
    /// The balancer has it, as far as was known when the client ended.
    Accepted,
    /// No server can take it; the balancer keeps it among its dead letters.
    Dead,
    /// The balancer refused it.
    Refused,
    /// It could not be read, and was not sent.
    Unreadable,
    /// It changed each time while it was read, and was not sent.
    Changed,
    /// It may have been sent, but no receipt came.
    Unknown,
    /// It was accepted, but the balancer no longer knows it.
    Forgotten,
}

/// What is known of a file at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where the file lay.
    pub path: String,
    /// The title by which it was sent, or was to be.
    pub title: String,
    /// Its lasting name.
    pub key: String,
    /// The size of its content in bytes, if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The BLAKE3 hash of its content as 64 hex digits, if all of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub hash: Option<blake3::Hash>,
    /// What became of it.
    pub state: State,
    /// Its request number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The server that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// False from an old-style server, which never acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// Why it was refused, could not be read, or is dead, or how it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it changed while the content was read that was sent all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// A hash as hex digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        hash: &Option<blake3::Hash>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.serialize_str(&hash.to_hex()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<blake3::Hash>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| blake3::Hash::from_hex(text).map_err(de::Error::custom))
            .transpose()
    }
}

impl Receipt {
    /// The receipt of the file in this place, as it stands in the tally.
    pub fn of(file: usize, source: &Source, keys: &Keys, tally: &Tally) -> Self {
        let sent = tally.sent.get(file).cloned().unwrap_or_default();
        let receipt = Self {
            path: source.path.display().to_string(),
            title: sent
                .title
                .map_or_else(|| source.title.clone(), String::from),
            key: keys.of(file, source).to_string(),
            size: sent.size,
            hash: sent.hash,
            state: State::Unknown,
            number: None,
            server: None,
            confirmed: None,
            reason: None,
            change: sent.change.map(String::from),
        };
        match tally.fates.get(file) {
            Some(fate) => receipt.with(fate.clone()),
            None => receipt,
        }
    }

    fn with(self, fate: Fate) -> Self {
        match fate {
            Fate::Pending => self,
            Fate::Accepted { number } => Self {
                state: State::Accepted,
                number: Some(number),
                ..self
            },
            Fate::Delivered {
                number,
                server,
                confirmed,
            } => Self {
                state: State::Delivered,
                number: Some(number),
                server: Some(server),
                confirmed: Some(confirmed),
                ..self
            },
            Fate::Refused { reason } => Self {
                state: State::Refused,
                reason: Some(reason),
                ..self
            },
            Fate::Unreadable { reason } => Self {
                state: State::Unreadable,
                reason: Some(reason),
                ..self
            },
            Fate::Changed { reason } => Self {
                state: State::Changed,
                reason: Some(reason),
                ..self
            },
            Fate::Dead { number, reason } => Self {
                state: State::Dead,
                number: Some(number),
                reason: Some(reason),
                ..self
            },
            Fate::Forgotten { number } => Self {
                state: State::Forgotten,
                number: Some(number),
                ..self
            },
        }
    }
}

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
    /// What is there is something else.
    #[error(
        "{path} is no file of receipts: {found}; receipts are appended to a new file, an empty one, or one of receipts \
         only, so nothing was written"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, or has in it.
        found: String,
    },
}

/// A file to which receipts are appended.
#[derive(Debug)]
pub struct ReceiptFile {
    file: File,
    path: PathBuf,
    /// Lines that are not written yet; the rest of one only after a write that did not write all.
    lines: Vec<u8>,
    /// How many of the settled files have had their line.
    told: usize,
}

impl ReceiptFile {
    /// Opens the file, or creates it. One that has anything but receipts in it, as far as its first
    /// and last lines tell, is left alone; the torn last line of a client that could not write all
    /// of it is taken off.
    pub fn open(path: &Path) -> Result<Self, ReceiptError> {
        let failed = |error| ReceiptError::Io {
            path: path.to_owned(),
            error,
        };
        let foreign = |found| ReceiptError::Foreign {
            path: path.to_owned(),
            found,
        };
        // Before it is opened: opening a pipe would wait for its other end.
        if let Ok(metadata) = fs::metadata(path) {
            is_regular(&metadata).map_err(foreign)?;
        }
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
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

    /// Appends the receipts of all files that have none yet, whatever is known of them.
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
        _ => Err("it is no regular file".to_owned()),
    }
}

/// How a file of receipts ends.
enum Tail {
    /// With a line's end, or it is empty.
    Whole,
    /// With a receipt that lacks nothing but its line's end.
    Unended,
    /// In the middle of a receipt.
    Torn,
}

/// The first and the last lines of a file, as far as they are not longer than lines may be.
struct Ends {
    /// Whether a line ends near enough to the end.
    has_lines: bool,
    first: Vec<u8>,
    /// The last whole line, or what of it is near enough to the end.
    last: Vec<u8>,
    /// What stands behind the last line's end.
    torn: Vec<u8>,
    /// Where that begins.
    torn_from: u64,
}

impl Ends {
    fn of(file: &mut File) -> io::Result<Self> {
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

    /// The text says what is there instead of receipts.
    fn tail(&self) -> Result<Tail, String> {
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

fn is_receipt(line: &[u8]) -> bool {
    object::flat_from_slice::<Receipt>(line).is_ok()
}

/// Whether this is the beginning of a receipt, and of nothing that is whole by itself.
fn is_torn(line: &[u8]) -> bool {
    let begins = line.starts_with(BEGINNING) || BEGINNING.starts_with(line);
    begins
        && line.len() <= MAX_LINE
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err()
}

/// As much of a line as a message has room for.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Form;
    use crate::protocol::Message;

    fn sources(count: usize) -> Vec<Source> {
        (0..count)
            .map(|file| Source::named(Path::new(&format!("dir/{file}")), Form::Raw))
            .collect()
    }

    fn lines(path: &Path) -> Vec<Receipt> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_comes_once_a_file_when_its_fate_is_final_and_the_rest_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipts");
        let (sources, keys, mut tally) = (sources(4), Keys::titled("p/").unwrap(), Tally::new(4));
        let mut file = ReceiptFile::open(&path).unwrap();
        let receipt =
            |tally: &Tally, file: usize| Some(Receipt::of(file, &sources[file], &keys, tally));
        tally.heard(Message::Delivered {
            id: 2,
            number: 7,
            server: "s".into(),
            confirmed: true,
        });
        tally.heard(Message::Accepted { id: 1, number: 8 });
        file.tell(&tally, |file| receipt(&tally, file)).unwrap();
        file.tell(&tally, |file| receipt(&tally, file)).unwrap();
        assert_eq!(lines(&path).len(), 1);
        tally.unreadable(0, "gone".to_owned());
        file.finish(&tally, |file| receipt(&tally, file)).unwrap();
        let states: Vec<_> = lines(&path)
            .into_iter()
            .map(|line| (line.key, line.state, line.number))
            .collect();
        let expected = [
            ("p/2", State::Delivered, Some(7)),
            ("p/0", State::Unreadable, None),
            ("p/1", State::Accepted, Some(8)),
            ("p/3", State::Unknown, None),
        ];
        assert_eq!(
            states,
            expected.map(|(key, state, number)| (key.to_owned(), state, number))
        );
    }

    #[test]
    fn receipts_are_appended_and_a_torn_last_line_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipts");
        let (sources, keys, mut tally) = (sources(1), Keys::titled("p").unwrap(), Tally::new(1));
        tally.heard(Message::Dead {
            id: 0,
            number: 3,
            reason: "too \"large\"\n".to_owned(),
        });
        let write = || {
            let mut file = ReceiptFile::open(&path).unwrap();
            file.finish(&tally, |file| {
                Some(Receipt::of(file, &sources[file], &keys, &tally))
            })
            .unwrap();
        };
        write();
        let whole = fs::read(&path).unwrap();
        for torn in 0..whole.len() {
            fs::write(&path, [&whole, &whole[..torn]].concat()).unwrap();
            write();
            let expected = if torn == whole.len() - 1 { 3 } else { 2 };
            assert_eq!(lines(&path).len(), expected, "torn after {torn} bytes");
        }
    }

    /// Whatever a slip of the shell names was appended to once, unless its last line lacked its
    /// end.
    #[test]
    fn a_file_of_something_else_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letter");
        let receipt = r#"{"path":"a","title":"a","key":"k","state":"unknown"}"#;
        assert!(is_receipt(receipt.as_bytes()));
        let long = "x".repeat(MAX_LINE * 3);
        for (content, found) in [
            ("Dear Anna", "it ends with \"Dear Anna\""),
            ("Dear Anna\n", "its first line is \"Dear Anna\""),
            ("\n", "its first line is \"\""),
            (r#"{"path":"x"}"#, "it ends with"),
            ("{\"path\":\"x\"}\n", "its first line is"),
            (
                &format!("{receipt}\nDear Anna\n"),
                "its last line is \"Dear Anna\"",
            ),
            (
                &format!("{receipt}\nDear Anna"),
                "it ends with \"Dear Anna\"",
            ),
            (
                &format!("Dear Anna\n{receipt}\n"),
                "its first line is \"Dear Anna\"",
            ),
            (
                &format!("Dear Anna\n{receipt}\n{{\"path\":\"b"),
                "its first line is \"Dear Anna\"",
            ),
            (&format!("{{\"path\":\"{long}"), "it ends with"),
            (&long, "it ends with \"xxx"),
            (&format!("{long}\n"), "its first line is \"xxx"),
            (
                &format!("{receipt}\n{long}\n{receipt}\n{long}"),
                "it ends with",
            ),
        ] {
            fs::write(&path, content).unwrap();
            let error = ReceiptFile::open(&path).unwrap_err().to_string();
            assert!(error.contains(found) && error.len() < 400, "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        for (other, found) in [
            (dir.path(), "it is a directory"),
            (Path::new("/dev/null"), "it is no regular file"),
        ] {
            let error = ReceiptFile::open(other).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
        let missing = dir.path().join("nowhere/receipts");
        assert!(matches!(
            ReceiptFile::open(&missing),
            Err(ReceiptError::Io { .. })
        ));
    }
}
