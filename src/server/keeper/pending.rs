//! A file between its sorting and its acknowledgement.

use std::io;

use super::super::index::{IndexEntry, Key, Settled};
use super::super::job::{Done, Outcome, StoreError, copy};
use super::super::staged::{Published, Staged};

/// A new file of the batch in hand.
pub(super) struct Pending {
    pub(super) number: u64,
    /// The final name that it is to have, if that is free.
    pub(super) name: String,
    pub(super) staged: Staged,
    /// What the index is to say of it; `None` for a file that belongs to no journal.
    pub(super) announced: Option<Announced>,
    pub(super) done: Done,
    /// Senders of the same file in the same batch.
    pub(super) again: Vec<Done>,
}

/// An entry of the index, before its file is published.
pub(super) struct Announced {
    pub(super) key: Key,
    pub(super) entry: IndexEntry,
}

impl Pending {
    /// Tells all senders of the file what became of it.
    pub(super) fn end(self, result: Result<Outcome, StoreError>) {
        for done in self.again {
            done(match &result {
                Ok(_) => Ok(Outcome::Known),
                Err(error) => Err(error.copy()),
            });
        }
        (self.done)(result);
    }

    /// What the index has to record of the file now that it is published.
    pub(super) fn settled(&self, published: &Published) -> Option<Settled> {
        let Announced { key, entry } = self.announced.as_ref()?;
        let (name, shared) = match published {
            Published::As(name) => (name, false),
            Published::Found(name) => (name, true),
        };
        Some(Settled {
            key: key.clone(),
            renamed: **name != *entry.name,
            entry: IndexEntry {
                name: name.as_str().into(),
                shared,
                ..*entry
            },
        })
    }
}

/// Tells the senders of these files that they are not stored.
pub(super) fn refuse(files: impl IntoIterator<Item = Pending>, error: &io::Error) {
    for file in files {
        file.end(Err(copy(error).into()));
    }
}
