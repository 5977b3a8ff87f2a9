//! Tells new files from those that are stored or in the batch already, and writes the new ones.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::super::index::{Index, IndexEntry, Key};
use super::super::job::{Done, Incoming, IncomingBody, Origin, Outcome, StoreError};
use super::super::name::stored_name;
use super::super::opened::Opened;
use super::super::staged::Staged;
use super::pending::{Announced, Pending};

/// The files of a batch while they are sorted.
pub(super) struct Sorting<'a> {
    dir: &'a Arc<Opened>,
    /// `None` if the batch needs no index.
    index: Option<&'a Index>,
    /// The new files, written without their final names.
    pending: Vec<Pending>,
    /// The position in `pending` of each number of a journal.
    positions: HashMap<Key, usize>,
}

impl<'a> Sorting<'a> {
    pub(super) fn new(dir: &'a Arc<Opened>, index: Option<&'a Index>, files: usize) -> Self {
        Self {
            dir,
            index,
            pending: Vec::with_capacity(files),
            positions: HashMap::new(),
        }
    }

    /// The new files, in their order.
    pub(super) fn finish(self) -> Vec<Pending> {
        self.pending
    }

    /// Stages a file that belongs to no journal: it is always new.
    pub(super) fn add_unowned(&mut self, file: Incoming, done: Done) {
        self.stage(file, None, done);
    }

    /// Stages a file of a journal if its number is new, and answers its sender otherwise.
    pub(super) fn add(&mut self, file: Incoming, origin: &Origin, done: Done) {
        let announced = announcement(&file, origin);
        let Announced { key, entry } = &announced;
        if let Some(known) = self.index.and_then(|index| index.get(key)) {
            return done(check_same(file.number, known, entry).map(|()| Outcome::Known));
        }
        let twin = self.positions.get(key);
        let twin = twin.and_then(|position| self.pending.get_mut(*position));
        if let Some(Pending {
            announced: Some(known),
            again,
            ..
        }) = twin
        {
            return match check_same(file.number, &known.entry, entry) {
                Ok(()) => again.push(done),
                Err(conflict) => done(Err(conflict)),
            };
        }
        let key = key.clone();
        let position = self.pending.len();
        self.stage(file, Some(announced), done);
        if position < self.pending.len() {
            self.positions.insert(key, position);
        }
    }

    /// Writes a file whose content is in memory, without its final name.
    fn stage(&mut self, file: Incoming, announced: Option<Announced>, done: Done) {
        let number = file.number;
        let name = stored_name(number, &file.title);
        match staged(self.dir, number, file.body) {
            Ok(staged) => self.pending.push(Pending {
                number,
                name,
                staged,
                announced,
                done,
                again: Vec::new(),
            }),
            Err(error) => done(Err(error.into())),
        }
    }
}

fn staged(dir: &Arc<Opened>, number: u64, body: IncomingBody) -> io::Result<Staged> {
    match body {
        IncomingBody::Staged(staged) => Ok(staged),
        IncomingBody::Whole(content) => {
            let mut staged = Staged::begin(dir, number)?;
            staged.write(&content)?;
            Ok(staged)
        }
    }
}

/// What the index is to say of a file, under the name that the file gets if that is free.
fn announcement(file: &Incoming, origin: &Origin) -> Announced {
    Announced {
        key: Key::new(origin.journal.clone(), file.number),
        entry: IndexEntry {
            size: file.body.size(),
            crc32c: origin.crc32c,
            name: stored_name(file.number, &file.title).into(),
            shared: false,
        },
    }
}

/// Whether a file that comes under a known number is the one that is known.
fn check_same(number: u64, known: &IndexEntry, new: &IndexEntry) -> Result<(), StoreError> {
    let known = (known.size, known.crc32c);
    let new = (new.size, new.crc32c);
    if known == new {
        Ok(())
    } else {
        Err(StoreError::Conflict { number, known, new })
    }
}
