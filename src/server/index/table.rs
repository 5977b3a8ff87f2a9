//! The entries of the index in memory. Pure: no file, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{IndexEntry, Key};
use crate::protocol::lists::StoredFile;

/// Entries by journal and number, and how old each is.
#[derive(Debug, Default)]
pub(super) struct Table {
    journals: BTreeMap<Arc<str>, BTreeMap<u64, Aged>>,
    len: usize,
    next_age: u64,
}

#[derive(Debug)]
struct Aged {
    entry: IndexEntry,
    age: u64,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a journal has entries.
    pub(super) fn has(&self, journal: &str) -> bool {
        self.journals.contains_key(journal)
    }

    pub(super) fn get(&self, journal: &str, number: u64) -> Option<&IndexEntry> {
        Some(&self.journals.get(journal)?.get(&number)?.entry)
    }

    pub(super) fn get_mut(&mut self, journal: &str, number: u64) -> Option<&mut IndexEntry> {
        Some(&mut self.journals.get_mut(journal)?.get_mut(&number)?.entry)
    }

    pub(super) fn insert(&mut self, journal: &str, number: u64, entry: IndexEntry) {
        let aged = Aged {
            entry,
            age: self.next_age,
        };
        self.next_age += 1;
        let replaced = match self.journals.get_mut(journal) {
            Some(entries) => entries.insert(number, aged),
            None => self
                .journals
                .entry(journal.into())
                .or_default()
                .insert(number, aged),
        };
        self.len += usize::from(replaced.is_none());
    }

    pub(super) fn remove(&mut self, journal: &str, number: u64) -> Option<IndexEntry> {
        let entries = self.journals.get_mut(journal)?;
        let removed = entries.remove(&number)?;
        self.len -= 1;
        if entries.is_empty() {
            self.journals.remove(journal);
        }
        Some(removed.entry)
    }

    /// The entries of a journal by ascending number.
    pub(super) fn of(&self, journal: &str) -> Vec<StoredFile> {
        let entries = self.journals.get(journal).into_iter().flatten();
        entries
            .map(|(number, Aged { entry, .. })| StoredFile(*number, entry.size, entry.crc32c))
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64, &IndexEntry)> {
        self.journals.iter().flat_map(|(journal, entries)| {
            entries
                .iter()
                .map(move |(number, aged)| (journal, *number, &aged.entry))
        })
    }

    /// The journals that have an entry with this number and this name.
    pub(super) fn claims(&self, number: u64, name: &str) -> Vec<Arc<str>> {
        let claims = |entries: &BTreeMap<u64, Aged>| {
            entries
                .get(&number)
                .is_some_and(|aged| *aged.entry.name == *name)
        };
        self.journals
            .iter()
            .filter(|(_, entries)| claims(entries))
            .map(|(journal, _)| journal.clone())
            .collect()
    }

    /// The `count` oldest entries.
    pub(super) fn oldest(&self, count: usize) -> Vec<Key> {
        let each = |(journal, entries): (&Arc<str>, &BTreeMap<u64, Aged>)| {
            let journal = journal.clone();
            let keys: Vec<_> = entries
                .iter()
                .map(|(number, aged)| (aged.age, Key::new(journal.clone(), *number)))
                .collect();
            keys
        };
        let mut all: Vec<(u64, Key)> = self.journals.iter().flat_map(each).collect();
        if count < all.len() {
            all.select_nth_unstable_by_key(count, |(age, _)| *age);
            all.truncate(count);
        }
        all.into_iter().map(|(_, key)| key).collect()
    }
}
