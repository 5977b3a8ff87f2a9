//! Opening an index: reading it, and repairing what a crash or damage has left.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::super::opened::Opened;
use super::super::staged::find_copy;
use super::disk::{Kept, NAME, PART, aside, id_of, open_file, set_aside, write_whole};
use super::entry::{IndexEntry, Key, Settled};
use super::later::Later;
use super::line;
use super::live::{GARBAGE, Index, NOBODY};
use super::owners::Owners;
use super::place::{Moved, WrittenIn};
use super::replay::{LoadError, Replay};
use super::seen::Seen;
use super::table::Table;

/// The most entries, over all journals: far more than stay unconfirmed while balancers come back
/// within days. Beyond them the oldest are forgotten, some at a time.
const MAX_ENTRIES: usize = 1_000_000;

impl Index {
    /// Opens the index of `dir`, or begins one. An index that cannot be read is set aside first.
    pub(in super::super) fn open(dir: &Arc<Opened>) -> io::Result<Self> {
        Self::open_with(dir, MAX_ENTRIES)
    }

    pub(super) fn open_with(dir: &Arc<Opened>, limit: usize) -> io::Result<Self> {
        match Self::load(dir, limit) {
            Ok(index) => Ok(index),
            Err(LoadError::Io(error)) => Err(error),
            Err(LoadError::Missing) => Self::create(dir, limit),
            Err(LoadError::Damaged(reason)) => {
                let aside = set_aside(dir)?;
                tracing::error!(
                    reason,
                    kept_as = %aside.display(),
                    "cannot read the index: a new one is begun"
                );
                Self::create(dir, limit)
            }
        }
    }

    fn create(dir: &Arc<Opened>, limit: usize) -> io::Result<Self> {
        let identity: Arc<str> = format!("{:032x}", rand::random::<u128>()).into();
        let table = Table::default();
        let mut seen = Seen::complete();
        let later = Later::than(dir, 0)?;
        seen.raise(NOBODY, later.highest);
        let owners = Owners::default();
        let kept = Kept {
            table: &table,
            seen: &seen,
            owners: &owners,
        };
        let written = write_whole(dir, &identity, kept)?;
        dir.rename(PART, NAME)?;
        dir.sync_names()?;
        let path = dir.path().display();
        match later.files {
            0 => tracing::info!(dir = %path, identity = &*identity, "a new index is begun"),
            files => tracing::warn!(
                dir = %path,
                identity = &*identity,
                files,
                "a new index is begun beside files that are here already: it does not know whose \
                 they are, and balancers are not told of them"
            ),
        }
        Ok(Self {
            dir: dir.clone(),
            identity,
            file: written.file,
            id: written.id,
            writer: None,
            len: written.len,
            lines: written.lines,
            table,
            seen,
            owners,
            limit,
            sound: true,
            compact_from: GARBAGE,
        })
    }

    fn load(dir: &Arc<Opened>, limit: usize) -> Result<Self, LoadError> {
        let file = open_file(dir)?;
        let replay = Replay::read(&file, limit)?;
        let found_in = WrittenIn::of(dir.handle(), &file)?;
        let is_linked = file.metadata()?.nlink() > 1;
        let mut index = Self {
            dir: dir.clone(),
            identity: replay.identity,
            id: id_of(&file)?,
            file,
            writer: None,
            len: replay.len,
            lines: replay.lines,
            table: replay.table,
            seen: replay.seen,
            owners: replay.owners,
            limit,
            sound: true,
            compact_from: GARBAGE,
        };
        if replay.torn {
            tracing::warn!("the index ends in half a line, which is cut off");
            let len = index.len;
            index.writer()?.set_len(len)?;
        }
        if replay.damaged > 0 {
            index.forget_missing();
        }
        index.resolve(&replay.announced)?;
        if replay.damaged > 0 {
            index.replace_damaged(replay.damaged)?;
        }
        index.limit_entries();
        let written_in = replay.written_in;
        index.report_moved(written_in.map_or(Moved::No, |before| before.compare(found_in)));
        // The index of an earlier version did not record all numbers.
        index.report_later(written_in.is_some())?;
        if is_linked {
            // The file behind the other name must not change: from now on a new file is written.
            index.distrust();
        } else if replay.damaged == 0 && written_in != Some(found_in) {
            index.write_place(found_in);
        }
        Ok(index)
    }

    /// Finds out which of the files that were only announced had been published when the server
    /// died.
    fn resolve(&mut self, announced: &Table) -> io::Result<()> {
        if announced.len() == 0 {
            return Ok(());
        }
        let mut stored = Vec::new();
        let mut dropped = Vec::new();
        for (journal, number, entry) in announced.iter() {
            let key = Key::new(journal.clone(), number);
            match find_copy(&self.dir, &entry.name, entry.size, entry.crc32c) {
                // The copy belongs to an entry of another journal, whose balancer may have it
                // removed.
                Some(name) if self.is_claimed(number, &name) => dropped.push(key),
                Some(name) => {
                    let renamed = *name != *entry.name;
                    stored.push(Settled {
                        key,
                        entry: IndexEntry {
                            name: name.into(),
                            ..entry.clone()
                        },
                        renamed,
                    });
                }
                None => dropped.push(key),
            }
        }
        // The server may have died before this sync, and listed files count as acknowledged.
        self.dir.sync_names()?;
        tracing::info!(
            found = stored.len(),
            missing = dropped.len(),
            "files were being stored when the server died"
        );
        self.settle(stored);
        self.give_up(&dropped);
        self.sync()
    }

    /// After damage, forgets entries whose files are not there: the line that removed them may be
    /// lost.
    fn forget_missing(&mut self) {
        let gone = self
            .table
            .iter()
            .filter(|(.., entry)| self.is_missing(&entry.name));
        let gone: Vec<_> = gone
            .map(|(journal, number, _)| Key::new(journal.clone(), number))
            .collect();
        for key in &gone {
            self.table.remove(&key.journal, key.number);
        }
        tracing::warn!(
            entries = gone.len(),
            "entries of the damaged index have no file: they are forgotten"
        );
    }

    /// Keeps an index with damaged lines for an operator to look at, and goes on in a new file.
    fn replace_damaged(&mut self, damaged: u64) -> io::Result<()> {
        let kept = aside(&self.dir, |name| self.dir.link(NAME, name));
        let kept_as = kept.map_or_else(
            |error| error.to_string(),
            |aside| aside.display().to_string(),
        );
        tracing::error!(
            lines = damaged,
            kept_as,
            "lines of the index are damaged: they are ignored"
        );
        self.rewrite()
    }

    /// Records where the index is, so that a copy of it can be told from it.
    fn write_place(&mut self, place: WrittenIn) {
        let mut out = Vec::new();
        line::push_written_in(&mut out, place);
        if let Err(error) = self.append(&out, 1) {
            tracing::debug!(error = %error, "cannot record where the index is");
        }
    }
}
