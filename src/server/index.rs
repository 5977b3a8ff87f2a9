//! The index: which stored files their balancers have not confirmed yet, in a file that outlives
//! the server.
//!
//! It answers three questions: is this number of this balancer's journal here already, also when
//! its consumer has moved the file away; what does a balancer that comes back have to be told; and
//! which file is it that must be removed. Owns the file `.bilico-index` and the directory's
//! identity in it. Leaves the stored files themselves, and the order of writes and syncs around
//! them, to the keeper.
//!
//! # On disk
//!
//! Lines of text, appended; each begins with the CRC32C of its rest (see [`mod@line`]).
//!
//! ```text
//! <crc> bilico-index 1 <identity>                              the first line
//! <crc> storing <journal> <number> <size> <crc32c> <name>      about to be published, synced before it is
//! <crc> stored|shared <journal> <number>…                      published, the directory synced
//! <crc> confirmed|dropped|forgotten <journal> <number>…        no longer in the index
//! <crc> confirmed|forgotten * 0                                of all other journals nothing|something was ever stored
//! <crc> confirmed - <number>                                   the highest number of balancers without a journal
//! <crc> confirmed in:<place> 0                                 where the index was when it was opened
//! ```
//!
//! The highest number that lines name of a journal is the highest one that was ever stored for it,
//! so a file that is written anew begins with a `confirmed` for each journal. To programs of
//! before, which know neither `*` nor `-` nor `in:`, those are journals that no balancer has, and
//! their index, which has no such lines, is read like any other.
//!
//! The intent comes first, since a file that is published before the index knows of it would be a
//! copy that nobody asks for if the server died in between. What is only announced is looked for
//! when the index is opened: if its file is there, whole, it counts as stored, otherwise as
//! dropped.
//!
//! # Damage
//!
//! A line that ends without a line feed is what a crash left of an append, and is cut off. A line
//! with a wrong checksum is skipped; it may have been the one that removed an entry, so after
//! damage an entry whose file is not there does not count. A file without a readable first line is
//! set aside and a new one begun. What is no regular file is not opened, and a link is not
//! followed: as long as it is there, there is no index, which is told with the name.
//!
//! # Set back
//!
//! When it is opened, it is told if the index or its directory is a copy or was restored, if files
//! are here that came after all that the index knows, and if files are missing. Nothing else
//! follows from that, since a person has to say which of several copies is the right one.
//!
//! Invariant: what [`Index::holding`] lists is stored. Whenever the file on disk may say something
//! else than memory (`sound` is false), it is written anew from memory, into a new file, before
//! anything is announced again.

mod line;
mod place;
mod replay;
mod seen;
mod table;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use self::line::Fate;
use self::place::{Moved, WrittenIn};
use self::replay::Replay;
use self::seen::Seen;
use self::table::Table;
use super::directory::{FileId, Opened};
use super::name::number_of;
use super::staged::find_copy;
use crate::protocol::lists::StoredFile;

/// The name of the index in its directory. No stored file's name begins like it.
const NAME: &str = ".bilico-index";

/// The name under which it is written anew.
const PART: &str = ".bilico-index.part";

/// The most entries, over all journals: far more than can be unconfirmed while balancers come back
/// within days. Beyond them the oldest are forgotten, some at a time.
const MAX_ENTRIES: usize = 1_000_000;

/// How many entries are looked for in the directory when the index is opened.
const MAX_LOOKED_FOR: usize = 100_000;

/// How many names in the directory are looked at when the index is opened.
const MAX_LISTED: usize = 1_000_000;

/// Stands for the journals of balancers that have none.
const NOBODY: &str = "-";

/// How many names of missing files are told.
const MAX_NAMED: usize = 5;

/// How many names are tried for an index that is set aside.
const MAX_ASIDE: u64 = 1000;

/// How many lines that say nothing any more are always put up with.
const GARBAGE: u64 = 64 * 1024;

/// Which file: a journal and a number in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) journal: Arc<str>,
    pub(super) number: u64,
}

impl Key {
    pub(super) fn new(journal: Arc<str>, number: u64) -> Self {
        Self { journal, number }
    }
}

/// What is known of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) size: u64,
    pub(super) crc32c: u32,
    pub(super) name: Box<str>,
    /// Whether the file may be somebody else's, too: then it is never removed.
    pub(super) shared: bool,
}

/// The index of one directory.
#[derive(Debug)]
pub(super) struct Index {
    dir: Arc<Opened>,
    identity: Arc<str>,
    /// Open for reading, and locked.
    file: File,
    /// Which file this is.
    id: FileId,
    /// Open only while there is something to write, so that an idle server keeps no file system
    /// from being made read-only.
    writer: Option<File>,
    /// The length of the file up to its last whole line.
    len: u64,
    lines: u64,
    table: Table,
    seen: Seen,
    limit: usize,
    /// Whether the file says what memory does.
    sound: bool,
    /// From how many lines on it is tried to get rid of garbage.
    tidy_from: u64,
}

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("there is none")]
    Missing,
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Index {
    /// Opens the index of `dir`, or begins one. One that cannot be read is set aside.
    pub(super) fn open(dir: &Arc<Opened>) -> io::Result<Self> {
        Self::open_with(dir, MAX_ENTRIES)
    }

    fn open_with(dir: &Arc<Opened>, limit: usize) -> io::Result<Self> {
        match Self::load(dir, limit) {
            Ok(index) => Ok(index),
            Err(LoadError::Io(error)) => Err(error),
            Err(LoadError::Missing) => Self::create(dir, limit),
            Err(LoadError::Damaged(reason)) => {
                let aside = set_aside(dir)?;
                tracing::error!(reason, kept_as = %aside.display(), "the index cannot be read: a new one is begun");
                Self::create(dir, limit)
            }
        }
    }

    fn create(dir: &Arc<Opened>, limit: usize) -> io::Result<Self> {
        let identity: Arc<str> = format!("{:032x}", rand::random::<u128>()).into();
        let (table, mut seen) = (Table::default(), Seen::complete());
        let later = Later::than(dir, 0)?;
        seen.raise(NOBODY, later.highest);
        let (file, len, lines) = write_whole(dir, &identity, &table, &seen)?;
        dir.rename(PART, NAME)?;
        dir.sync_names()?;
        let (path, identity) = (dir.path().display(), identity);
        match later.files {
            0 => tracing::info!(dir = %path, identity = &*identity, "a new index is begun"),
            files => tracing::warn!(
                dir = %path,
                identity = &*identity,
                files,
                "a new index is begun beside files that are here already: it does not know whose they are, and balancers \
                 are not told of them"
            ),
        }
        let (dir, id) = (dir.clone(), id_of(&file)?);
        let (writer, sound, tidy_from) = (None, true, GARBAGE);
        Ok(Self {
            dir,
            identity,
            file,
            id,
            writer,
            len,
            lines,
            table,
            seen,
            limit,
            sound,
            tidy_from,
        })
    }

    fn load(dir: &Arc<Opened>, limit: usize) -> Result<Self, LoadError> {
        let file = open_file(dir)?;
        let Replay {
            identity,
            table,
            announced,
            seen,
            written_in,
            len,
            lines,
            damaged,
            torn,
        } = Replay::read(&file, limit)?;
        let (dir, id, found_in) = (
            dir.clone(),
            id_of(&file)?,
            WrittenIn::of(dir.handle(), &file)?,
        );
        let is_linked = file.metadata()?.nlink() > 1;
        let (writer, sound, tidy_from) = (None, true, GARBAGE);
        let mut index = Self {
            dir,
            identity,
            file,
            id,
            writer,
            len,
            lines,
            table,
            seen,
            limit,
            sound,
            tidy_from,
        };
        if torn {
            tracing::warn!("the index ends in half a line, which is cut off");
            index.writer()?.set_len(len)?;
        }
        if damaged > 0 {
            index.distrust_missing();
        }
        index.look_for(&announced)?;
        if damaged > 0 {
            index.leave_behind(damaged)?;
        }
        index.limit_entries();
        index.tell_moved(written_in.map_or(Moved::No, |before| before.compare(found_in)));
        // The index of an earlier program did not keep account of all numbers.
        index.tell_later(written_in.is_some())?;
        if is_linked {
            // Whoever has the other name must not find it changed: what is written from now on goes
            // into a new file.
            index.distrust();
        } else if damaged == 0 && written_in != Some(found_in) {
            index.write_place(found_in);
        }
        Ok(index)
    }

    /// Tells if the directory, or the index alone, is a copy of the one that was here, and which
    /// files are not here.
    fn tell_moved(&self, moved: Moved) {
        let (dir, identity) = (self.dir.path().display(), &*self.identity);
        match moved {
            Moved::Directory => tracing::warn!(
                %dir,
                identity,
                "the directory was copied, restored or moved from another file system since it was last used. If it is a \
                 copy, and the original is still in use: stop this server and remove .bilico-index from the copy, for \
                 two servers of one identity are taken for one. If it was restored: what was stored since is not here, \
                 and `bilico verify` finds what is missing"
            ),
            Moved::File => tracing::warn!(
                %dir,
                identity,
                "the index was copied or restored since it was last used: what was stored meanwhile is not in it, and a \
                 balancer that does not know of it yet has it stored a second time. `bilico verify` finds such files"
            ),
            Moved::No => {}
        }
        self.tell_missing(moved);
    }

    fn write_place(&mut self, place: WrittenIn) {
        let mut out = Vec::new();
        line::push_written_in(&mut out, place);
        if let Err(error) = self.append(&out, 1) {
            tracing::debug!(error = %error, "cannot write down where the index is");
        }
    }

    /// Tells which entries have no file. Their consumers may have taken them, so nothing else
    /// follows from it.
    fn tell_missing(&self, moved: Moved) {
        let entries = || self.table.iter().take(MAX_LOOKED_FOR);
        let mut gone = entries()
            .filter(|(.., entry)| self.is_missing(&entry.name))
            .map(|(.., entry)| &*entry.name);
        let names: Vec<&str> = gone.by_ref().take(MAX_NAMED).collect();
        if names.is_empty() {
            return;
        }
        let (missing, of, names) = (
            names.len() + gone.count(),
            entries().count(),
            names.join(", "),
        );
        if moved == Moved::Directory {
            tracing::warn!(
                missing,
                of,
                names,
                "files that count as stored are not here: taken, or not copied"
            );
        } else {
            tracing::info!(
                missing,
                of,
                names,
                "files that are not confirmed yet are not here any more: taken"
            );
        }
    }

    /// Tells which files are here that came after all that the index knows, and takes them into
    /// account.
    fn tell_later(&mut self, tell: bool) -> io::Result<()> {
        let later = Later::than(&self.dir, self.seen.highest())?;
        if later.files == 0 {
            return Ok(());
        }
        if tell {
            tracing::warn!(
                dir = %self.dir.path().display(),
                files = later.files,
                highest = later.highest,
                known = self.seen.highest(),
                "files are here that came after all that the index knows: it is older than they are, as a restored one \
                 is, or somebody else put them here. Balancers are not told of them; `bilico verify` finds those that \
                 are stored twice"
            );
        }
        self.note(later.highest);
        Ok(())
    }

    fn is_missing(&self, name: &str) -> bool {
        self.dir
            .found(name)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// After damage, forgets entries whose files are not there: the line that removed them may be
    /// lost.
    fn distrust_missing(&mut self) {
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
            "entries of the damaged index have no file, and do not count"
        );
    }

    /// Keeps a file with damaged lines for a look at it, and goes on in a new one.
    fn leave_behind(&mut self, damaged: u64) -> io::Result<()> {
        let kept = aside(&self.dir, |name| self.dir.link(NAME, name));
        let kept_as = kept.map_or_else(
            |error| error.to_string(),
            |aside| aside.display().to_string(),
        );
        tracing::error!(
            lines = damaged,
            kept_as,
            "lines of the index are damaged, and do not count"
        );
        self.rewrite()
    }

    /// Finds out what became of files that were about to be published when the server died.
    fn look_for(&mut self, announced: &Table) -> io::Result<()> {
        if announced.len() == 0 {
            return Ok(());
        }
        let (mut stored, mut dropped) = (Vec::new(), Vec::new());
        for (journal, number, entry) in announced.iter() {
            let key = Key::new(journal.clone(), number);
            match find_copy(&self.dir, &entry.name, entry.size, entry.crc32c) {
                // A copy that another journal's entry is about can be dropped on that one's word.
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
        // The server may have died before it did this, and what is listed counts as acknowledged.
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

    /// The directory's identity: 32 hex digits.
    pub(super) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// The directory that it is the index of.
    pub(super) fn dir(&self) -> &Arc<Opened> {
        &self.dir
    }

    /// Whether the file in the directory is still the one that is written to.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        match self.dir.id_of(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            there => Ok(there? == self.id),
        }
    }

    fn writer(&mut self) -> io::Result<&mut File> {
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

    /// Closes what is only needed to write.
    pub(super) fn rest(&mut self) {
        self.writer = None;
    }

    /// What is known of a file.
    pub(super) fn get(&self, key: &Key) -> Option<&IndexEntry> {
        self.table.get(&key.journal, key.number)
    }

    /// All entries of a journal, by ascending number.
    pub(super) fn holding(&self, journal: &str) -> Vec<StoredFile> {
        self.table.of(journal)
    }

    /// The highest number of a journal that was ever stored, 0 for none; `None` if that is not
    /// known.
    pub(super) fn seen(&self, journal: &str) -> Option<u64> {
        self.seen.of(journal)
    }

    /// Whether an entry says that the file of this number and name is its own.
    pub(super) fn is_claimed(&self, number: u64, name: &str) -> bool {
        !self.table.claims(number, name).is_empty()
    }

    /// Takes into account the number of a file that is stored for a balancer without a journal.
    pub(super) fn note(&mut self, number: u64) {
        if self.seen.of(NOBODY).is_some_and(|seen| seen >= number) {
            return;
        }
        self.seen.raise(NOBODY, number);
        let mut out = Vec::new();
        let lines = line::push_fate(&mut out, Fate::Confirmed, NOBODY, &[number]);
        if let Err(error) = self.append(&out, lines) {
            tracing::debug!(error = %error, "cannot write down the number of a file without a journal");
        }
    }

    /// Says that a file is somebody else's, too.
    pub(super) fn share(&mut self, number: u64, name: &str) {
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

    /// Writes down that files are about to be published. To be synced before they are.
    pub(super) fn announce<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a Key, &'a IndexEntry)>,
    ) -> io::Result<()> {
        self.make_sound()?;
        let (mut out, mut lines, mut forgot) = (Vec::new(), 0, false);
        for (key, entry) in files {
            push_storing(&mut out, key, entry);
            forgot |= self.seen.raise(&key.journal, key.number);
            lines += 1;
        }
        if forgot {
            line::push_complete(&mut out, false);
            lines += 1;
        }
        self.append(&out, lines)
    }

    /// Makes what was written durable. After a failure the file is not trusted any more.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let synced = self.writer().and_then(|file| file.sync_data());
        if synced.is_err() {
            self.distrust();
        }
        synced
    }

    /// Says that what was written may not be on the disk as it should.
    pub(super) fn distrust(&mut self) {
        self.sound = false;
        self.writer = None;
    }

    /// Takes in files that were announced and are published. They count from now on, even if that
    /// cannot be written.
    pub(super) fn settle(&mut self, files: Vec<Settled>) {
        let (mut out, mut lines) = (Vec::new(), 0);
        let mut fates: BTreeMap<(Arc<str>, bool), Vec<u64>> = BTreeMap::new();
        for Settled {
            key,
            entry,
            renamed,
        } in files
        {
            if renamed {
                push_storing(&mut out, &key, &entry);
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

    /// Says that files that were announced are not published. Whether that can be written matters
    /// little, for their files will not be found.
    pub(super) fn give_up(&mut self, keys: &[Key]) {
        let (out, lines) = fate_of(Fate::Dropped, keys);
        let _ = self.append(&out, lines);
    }

    /// Forgets files that their balancer knows to be here.
    pub(super) fn confirm(&mut self, journal: &Arc<str>, mut numbers: Vec<u64>) -> io::Result<()> {
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

    /// Forgets files that are removed, durably.
    pub(super) fn remove(&mut self, keys: &[Key]) -> io::Result<()> {
        self.make_sound()?;
        let (out, lines) = fate_of(Fate::Dropped, keys);
        self.append(&out, lines)?;
        self.sync()?;
        for key in keys {
            self.table.remove(&key.journal, key.number);
        }
        Ok(())
    }

    /// Writes the file anew if most of it says nothing any more.
    pub(super) fn tidy(&mut self) {
        let live = self.table.len() as u64;
        let garbage = self.lines.saturating_sub(live);
        if self.lines < self.tidy_from || garbage <= GARBAGE || garbage <= live.saturating_mul(4) {
            return;
        }
        if let Err(error) = self.rewrite() {
            // Not again at once: each try costs a whole file.
            self.tidy_from = self.lines + GARBAGE;
            tracing::warn!(error = %error, "the index cannot be compacted");
        }
    }

    /// Forgets the oldest entries if there are too many.
    fn limit_entries(&mut self) {
        let excess = self.table.len().saturating_sub(self.limit);
        if excess == 0 {
            return;
        }
        // More than need be, so that finding the oldest is not done for every file.
        let keys = self.table.oldest(excess + self.limit / 100);
        for key in &keys {
            self.table.remove(&key.journal, key.number);
        }
        let (forgotten, limit) = (keys.len(), self.limit);
        tracing::warn!(
            forgotten,
            limit,
            "too many files are unconfirmed: the oldest are not kept track of any longer"
        );
        let (out, lines) = fate_of(Fate::Forgotten, &keys);
        self.append_or_distrust(&out, lines);
    }

    /// Appends whole lines or nothing.
    fn append(&mut self, out: &[u8], lines: u64) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if !self.sound {
            return Err(io::Error::other("the index has to be written anew first"));
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

    /// Appends what memory says already.
    fn append_or_distrust(&mut self, out: &[u8], lines: u64) {
        if let Err(error) = self.append(out, lines) {
            tracing::warn!(error = %error, "the index cannot be written: it is written anew before it is used again");
            self.distrust();
        }
    }

    fn make_sound(&mut self) -> io::Result<()> {
        if self.sound { Ok(()) } else { self.rewrite() }
    }

    /// Replaces the file by one that says what memory does, synced.
    fn rewrite(&mut self) -> io::Result<()> {
        let (file, len, lines) = write_whole(&self.dir, &self.identity, &self.table, &self.seen)?;
        if !self.is_in_place()? {
            return Err(io::Error::other("the index was replaced"));
        }
        let id = id_of(&file)?;
        self.dir.rename_over(PART, NAME)?;
        (self.file, self.id, self.writer, self.len, self.lines) = (file, id, None, len, lines);
        self.sound = false;
        self.dir.sync_names()?;
        (self.sound, self.tidy_from) = (true, GARBAGE);
        Ok(())
    }
}

/// A file that was announced and is published, with the name that it got.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) key: Key,
    pub(super) entry: IndexEntry,
    /// Whether the name is another one than was announced.
    pub(super) renamed: bool,
}

fn push_storing(out: &mut Vec<u8>, key: &Key, entry: &IndexEntry) {
    line::push_storing(
        out,
        &key.journal,
        key.number,
        entry.size,
        entry.crc32c,
        &entry.name,
    );
}

fn fate_of(fate: Fate, keys: &[Key]) -> (Vec<u8>, u64) {
    let mut journals: BTreeMap<&Arc<str>, Vec<u64>> = BTreeMap::new();
    for key in keys {
        journals.entry(&key.journal).or_default().push(key.number);
    }
    let (mut out, mut lines) = (Vec::new(), 0);
    for (journal, numbers) in journals {
        lines += line::push_fate(&mut out, fate, journal, &numbers);
    }
    (out, lines)
}

fn id_of(file: &File) -> io::Result<FileId> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// The files in a directory that came later than others.
struct Later {
    files: u64,
    highest: u64,
}

impl Later {
    /// Looks for stored files with numbers above `number`, and for the highest of them.
    fn than(dir: &Opened, number: u64) -> io::Result<Self> {
        let mut later = Self {
            files: 0,
            highest: number,
        };
        for name in dir.names()?.take(MAX_LISTED) {
            let found = number_of(name?.to_bytes()).unwrap_or(0);
            later.files += u64::from(found > number);
            later.highest = later.highest.max(found);
        }
        Ok(later)
    }
}

/// Writes an index under a name of its own and syncs it. Gives the open file, its length in bytes
/// and its lines.
fn write_whole(
    dir: &Opened,
    identity: &str,
    table: &Table,
    seen: &Seen,
) -> io::Result<(File, u64, u64)> {
    remove_part(dir)?;
    let file = dir.create(PART)?;
    lock(&file)?;
    let mut writer = BufWriter::with_capacity(256 * 1024, &file);
    let mut out = Vec::new();
    line::push_identity(&mut out, identity);
    line::push_written_in(&mut out, WrittenIn::of(dir.handle(), &file)?);
    line::push_complete(&mut out, seen.is_complete);
    let mut lines = 3;
    // Before the entries, since a `confirmed` removes what was stored before it.
    for (journal, number) in seen.oldest_first() {
        lines += line::push_fate(&mut out, Fate::Confirmed, journal, &[number]);
    }
    for (journal, number, entry) in table.iter() {
        line::push_storing(
            &mut out,
            journal,
            number,
            entry.size,
            entry.crc32c,
            &entry.name,
        );
        let fate = if entry.shared {
            Fate::Shared
        } else {
            Fate::Stored
        };
        lines += 1 + line::push_fate(&mut out, fate, journal, &[number]);
        writer.write_all(&out)?;
        out.clear();
    }
    writer.write_all(&out)?;
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    let written = id_of(&file)?;
    drop(file);
    let file = dir.read(PART)?;
    if id_of(&file)? != written {
        return Err(io::Error::other(format!("{PART} was replaced")));
    }
    lock(&file)?;
    let len = file.metadata()?.len();
    Ok((file, len, lines))
}

/// Removes what an attempt that was broken off has left. What is none of that stays, and is told.
fn remove_part(dir: &Opened) -> io::Result<()> {
    let part = match dir.read(PART) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Nothing is read from it; its name is all that goes.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return dir.remove(PART),
        part => part?,
    };
    lock(&part)?;
    dir.remove(PART)
}

fn open_file(dir: &Opened) -> Result<File, LoadError> {
    match dir.read(NAME) {
        Ok(file) => {
            lock(&file)?;
            Ok(file)
        }
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => LoadError::Missing,
            io::ErrorKind::PermissionDenied => LoadError::Damaged(error.to_string()),
            _ => error.into(),
        }),
    }
}

/// One server an index, also in a directory that was replaced while two servers ran.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other(
            "another server uses this directory's index",
        )),
        _ => Ok(()),
    }
}

/// Renames an index that cannot be read, and says what it is called now.
fn set_aside(dir: &Opened) -> io::Result<PathBuf> {
    aside(dir, |name| dir.rename(NAME, name))
}

/// Finds a free name for an index that is kept for a look at it, and has it `put` there.
fn aside(dir: &Opened, put: impl Fn(&str) -> io::Result<()>) -> io::Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let names = (now..now + MAX_ASIDE).map(|time| format!("{NAME}.damaged-{time}"));
    for name in names {
        match put(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| dir.path().join(name)),
        }
    }
    Err(io::Error::other(format!(
        "{MAX_ASIDE} damaged indexes are called like {NAME}.damaged-{now}: remove them"
    )))
}

#[cfg(test)]
mod tests;
