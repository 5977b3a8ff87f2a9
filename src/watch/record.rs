//! The lines of a state file.
//!
//! A line is the CRC32C of its record as eight hex digits, a space, and the record as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file::Ident;
use crate::checksum;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// What a state file says, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first line: the version, and the state's identity.
    State {
        version: u32,
        id: String,
        /// The highest number of an entry that the lines before had, if this file replaced them.
        #[serde(default)]
        last: u64,
    },
    /// A file is about to be handed over for the first time.
    Begun(Begun),
    /// The balancer has the file under this request number.
    Accepted { n: u64, number: u64 },
    /// The file was handed over; what is to happen then has not happened yet.
    Done { n: u64, number: u64 },
    /// The file cannot be handed over; it was not moved away yet.
    Failed { n: u64, reason: String },
    /// Nothing more happens to the file.
    Closed { n: u64 },
    /// Nothing more happens to this file, which stays in the folder.
    Kept {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
        #[serde(with = "hex")]
        file: u128,
    },
    /// A file that stayed is there no more.
    Gone {
        #[serde(with = "hex")]
        file: u128,
    },
}

/// A file that is being handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its number in this state.
    pub(super) n: u64,
    /// Its key at the balancer.
    pub(super) key: String,
    /// Its path below the folder.
    #[serde(with = "path")]
    pub(super) path: PathBuf,
    /// Which file it is.
    pub(super) file: Ident,
    /// When, in seconds since 1970.
    pub(super) at: u64,
}

/// Appends a record's line.
pub(super) fn write(record: &Record, out: &mut Vec<u8>) {
    // No record holds what JSON cannot.
    let json = serde_json::to_vec(record).unwrap_or_default();
    out.extend_from_slice(format!("{:08x} ", checksum::crc32c(&json)).as_bytes());
    out.extend_from_slice(&json);
    out.push(b'\n');
}

/// The record on a line without its line feed. `None` if the line is damaged.
pub(super) fn read(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !sum.iter().all(is_digit) {
        return None;
    }
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != checksum::crc32c(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::os_text;

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&os_text::encode(path.as_os_str()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(from)?;
        Ok(os_text::decode(&text).into())
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{hash:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn begun(path: &[u8]) -> Record {
        Record::Begun(Begun {
            n: 7,
            key: "k".to_owned(),
            path: OsStr::from_bytes(path).into(),
            file: Ident {
                inode: u64::MAX,
                born: Some(1),
                written: (-1, 999),
                size: 3,
            },
            at: 1_700_000_000,
        })
    }

    #[test]
    fn records_come_back_as_they_were_and_damage_shows() {
        for record in [
            begun(b"in/a.pdf"),
            begun(b"100%\xff\xfe\n \xc3\xa8%41"),
            Record::Kept {
                n: None,
                file: u128::MAX,
            },
            Record::Gone { file: 0 },
            Record::Failed {
                n: 1,
                reason: "\"\u{1}".to_owned(),
            },
        ] {
            let mut line = Vec::new();
            write(&record, &mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert!(!line.contains(&b'\n'));
            assert_eq!(read(&line), Some(record));
            for place in 0..line.len() {
                let mut damaged = line.clone();
                damaged[place] ^= 1;
                assert_eq!(read(&damaged), None, "byte {place}");
                assert_eq!(read(&line[..place]), None, "cut at {place}");
            }
        }
    }
}
