//! What a journal held when it was opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backlog_entry::BacklogEntry;
use crate::journal::{Changes, Handle, Location};
use crate::keys::Keys;
use crate::paged::Paged;
use crate::record::Ended;
use crate::segment::JournalId;

use super::report::Report;

/// What a journal held.
#[derive(Default)]
pub struct Recovered {
    /// The journal's identity, which its records are checked with.
    pub journal: JournalId,
    /// The identity that servers know the journal by: another one since it was adopted.
    pub known_as: JournalId,
    /// The files that wait or are dead letters, by number.
    pub files: Paged<BacklogEntry>,
    /// What happened to some of them since they were accepted.
    pub changes: BTreeMap<u64, Changes>,
    /// The ids of the content files of those that have one.
    pub own: BTreeMap<u64, u64>,
    /// The users that sent those files that users sent.
    pub users: BTreeMap<u64, Arc<str>>,
    /// The segments that hold their records, by the lower halves of their numbers.
    pub segments: BTreeMap<u32, Handle>,
    /// The keys of all files.
    pub keys: Keys,
    /// The files that ended and are not forgotten, in the order in which they ended.
    pub ended: Vec<Ended>,
    /// The next request number.
    pub next_number: u64,
    /// What was wrong, if anything.
    pub report: Report,
}

impl Recovered {
    /// Where a file's record is.
    pub fn location(&self, number: u64) -> Option<Location> {
        let entry = self.files.get(number)?;
        let handle = self.segments.get(&entry.spot.segment)?.clone();
        let len = if self.own.contains_key(&number) {
            0
        } else {
            entry.size()
        };
        Some(Location::new(handle, entry.spot, len))
    }

    /// How many files are dead letters.
    pub fn dead(&self) -> usize {
        self.changes
            .values()
            .filter(|changes| changes.death.is_some())
            .count()
    }
}

#[cfg(test)]
pub(crate) use for_tests::FoundFile;

#[cfg(test)]
mod for_tests {
    use super::{BTreeMap, Location, Recovered};
    use crate::backlog_entry::{ReadBack, read_back};
    use crate::record::{Accepted, Content};

    /// A file as a recovery found it, read back.
    #[derive(Debug)]
    pub(crate) struct FoundFile {
        /// Its record with all that changed since; without inline content.
        pub(crate) accepted: Accepted,
        /// Where its inline content is.
        pub(crate) location: Option<Location>,
    }

    impl Recovered {
        /// All files that wait or are dead letters, read back; an error if one cannot be.
        pub(crate) fn found_files(&self) -> Result<BTreeMap<u64, FoundFile>, String> {
            let places = self
                .files
                .iter()
                .map(|(number, _)| Some((number, self.location(number)?)))
                .collect::<Option<Vec<_>>>()
                .ok_or("a file is in no segment")?;
            read_back(&self.journal, places, false)
                .into_iter()
                .map(|(number, back)| match back {
                    ReadBack::File(accepted) => Ok((number, found_file(self, *accepted))),
                    other => Err(format!("file {number}: {other:?}")),
                })
                .collect()
        }
    }

    fn found_file(recovered: &Recovered, accepted: Accepted) -> FoundFile {
        let number = accepted.number;
        let changes = recovered.changes.get(&number).cloned().unwrap_or_default();
        let location = recovered
            .location(number)
            .filter(|_| matches!(accepted.content, Content::Inline(_)));
        FoundFile {
            accepted: Accepted {
                history: changes.history,
                death: changes.death,
                ..accepted
            },
            location,
        }
    }
}
