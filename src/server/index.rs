//! The index: which stored files their balancers have not confirmed yet, in a file that outlives the server.
//!
//! It answers three questions: is this number of this balancer's journal here already, also when its consumer has moved
//! the file away; what does a balancer that comes back have to be told; and which file is it that must be removed.
//! Owns the file `.bilico-index` and the directory's identity in it. Leaves the stored files themselves, and the order
//! of writes and syncs around them, to the keeper.
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
//! ```
//!
//! The intent comes first, since a file that is published before the index knows of it would be a copy that nobody
//! asks for if the server died in between. What is only announced is looked for when the index is opened: if
//! its file is there, whole, it counts as stored, otherwise as dropped.
//!
//! # Damage
//!
//! A line that ends without a line feed is what a crash left of an append, and is cut off. A line with a wrong
//! checksum is skipped; it may have been the one that removed an entry, so after damage an entry whose file is not
//! there does not count. A file without a readable first line is set aside and a new one begun.
//!
//! Invariant: what [`Index::holding`] lists is stored. Whenever the file on disk may say something else than memory
//! (`sound` is false), it is written anew from memory, into a new file, before anything is announced again.

mod line;
mod replay;
mod table;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use self::line::Fate;
use self::replay::Replay;
use self::table::Table;
use super::directory::rename_new;
use super::staged::find_copy;
use crate::protocol::lists::Held;

/// The name of the index in its directory. No stored file's name begins like it.
const NAME: &str = ".bilico-index";

/// The name under which it is written anew.
const PART: &str = ".bilico-index.part";

/// The most entries, over all journals: far more than can be unconfirmed while balancers come back within days. Beyond
/// them the oldest are forgotten, some at a time.
const MAX_ENTRIES: usize = 1_000_000;

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
pub(super) struct Entry {
    pub(super) size: u64,
    pub(super) crc32c: u32,
    pub(super) name: Box<str>,
    /// Whether the file may be somebody else's, too: then it is never removed.
    pub(super) shared: bool,
}

/// The index of one directory.
#[derive(Debug)]
pub(super) struct Index {
    dir: PathBuf,
    identity: Arc<str>,
    /// Open for reading: it is locked, and tells which file this is.
    file: File,
    /// Open only while there is something to write, so that an idle server keeps no file system from being made
    /// read-only.
    writer: Option<File>,
    /// The length of the file up to its last whole line.
    len: u64,
    lines: u64,
    table: Table,
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
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with(dir, MAX_ENTRIES)
    }

    fn open_with(dir: &Path, limit: usize) -> io::Result<Self> {
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

    fn create(dir: &Path, limit: usize) -> io::Result<Self> {
        let identity: Arc<str> = format!("{:032x}", rand::random::<u128>()).into();
        let table = Table::default();
        let (file, len, lines) = write_whole(dir, &identity, &table)?;
        tracing::info!(identity = &*identity, "a new index is begun");
        let dir = dir.to_owned();
        Ok(Self { dir, identity, file, writer: None, len, lines, table, limit, sound: true, tidy_from: GARBAGE })
    }

    fn load(dir: &Path, limit: usize) -> Result<Self, LoadError> {
        let file = open_file(&dir.join(NAME))?;
        let Replay { identity, table, announced, len, lines, damaged, torn } = Replay::read(&file, limit)?;
        let dir = dir.to_owned();
        let mut index =
            Self { dir, identity, file, writer: None, len, lines, table, limit, sound: true, tidy_from: GARBAGE };
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
        Ok(index)
    }

    /// After damage, forgets entries whose files are not there: the line that removed them may be lost.
    fn distrust_missing(&mut self) {
        let missing = |name: &str| {
            let found = fs::symlink_metadata(self.dir.join(name));
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let gone = self.table.iter().filter(|(.., entry)| missing(&entry.name));
        let gone: Vec<_> = gone.map(|(journal, number, _)| Key::new(journal.clone(), number)).collect();
        for key in &gone {
            self.table.remove(&key.journal, key.number);
        }
        tracing::warn!(entries = gone.len(), "entries of the damaged index have no file, and do not count");
    }

    /// Keeps a file with damaged lines for a look at it, and goes on in a new one.
    fn leave_behind(&mut self, damaged: u64) -> io::Result<()> {
        let aside = self.dir.join(damaged_name(0));
        let kept = fs::hard_link(self.dir.join(NAME), &aside);
        let kept_as = kept.map_or_else(|error| error.to_string(), |()| aside.display().to_string());
        tracing::error!(lines = damaged, kept_as, "lines of the index are damaged, and do not count");
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
                Some(name) => {
                    let renamed = *name != *entry.name;
                    stored.push(Settled { key, entry: Entry { name: name.into(), ..entry.clone() }, renamed });
                }
                None => dropped.push(key),
            }
        }
        // The server may have died before it did this, and what is listed counts as acknowledged.
        File::open(&self.dir)?.sync_all()?;
        tracing::info!(found = stored.len(), missing = dropped.len(), "files were being stored when the server died");
        self.settle(stored);
        self.give_up(&dropped);
        self.sync()
    }

    /// The directory's identity: 32 hex digits.
    pub(super) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// Whether the file in the directory is still the one that is written to: the directory may have been replaced.
    pub(super) fn is_in_place(&self) -> bool {
        fs::symlink_metadata(self.dir.join(NAME)).is_ok_and(|there| self.is_same(&there))
    }

    fn is_same(&self, there: &fs::Metadata) -> bool {
        self.file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }

    fn writer(&mut self) -> io::Result<&mut File> {
        let file = if let Some(file) = self.writer.take() {
            file
        } else {
            let file = File::options().append(true).open(self.dir.join(NAME))?;
            if !self.is_same(&file.metadata()?) {
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
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.table.get(&key.journal, key.number)
    }

    /// All entries of a journal, by ascending number.
    pub(super) fn holding(&self, journal: &str) -> Vec<Held> {
        self.table.of(journal)
    }

    /// Whether an entry says that the file of this number and name is its own.
    pub(super) fn is_claimed(&self, number: u64, name: &str) -> bool {
        !self.table.claims(number, name).is_empty()
    }

    /// Says that a file is somebody else's, too.
    pub(super) fn share(&mut self, number: u64, name: &str) {
        for journal in self.table.claims(number, name) {
            if let Some(entry) = self.table.get_mut(&journal, number).filter(|entry| !entry.shared) {
                entry.shared = true;
                let mut out = Vec::new();
                let lines = line::push_fate(&mut out, Fate::Shared, &journal, &[number]);
                self.append_or_distrust(&out, lines);
            }
        }
    }

    /// Writes down that files are about to be published. To be synced before they are.
    pub(super) fn announce<'a>(&mut self, files: impl Iterator<Item = (&'a Key, &'a Entry)>) -> io::Result<()> {
        self.make_sound()?;
        let (mut out, mut lines) = (Vec::new(), 0);
        for (key, entry) in files {
            push_storing(&mut out, key, entry);
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

    /// Takes in files that were announced and are published. They count from now on, even if that cannot be written.
    pub(super) fn settle(&mut self, files: Vec<Settled>) {
        let (mut out, mut lines) = (Vec::new(), 0);
        let mut fates: BTreeMap<(Arc<str>, bool), Vec<u64>> = BTreeMap::new();
        for Settled { key, entry, renamed } in files {
            if renamed {
                push_storing(&mut out, &key, &entry);
                lines += 1;
            }
            fates.entry((key.journal.clone(), entry.shared)).or_default().push(key.number);
            self.table.insert(&key.journal, key.number, entry);
        }
        for ((journal, shared), numbers) in fates {
            let fate = if shared { Fate::Shared } else { Fate::Stored };
            lines += line::push_fate(&mut out, fate, &journal, &numbers);
        }
        self.append_or_distrust(&out, lines);
        self.limit_entries();
    }

    /// Says that files that were announced are not published. Whether that can be written matters little, for their
    /// files will not be found.
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
        tracing::warn!(forgotten, limit, "too many files are unconfirmed: the oldest are not kept track of any longer");
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
        let (file, len, lines) = write_whole(&self.dir, &self.identity, &self.table)?;
        (self.file, self.writer, self.len, self.lines) = (file, None, len, lines);
        (self.sound, self.tidy_from) = (true, GARBAGE);
        Ok(())
    }
}

/// A file that was announced and is published, with the name that it got.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) key: Key,
    pub(super) entry: Entry,
    /// Whether the name is another one than was announced.
    pub(super) renamed: bool,
}

fn push_storing(out: &mut Vec<u8>, key: &Key, entry: &Entry) {
    line::push_storing(out, &key.journal, key.number, entry.size, entry.crc32c, &entry.name);
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

/// Writes an index under a name of its own, syncs it and puts it in place. Gives the open file, its length in bytes and
/// its lines.
fn write_whole(dir: &Path, identity: &str, table: &Table) -> io::Result<(File, u64, u64)> {
    let part = dir.join(PART);
    let file = File::options().append(true).create(true).open(&part)?;
    lock(&file)?;
    file.set_len(0)?;
    let mut lines = 1;
    let mut writer = BufWriter::with_capacity(256 * 1024, &file);
    let mut out = Vec::new();
    line::push_identity(&mut out, identity);
    for (journal, number, entry) in table.iter() {
        line::push_storing(&mut out, journal, number, entry.size, entry.crc32c, &entry.name);
        let fate = if entry.shared { Fate::Shared } else { Fate::Stored };
        lines += 1 + line::push_fate(&mut out, fate, journal, &[number]);
        writer.write_all(&out)?;
        out.clear();
    }
    writer.write_all(&out)?;
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    drop(file);
    let file = File::open(&part)?;
    lock(&file)?;
    fs::rename(&part, dir.join(NAME))?;
    File::open(dir)?.sync_all()?;
    let len = file.metadata()?.len();
    Ok((file, len, lines))
}

fn open_file(path: &Path) -> Result<File, LoadError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(LoadError::Damaged("it is no regular file".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LoadError::Missing),
        Err(error) => return Err(error.into()),
    }
    match File::open(path) {
        Ok(file) => {
            lock(&file)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(LoadError::Damaged(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// One server an index, also in a directory that was replaced while two servers ran.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another server uses this directory's index")),
        _ => Ok(()),
    }
}

/// Renames an index that cannot be read, and says what it is called now.
fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let handle = File::open(dir)?;
    let mut later = 0;
    loop {
        let aside = damaged_name(later);
        match rename_new(&handle, NAME, &handle, &aside).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => later += 1,
            other => return other.map(|()| dir.join(aside)),
        }
    }
}

fn damaged_name(later: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{NAME}.damaged-{}", now.as_secs() + later)
}

#[cfg(test)]
mod tests;
