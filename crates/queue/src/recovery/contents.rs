//! What the records say, collected in one pass over the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::backlog_entry::BacklogEntry;
use crate::journal::{Changes, RecordPosition};
use crate::keys::Keys;
use crate::paged::Paged;
use crate::record::{Accepted, Content, Ended, Record};
use crate::segment;

use super::report::Report;

/// How far the last segment can be relied upon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail {
    /// Up to here it is proven to be synced.
    pub(super) proven: u64,
    /// Up to here it is sound.
    pub(super) sound: u64,
}

/// Everything that one pass over the segments collects. A pass that starts over begins with an
/// empty one, so that nothing of the pass before can be left in it.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) files: Paged<BacklogEntry>,
    pub(super) changes: BTreeMap<u64, Changes>,
    /// The ids of content files, by the number of their file.
    pub(super) own: BTreeMap<u64, u64>,
    /// The users that sent those files that users sent.
    pub(super) users: BTreeMap<u64, Arc<str>>,
    /// Each of them once.
    names: BTreeSet<Arc<str>>,
    pub(super) keys: Keys,
    /// The files that ended, each with the position of its record.
    pub(super) ended: BTreeMap<u64, (Ended, RecordPosition)>,
    /// The sequence that the next record should have.
    pub(super) sequence: Option<u64>,
    /// The highest request number that was seen.
    pub(super) highest: u64,
    /// The oldest segment that is needed, as far as records say so.
    pub(super) oldest: u64,
    pub(super) tail: Tail,
    /// Copies to be kept of damaged bytes, by name.
    pub(super) aside: Vec<(String, Bytes)>,
    /// The torn tail, if a copy of it is to be kept.
    pub(super) torn: Bytes,
    pub(super) report: Report,
}

impl Contents {
    /// Counts the records that are missing before this sequence.
    pub(super) fn expect(&mut self, sequence: u64) {
        let expected = self.sequence.unwrap_or(sequence);
        self.report.lost_records += sequence.saturating_sub(expected);
        self.sequence = Some(sequence.max(expected));
    }

    /// Takes in a record of this segment.
    pub(super) fn add(&mut self, found: segment::Found, segment: u64) {
        self.expect(found.sequence);
        self.sequence = Some(found.sequence.saturating_add(1));
        self.tail.proven = self.tail.proven.max(found.base as u64);
        self.report.records += 1;
        let position = RecordPosition::new(segment, found.offset as u64, found.body_end as u64);
        match found.record {
            Record::Accepted(accepted) => self.add_file(&accepted, position),
            Record::Ended(ended) => self.add_end(*ended, position),
            Record::Attempt {
                number,
                attempt,
                is_failure,
            } => self.change(number, |changes| {
                changes.history.add(attempt, is_failure);
            }),
            Record::Dead { number, death } => {
                self.change(number, |changes| changes.death = Some(death));
            }
            Record::Replayed { number } => {
                self.change(number, Changes::replay);
            }
            Record::Oldest { segment: oldest } => {
                self.oldest = self.oldest.max(oldest.min(segment));
            }
            Record::Mark => {}
        }
    }

    /// Notes what happened to a file; ignored for a file that is not there.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Changes)) {
        if self.files.contains(number) {
            change(self.changes.entry(number).or_default());
        }
    }

    fn add_file(&mut self, accepted: &Accepted, position: RecordPosition) {
        let number = accepted.number;
        self.highest = self.highest.max(number);
        // The end of a file is final, in whatever order the records are found.
        if self.ended.contains_key(&number) {
            return;
        }
        let entry = BacklogEntry::new(&accepted.meta, position);
        self.files.insert(number, entry);
        self.forget_changes(number);
        self.changes
            .extend(Changes::of(accepted).map(|changes| (number, changes)));
        if let Content::Own(id) = accepted.content {
            self.own.insert(number, id);
        }
        if let Some(user) = accepted.meta.user() {
            let user = self.name(user);
            self.users.insert(number, user);
        }
        if let Some(key) = accepted.meta.key.as_deref() {
            self.keys.insert_if_later(key, number);
        }
    }

    /// One text for all the files of a user.
    fn name(&mut self, user: &str) -> Arc<str> {
        if let Some(name) = self.names.get(user) {
            return name.clone();
        }
        let name: Arc<str> = user.into();
        self.names.insert(name.clone());
        name
    }

    fn add_end(&mut self, ended: Ended, position: RecordPosition) {
        let number = ended.number;
        self.highest = self.highest.max(number);
        self.files.remove(number);
        self.forget_changes(number);
        if let Some(key) = ended.meta.key.as_deref() {
            self.keys.insert_if_later(key, number);
        }
        self.ended.insert(number, (ended, position));
    }

    fn forget_changes(&mut self, number: u64) {
        self.changes.remove(&number);
        self.own.remove(&number);
        self.users.remove(&number);
    }
}
