//! An open index: looking up, recording, and keeping its file in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use super::super::job::Claimed;
use super::super::opened::{FileId, Opened};
use super::disk::{Kept, NAME, PART, id_of, write_whole};
use super::entry::{IndexEntry, Key, Settled};
use super::line::{self, Fate};
use super::owners::Owners;
use super::seen::Seen;
use super::table::Table;
use crate::protocol::lists::StoredFile;

/// Stands for the journals of balancers that name none.
pub(super) const NOBODY: &str = "-";

/// How many garbage lines, which describe no present entry, are always tolerated.
pub(super) const GARBAGE: u64 = 64 * 1024;

/// The index of one directory.
#[derive(Debug)]
pub(in super::super) struct Index {
    pub(super) dir: Arc<Opened>,
    pub(super) identity: Arc<str>,
    /// The index, open for reading and locked.
    pub(super) file: File,
    /// Device and inode of `file`.
    pub(super) id: FileId,
    /// The index, open for writing only while there is something to write: an idle server must not
    /// keep its file system from being remounted read-only.
    pub(super) writer: Option<File>,
    /// The length of the file up to its last whole line, in bytes.
    pub(super) len: u64,
    pub(super) lines: u64,
    pub(super) table: Table,
    pub(super) seen: Seen,
    pub(super) owners: Owners,
    pub(super) limit: usize,
    /// Whether the file on disk agrees with memory.
    pub(super) sound: bool,
    /// The number of lines from which on compacting is tried.
    pub(super) compact_from: u64,
}

impl Index {
    /// The directory's identity: 32 hex digits.
    pub(in super::super) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// The directory that it is the index of.
    pub(in super::super) fn dir(&self) -> &Arc<Opened> {
        &self.dir
    }

    /// Whether the index in the directory is still the one that this server writes.
    pub(in super::super) fn is_in_place(&self) -> io::Result<bool> {
        match self.dir.id_of(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            there => Ok(there? == self.id),
        }
    }

    pub(super) fn writer(&mut self) -> io::Result<&mut File> {
        let file = if let Some(file) = self.writer.take() {
            file
        } else {
            let file = self.dir.append(NAME)?;
            if id_of(&file)? != self.id {
                return Err(io::Error::other("the index was replaced"));
            }
            file
        };
        Ok(self.writer.insert(file))
    }

    /// Closes the file for writing.
    pub(in super::super) fn close_writer(&mut self) {
        self.writer = None;
    }

    /// The entry of a file; `None` if it is not in the index.
    pub(in super::super) fn get(&self, key: &Key) -> Option<&IndexEntry> {
        self.table.get(&key.journal, key.number)
    }

    /// The files of a journal, by ascending number.
    pub(in super::super) fn files_of(&self, journal: &str) -> Vec<StoredFile> {
        self.table.of(journal)
    }

    /// The highest number of a journal that was ever stored, 0 if no file was; `None` if that is
    /// not known.
    pub(in super::super) fn seen(&self, journal: &str) -> Option<u64> {
        self.seen.of(journal)
    }

    /// Gives a journal to a balancer that has proved its name, unless it belongs to another one that
    /// may still come. Gives the balancer that has it, once that is durable.
    pub(in super::super) fn bind(&mut self, claimed: &Claimed) -> io::Result<Arc<str>> {
        let Claimed {
            journal,
            balancer,
            among,
        } = claimed;
        if let Some(owner) = self.owners.of(journal)
            && (owner == balancer || among.may_come(owner))
        {
            return Ok(owner.clone());
        }
        self.make_sound()?;
        if !self.owners.has_room_for(journal) {
            let table = &self.table;
            self.owners.retain(|journal| table.has(journal));
            if !self.owners.has_room_for(journal) {
                return Err(io::Error::other("too many journals have files here"));
            }
        }
        let mut out = Vec::new();
        line::push_owner(&mut out, balancer, journal);
        self.append(&out, 1)?;
        self.sync()?;
        self.owners.set(journal, balancer);
        Ok(balancer.clone())
    }

    /// Whether the file of this number and name belongs to an entry.
    pub(in super::super) fn is_claimed(&self, number: u64, name: &str) -> bool {
        !self.table.claims(number, name).is_empty()
    }

    /// Records the number of a file that was stored for a balancer without a journal.
    pub(in super::super) fn note(&mut self, number: u64) {
        if self.seen.of(NOBODY).is_some_and(|seen| seen >= number) {
            return;
        }
        self.seen.raise(NOBODY, number);
        let mut out = Vec::new();
        let lines = line::push_fate(&mut out, Fate::Confirmed, NOBODY, &[number]);
        if let Err(error) = self.append(&out, lines) {
            tracing::debug!(error = %error, "cannot record the number of a file without a journal");
        }
    }

    /// Records that a file belongs to a balancer without a journal, too.
    pub(in super::super) fn share(&mut self, number: u64, name: &str) {
        for journal in self.table.claims(number, name) {
            if let Some(entry) = self
                .table
                .get_mut(&journal, number)
                .filter(|entry| !entry.shared)
            {
                entry.shared = true;
                let mut out = Vec::new();
                let lines = line::push_fate(&mut out, Fate::Shared, &journal, &[number]);
                self.append_or_distrust(&out, lines);
            }
        }
    }

    /// Records that files are about to be published. The caller syncs before it publishes them.
    pub(in super::super) fn announce<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a Key, &'a IndexEntry)>,
    ) -> io::Result<()> {
        self.make_sound()?;
        let mut out = Vec::new();
        let mut lines = 0;
        let mut forgot = false;
        for (key, entry) in files {
            line::push_storing(&mut out, &key.journal, key.number, entry);
            forgot |= self.seen.raise(&key.journal, key.number);
            lines += 1;
        }
        if forgot {
            line::push_complete(&mut out, false);
            lines += 1;
        }
        self.append(&out, lines)
    }

    /// Makes what was written durable. After a failure the file is no longer sound: the next sync
    /// may succeed without having written it.
    pub(in super::super) fn sync(&mut self) -> io::Result<()> {
        let synced = self.writer().and_then(|file| file.sync_data());
        if synced.is_err() {
            self.distrust();
        }
        synced
    }

    /// Records that the file on disk may differ from memory.
    pub(in super::super) fn distrust(&mut self) {
        self.sound = false;
        self.writer = None;
    }

    /// Records that announced files are published. They count from now on, even if that cannot be
    /// written.
    pub(in super::super) fn settle(&mut self, files: Vec<Settled>) {
        let mut out = Vec::new();
        let mut lines = 0;
        let mut fates: BTreeMap<(Arc<str>, bool), Vec<u64>> = BTreeMap::new();
        for Settled {
            key,
            entry,
            renamed,
        } in files
        {
            if renamed {
                line::push_storing(&mut out, &key.journal, key.number, &entry);
                lines += 1;
            }
            fates
                .entry((key.journal.clone(), entry.shared))
                .or_default()
                .push(key.number);
            self.table.insert(&key.journal, key.number, entry);
        }
        for ((journal, shared), numbers) in fates {
            let fate = if shared { Fate::Shared } else { Fate::Stored };
            lines += line::push_fate(&mut out, fate, &journal, &numbers);
        }
        self.append_or_distrust(&out, lines);
        self.limit_entries();
    }

    /// Records that announced files are not published. It does no harm if that cannot be written:
    /// their files will not be found.
    pub(in super::super) fn give_up(&mut self, keys: &[Key]) {
        let (out, lines) = fate_of(Fate::Dropped, keys);
        let _ = self.append(&out, lines);
    }

    /// Forgets files that their balancer has recorded as delivered.
    pub(in super::super) fn confirm(
        &mut self,
        journal: &Arc<str>,
        mut numbers: Vec<u64>,
    ) -> io::Result<()> {
        self.make_sound()?;
        numbers.retain(|number| self.table.get(journal, *number).is_some());
        let mut out = Vec::new();
        let lines = line::push_fate(&mut out, Fate::Confirmed, journal, &numbers);
        self.append(&out, lines)?;
        for number in numbers {
            self.table.remove(journal, number);
        }
        Ok(())
    }

    /// Forgets files that were removed, and makes that durable.
    pub(in super::super) fn remove(&mut self, keys: &[Key]) -> io::Result<()> {
        self.make_sound()?;
        let (out, lines) = fate_of(Fate::Dropped, keys);
        self.append(&out, lines)?;
        self.sync()?;
        for key in keys {
            self.table.remove(&key.journal, key.number);
        }
        Ok(())
    }

    /// Rewrites the file if most of its lines are garbage.
    pub(in super::super) fn compact_if_worthwhile(&mut self) {
        let live = self.table.len() as u64;
        let garbage = self.lines.saturating_sub(live);
        if self.lines < self.compact_from || garbage <= GARBAGE || garbage <= live.saturating_mul(4)
        {
            return;
        }
        if let Err(error) = self.rewrite() {
            // Not again at once: each attempt writes a whole file.
            self.compact_from = self.lines + GARBAGE;
            tracing::warn!(error = %error, "cannot compact the index");
        }
    }

    /// Forgets the oldest entries if there are too many.
    pub(super) fn limit_entries(&mut self) {
        let excess = self.table.len().saturating_sub(self.limit);
        if excess == 0 {
            return;
        }
        // More than needed, so that the oldest need not be found for every file.
        let keys = self.table.oldest(excess + self.limit / 100);
        for key in &keys {
            self.table.remove(&key.journal, key.number);
        }
        tracing::warn!(
            forgotten = keys.len(),
            limit = self.limit,
            "too many files are unconfirmed: the index forgets the oldest"
        );
        let (out, lines) = fate_of(Fate::Forgotten, &keys);
        self.append_or_distrust(&out, lines);
    }

    /// Appends whole lines or nothing.
    pub(super) fn append(&mut self, out: &[u8], lines: u64) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if !self.sound {
            return Err(io::Error::other("the index must be rewritten first"));
        }
        let len = self.len;
        let file = self.writer()?;
        if let Err(error) = file.write_all(out) {
            if file.set_len(len).is_err() {
                self.distrust();
            }
            return Err(error);
        }
        self.len += out.len() as u64;
        self.lines += lines;
        Ok(())
    }

    /// Appends lines about what memory has recorded already.
    pub(super) fn append_or_distrust(&mut self, out: &[u8], lines: u64) {
        if let Err(error) = self.append(out, lines) {
            tracing::warn!(
                error = %error,
                "cannot write the index: it is rewritten before it is used again"
            );
            self.distrust();
        }
    }

    fn make_sound(&mut self) -> io::Result<()> {
        if self.sound { Ok(()) } else { self.rewrite() }
    }

    /// Replaces the file by a new one that agrees with memory, and syncs it.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let kept = Kept {
            table: &self.table,
            seen: &self.seen,
            owners: &self.owners,
        };
        let written = write_whole(&self.dir, &self.identity, kept)?;
        if !self.is_in_place()? {
            return Err(io::Error::other("the index was replaced"));
        }
        self.dir.rename_over(PART, NAME)?;
        self.file = written.file;
        self.id = written.id;
        self.len = written.len;
        self.lines = written.lines;
        self.writer = None;
        self.sound = false;
        self.dir.sync_names()?;
        self.sound = true;
        self.compact_from = GARBAGE;
        Ok(())
    }
}

/// The lines that record one fate of files, and their number.
fn fate_of(fate: Fate, keys: &[Key]) -> (Vec<u8>, u64) {
    let mut journals: BTreeMap<&Arc<str>, Vec<u64>> = BTreeMap::new();
    for key in keys {
        journals.entry(&key.journal).or_default().push(key.number);
    }
    let mut out = Vec::new();
    let mut lines = 0;
    for (journal, numbers) in journals {
        lines += line::push_fate(&mut out, fate, journal, &numbers);
    }
    (out, lines)
}
