//! What a recovery tells about the state of a journal's bytes.

use crate::segment;

/// The state of a journal's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many segments were read.
    pub segments: usize,
    /// How many bytes these segments have.
    pub bytes: u64,
    /// How many sound records they hold.
    pub records: u64,
    /// Bytes at the end that were never synced, so that nobody was given a receipt for them.
    pub torn: Option<Torn>,
    /// Bytes that were durable once and cannot be read.
    pub damage: Vec<Damage>,
    /// How many records are missing between those that were found.
    pub lost_records: u64,
    /// The numbers of files whose content file is missing or has another size.
    pub lost_content: Vec<u64>,
    /// How many content files no record names.
    pub orphans: usize,
}

impl Report {
    /// Whether everything that was ever durable was found.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lost_records == 0 && self.lost_content.is_empty()
    }
}

/// Bytes at the end of the last segment that were never synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The name of the segment's file.
    pub name: String,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
    /// The file that holds a copy of them; `None` if there was no room for one.
    pub aside: Option<String>,
}

/// Bytes that were durable once and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file they are in.
    pub name: String,
    /// What is wrong with them.
    pub what: String,
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
    /// The file that holds a copy of them; `None` if nothing is left to copy.
    pub aside: Option<String>,
    /// Whether an earlier recovery found them, too.
    pub is_known: bool,
}

impl Damage {
    /// Damage of which no copy is kept.
    pub(super) fn uncopied(name: String, what: String, len: u64) -> Self {
        Self {
            name,
            what,
            offset: 0,
            len,
            aside: None,
            is_known: false,
        }
    }

    /// Whether records may be lost with it.
    pub(super) fn is_of_records(&self) -> bool {
        segment::parse_name(&self.name).is_some()
    }
}
