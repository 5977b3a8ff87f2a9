//! Receipts on disk: a JSON line for each file, written when its fate is final.
//!
//! Lines are appended whole, several with one call where they come together, so that a client that is killed leaves
//! nothing but whole lines behind. Reading them back and comparing them with what servers have is [`crate::verify`]'s.

use std::fs::File;
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
    /// Why it was refused, could not be read, or is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A hash as hex digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(hash: &Option<blake3::Hash>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.serialize_str(&hash.to_hex()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<blake3::Hash>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| blake3::Hash::from_hex(text).map_err(de::Error::custom)).transpose()
    }
}

impl Receipt {
    /// The receipt of the file in this place, as it stands in the tally.
    pub fn of(file: usize, source: &Source, keys: &Keys, tally: &Tally) -> Self {
        let sent = tally.sent.get(file).cloned().unwrap_or_default();
        let receipt = Self {
            path: source.path.display().to_string(),
            title: sent.title.map_or_else(|| source.title.clone(), String::from),
            key: keys.of(file, source).to_string(),
            size: sent.size,
            hash: sent.hash,
            state: State::Unknown,
            number: None,
            server: None,
            confirmed: None,
            reason: None,
        };
        match tally.fates.get(file) {
            Some(fate) => receipt.with(fate.clone()),
            None => receipt,
        }
    }

    fn with(self, fate: Fate) -> Self {
        match fate {
            Fate::Pending => self,
            Fate::Accepted { number } => Self { state: State::Accepted, number: Some(number), ..self },
            Fate::Delivered { number, server, confirmed } => Self {
                state: State::Delivered,
                number: Some(number),
                server: Some(server),
                confirmed: Some(confirmed),
                ..self
            },
            Fate::Refused { reason } => Self { state: State::Refused, reason: Some(reason), ..self },
            Fate::Unreadable { reason } => Self { state: State::Unreadable, reason: Some(reason), ..self },
            Fate::Dead { number, reason } => {
                Self { state: State::Dead, number: Some(number), reason: Some(reason), ..self }
            }
            Fate::Forgotten { number } => Self { state: State::Forgotten, number: Some(number), ..self },
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
    /// The file is there, and has something else in it.
    #[error("{0} is no file of receipts: nothing was written to it")]
    Foreign(PathBuf),
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
    /// Opens the file, or creates it. The torn last line of a client that could not write all of it is taken off.
    pub fn open(path: &Path) -> Result<Self, ReceiptError> {
        let failed = |error| ReceiptError::Io { path: path.to_owned(), error };
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        let (end, last) = last_line(&mut file).map_err(failed)?;
        let mut lines = Vec::new();
        if !last.is_empty() {
            if object::flat_from_slice::<Receipt>(&last).is_ok() {
                lines.push(b'\n');
            } else if last.starts_with(BEGINNING) || BEGINNING.starts_with(&last) {
                file.set_len(end).map_err(failed)?;
            } else {
                return Err(ReceiptError::Foreign(path.to_owned()));
            }
        }
        Ok(Self { file, path: path.to_owned(), lines, told: 0 })
    }

    /// Appends the receipts of the files that have been settled since the last call.
    pub fn tell(&mut self, tally: &Tally, receipt: impl Fn(usize) -> Option<Receipt>) -> Result<(), ReceiptError> {
        while let Some(file) = tally.settled.get(self.told) {
            self.told += 1;
            self.add(receipt(*file))?;
        }
        self.flush()
    }

    /// Appends the receipts of all files that have none yet, whatever is known of them.
    pub fn finish(&mut self, tally: &Tally, receipt: impl Fn(usize) -> Option<Receipt>) -> Result<(), ReceiptError> {
        self.tell(tally, &receipt)?;
        for (file, fate) in tally.fates.iter().enumerate() {
            if !fate.is_final() {
                self.add(receipt(file))?;
            }
        }
        self.flush()
    }

    fn add(&mut self, receipt: Option<Receipt>) -> Result<(), ReceiptError> {
        let Some(receipt) = receipt else { return Ok(()) };
        let failed = |error: serde_json::Error| ReceiptError::Io { path: self.path.clone(), error: error.into() };
        serde_json::to_writer(&mut self.lines, &receipt).map_err(failed)?;
        self.lines.push(b'\n');
        if self.lines.len() >= BATCH { self.flush() } else { Ok(()) }
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
        ReceiptError::Io { path: self.path.clone(), error }
    }
}

/// What stands behind the last line's end, and where it begins.
fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let size = file.metadata()?.len();
    let start = size.saturating_sub(MAX_LINE as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(MAX_LINE as u64).read_to_end(&mut tail)?;
    let line = memchr::memrchr(b'\n', &tail).map_or(0, |end| end + 1);
    Ok((start + line as u64, tail.split_off(line)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::client::Form;
    use crate::protocol::Message;

    fn sources(count: usize) -> Vec<Source> {
        (0..count).map(|file| Source::named(Path::new(&format!("dir/{file}")), Form::Raw)).collect()
    }

    fn lines(path: &Path) -> Vec<Receipt> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_comes_once_a_file_when_its_fate_is_final_and_the_rest_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipts");
        let (sources, keys, mut tally) = (sources(4), Keys::titled("p/").unwrap(), Tally::new(4));
        let mut file = ReceiptFile::open(&path).unwrap();
        let receipt = |tally: &Tally, file: usize| Some(Receipt::of(file, &sources[file], &keys, tally));
        tally.heard(Message::Delivered { id: 2, number: 7, server: "s".into(), confirmed: true });
        tally.heard(Message::Accepted { id: 1, number: 8 });
        file.tell(&tally, |file| receipt(&tally, file)).unwrap();
        file.tell(&tally, |file| receipt(&tally, file)).unwrap();
        assert_eq!(lines(&path).len(), 1);
        tally.unreadable(0, "gone".to_owned());
        file.finish(&tally, |file| receipt(&tally, file)).unwrap();
        let states: Vec<_> = lines(&path).into_iter().map(|line| (line.key, line.state, line.number)).collect();
        let expected = [
            ("p/2", State::Delivered, Some(7)),
            ("p/0", State::Unreadable, None),
            ("p/1", State::Accepted, Some(8)),
            ("p/3", State::Unknown, None),
        ];
        assert_eq!(states, expected.map(|(key, state, number)| (key.to_owned(), state, number)));
    }

    #[test]
    fn receipts_are_appended_and_a_torn_last_line_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipts");
        let (sources, keys, mut tally) = (sources(1), Keys::titled("p").unwrap(), Tally::new(1));
        tally.heard(Message::Dead { id: 0, number: 3, reason: "too \"large\"\n".to_owned() });
        let write = || {
            let mut file = ReceiptFile::open(&path).unwrap();
            file.finish(&tally, |file| Some(Receipt::of(file, &sources[file], &keys, &tally))).unwrap();
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

    #[test]
    fn a_file_of_something_else_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letter");
        for content in ["Dear Anna", "{\"path\":\"x\"}\n{\"a\"", &"x".repeat(MAX_LINE * 2)] {
            fs::write(&path, content).unwrap();
            assert!(matches!(ReceiptFile::open(&path), Err(ReceiptError::Foreign(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert!(matches!(ReceiptFile::open(dir.path()), Err(ReceiptError::Io { .. })));
    }
}
