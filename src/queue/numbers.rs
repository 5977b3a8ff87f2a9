//! Request numbers: from 1, never given twice, not after a restart either.
//!
//! Numbers are reserved on disk in blocks, ahead of their use, so that giving one out costs no write. What a
//! crash leaves unused of a block is skipped; a clean stop gives it back.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How many numbers are reserved at once.
const BLOCK: u64 = 10_000;

/// Why numbers cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum NumbersError {
    /// The state directory cannot be read or written.
    #[error("cannot keep request numbers in {}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds no number.
    #[error("{} holds {content:?}, which is no request number", path.display())]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// The beginning of what it holds.
        content: String,
    },
    /// Another balancer has the state directory.
    #[error("{} is in use by another balancer{}", path.display(), pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The other balancer's process, if it said.
        pid: Option<String>,
    },
}

/// Gives out request numbers.
#[derive(Debug)]
pub struct Numbers {
    next: u64,
    reserved: u64,
    /// `None` keeps nothing: every start begins at 1.
    disk: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    dir: PathBuf,
    /// Held for as long as the numbers are in use.
    _lock: File,
}

impl Numbers {
    /// Numbers that start at 1 and are forgotten.
    pub fn in_memory() -> Self {
        Self { next: 1, reserved: u64::MAX, disk: None }
    }

    /// Numbers that go on where those of the last process with this directory ended. One process a directory.
    pub fn open(dir: &Path) -> Result<Self, NumbersError> {
        fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        let disk = Disk { dir: dir.to_owned(), _lock: lock(dir)? };
        let next = disk.read()?;
        Ok(Self { next, reserved: next, disk: Some(disk) })
    }

    /// The next number.
    pub fn take(&mut self) -> Result<u64, NumbersError> {
        if self.next == self.reserved {
            let reserved = self.next.saturating_add(BLOCK);
            if let Some(disk) = &self.disk {
                disk.write(reserved)?;
            }
            self.reserved = reserved;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // Failing here only skips the rest of a block.
        if let Some(disk) = self.disk.as_ref().filter(|_| self.next != self.reserved) {
            let _ = disk.write(self.next);
        }
    }
}

impl Disk {
    fn read(&self) -> Result<u64, NumbersError> {
        let path = self.dir.join("next-number");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                let content = text.chars().take(40).collect();
                NumbersError::Damaged { path, content }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// Replaces the number on disk, whole or not at all, and synced.
    fn write(&self, number: u64) -> Result<(), NumbersError> {
        let part = self.dir.join("next-number.part");
        let replace = || {
            let mut file = File::create(&part)?;
            writeln!(file, "{number}")?;
            file.sync_all()?;
            fs::rename(&part, self.dir.join("next-number"))?;
            File::open(&self.dir)?.sync_all()
        };
        replace().map_err(|source| io_error(&part, source))
    }
}

fn lock(dir: &Path) -> Result<File, NumbersError> {
    let path = dir.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| io_error(&path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(NumbersError::Locked { path: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(&path, source)),
    }
    let note = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(|source| io_error(&path, source))?;
    Ok(file)
}

fn io_error(path: &Path, source: io::Error) -> NumbersError {
    NumbersError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_a_stop_and_skip_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::open(dir.path()).unwrap();
        assert_eq!([numbers.take().unwrap(), numbers.take().unwrap()], [1, 2]);
        drop(numbers);
        let mut numbers = Numbers::open(dir.path()).unwrap();
        assert_eq!(numbers.take().unwrap(), 3);

        // A crash runs no destructor; all it does for us is to release the lock.
        if let Some(disk) = numbers.disk.take() {
            drop(disk);
        }
        std::mem::forget(numbers);
        let mut numbers = Numbers::open(dir.path()).unwrap();
        let next = numbers.take().unwrap();
        assert_eq!(next, 3 + BLOCK);
    }

    #[test]
    fn blocks_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::open(dir.path()).unwrap();
        for expected in 1..=BLOCK + 5 {
            assert_eq!(numbers.take().unwrap(), expected);
        }
    }

    #[test]
    fn one_process_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Numbers::open(dir.path()).unwrap();
        let error = Numbers::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        Numbers::open(dir.path()).unwrap();
    }

    #[test]
    fn damage_is_an_error_not_a_new_beginning() {
        for damage in ["", "x", "0", "-3", "1e3", "99999999999999999999999"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("next-number"), damage).unwrap();
            assert!(matches!(Numbers::open(dir.path()), Err(NumbersError::Damaged { .. })), "{damage:?}");
        }
    }
}
