//! The watcher's memory on disk.
//!
//! `state` is appended to and synced; when it has grown, it is written anew and put in place by a
//! rename. A torn last line, of a watcher that was killed while it wrote, is cut off. Any other
//! damage is an error: what is missing might be a file that was handed over.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Stage};
use super::error::WatchError;
use super::file::Fingerprint;
use super::record::{self, Record, VERSION};

/// A state file below this size, in bytes, is not written anew.
const SMALL: u64 = 1024 * 1024;

/// The largest state file that is read, in bytes.
const MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What a state file knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The state's identity.
    pub(super) id: String,
    /// Files that were being handed over.
    pub(super) entries: BTreeMap<u64, Entry>,
    /// Files that stay.
    pub(super) kept: std::collections::HashSet<Fingerprint>,
    /// The highest number of an entry so far.
    pub(super) last: u64,
    /// How many bytes at the end were no whole line.
    pub(super) torn: u64,
}

/// The state file, held by this process alone.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    file: File,
    lines: Vec<u8>,
    /// Whether all of the file is on disk.
    is_synced: bool,
    /// Bytes in the file.
    len: u64,
    /// Bytes in it when it was last written anew.
    base: u64,
    _locks: Vec<File>,
}

impl State {
    /// Opens or makes the state of a folder. An error if another process has it, or the folder.
    pub(super) fn open(folder: &Path, dir: &Path) -> Result<(Self, Known), WatchError> {
        let failed = |source| WatchError::State {
            path: dir.to_owned(),
            source,
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(failed)?;
        let locks = vec![lock(folder, true)?, lock(&dir.join("lock"), false)?];
        let path = dir.join("state");
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        (&mut file)
            .take(MAX)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let mut known = read(&bytes, &path)?;
        if known.torn > 0 {
            file.set_len(bytes.len() as u64 - known.torn)
                .map_err(failed)?;
        }
        let len = bytes.len() as u64 - known.torn;
        let mut state = Self {
            dir: dir.to_owned(),
            file,
            lines: Vec::new(),
            is_synced: true,
            len,
            base: len,
            _locks: locks,
        };
        if known.id.is_empty() {
            known.id = format!("{:032x}", rand::random::<u128>());
            state.add(&first(&known.id, 0));
            state.sync().map_err(failed)?;
            sync_dir(dir).map_err(failed)?;
        }
        Ok((state, known))
    }

    /// Appends a record; [`Self::sync`] puts it on disk.
    pub(super) fn add(&mut self, record: &Record) {
        record::write(record, &mut self.lines);
    }

    /// Puts all records on disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        if self.is_synced {
            return Ok(());
        }
        self.file.sync_data()?;
        self.is_synced = true;
        Ok(())
    }

    /// Hands all records to the system: they survive the end of this process.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.lines.is_empty() {
            match self.file.write(&self.lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_synced = false;
                    self.len += written as u64;
                    drop(self.lines.drain(..written.min(self.lines.len())));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether most of the file is history.
    pub(super) fn has_grown(&self) -> bool {
        self.len > SMALL && self.len / 2 > self.base
    }

    /// Writes the file anew with what is true now.
    pub(super) fn rewrite(
        &mut self,
        id: &str,
        last: u64,
        records: impl Iterator<Item = Record>,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        record::write(&first(id, last), &mut lines);
        records.for_each(|record| record::write(&record, &mut lines));
        let (path, new) = (self.dir.join("state"), self.dir.join("state.new"));
        let _ = fs::remove_file(&new);
        let mut file = File::options()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        self.file = file;
        self.len = lines.len() as u64;
        self.base = self.len;
        self.is_synced = true;
        self.lines.clear();
        sync_dir(&self.dir)
    }
}

fn first(id: &str, last: u64) -> Record {
    Record::State {
        version: VERSION,
        last,
        id: id.to_owned(),
    }
}

/// Syncs what was made, renamed and removed in a directory.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Locks a directory, or a file that is made for it.
fn lock(path: &Path, is_dir: bool) -> Result<File, WatchError> {
    let failed = |source| WatchError::State {
        path: path.to_owned(),
        source,
    };
    let opened = if is_dir {
        File::open(path)
    } else {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WatchError::Locked(path.to_owned())),
        // Some network file systems lock files only.
        Err(TryLockError::Error(_)) if is_dir => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Reads the lines of a state file.
fn read(bytes: &[u8], path: &Path) -> Result<Known, WatchError> {
    let damaged = |line: usize, what: String| WatchError::Damaged {
        path: path.to_owned(),
        line,
        what,
    };
    let mut known = Known::default();
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    known.torn = (bytes.len() - end) as u64;
    let whole = bytes.get(..end).unwrap_or_default();
    for (place, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() && place > 0 {
            continue;
        }
        if whole.is_empty() {
            break;
        }
        let record = record::read(line);
        let record = record.ok_or_else(|| damaged(place + 1, "it is damaged".to_owned()))?;
        match (&record, known.id.is_empty()) {
            (Record::State { version, id, last }, true) if *version == VERSION => {
                known.id.clone_from(id);
                known.last = *last;
            }
            (Record::State { version, .. }, true) => {
                let what =
                    format!("it is of version {version}; this program reads version {VERSION}");
                return Err(damaged(place + 1, what));
            }
            (_, true) => {
                return Err(damaged(
                    place + 1,
                    "the state's identity is missing".to_owned(),
                ));
            }
            _ => known.take(record),
        }
    }
    Ok(known)
}

impl Known {
    fn take(&mut self, record: Record) {
        match record {
            Record::State { .. } => {}
            Record::Begun(begun) => {
                self.last = self.last.max(begun.n);
                self.entries.insert(begun.n, Entry::begun(begun));
            }
            Record::Accepted { n, number } => {
                if let Some(entry) = self.entries.get_mut(&n) {
                    entry.accepted = Some(number);
                }
            }
            Record::Done { n, number } => self.stage(n, Stage::Done { number }),
            Record::Failed { n, reason } => self.stage(n, Stage::Failed { reason }),
            Record::Closed { n } => drop(self.entries.remove(&n)),
            Record::Kept { n, file } => {
                if let Some(n) = n {
                    self.entries.remove(&n);
                }
                self.kept.insert(file);
            }
            Record::Gone { file } => drop(self.kept.remove(&file)),
        }
    }

    fn stage(&mut self, n: u64, stage: Stage) {
        if let Some(entry) = self.entries.get_mut(&n) {
            entry.stage = stage;
        }
    }
}
