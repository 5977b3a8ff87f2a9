//! One balancer a journal.
//!
//! The lock is on the directory itself: a lock file could be removed, and a new one of its name
//! locked by another balancer. The file `lock` tells which process holds the lock, and is locked,
//! too, for versions that know only this file.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::disk::Disk;
use super::error::JournalError;
use super::real::RealDisk;
use super::real::{id_of, not_regular, open_dir};

/// The file that tells who holds the journal.
pub(super) const LOCK: &str = "lock";

/// Keeps other balancers out of a journal until it is dropped.
#[derive(Debug)]
pub struct Lock {
    directory: File,
    _file: File,
}

/// Creates the journal's directory if it is missing, locks and opens it.
pub fn take_hold(dir: &Path) -> Result<(Lock, RealDisk), JournalError> {
    let cannot = |source| JournalError::Directory {
        path: dir.display().to_string(),
        source,
    };
    let lock = lock(dir)?;
    let disk = RealDisk::open(dir).map_err(cannot)?;
    if id_of(&lock.directory).map_err(cannot)? == disk.id() {
        return Ok((lock, disk));
    }
    let (path, now) = disk.describe();
    Err(JournalError::Moved { path, now })
}

/// Creates the journal's directory if it is missing, and keeps other balancers out of it for as
/// long as the lock is held.
pub fn lock(dir: &Path) -> Result<Lock, JournalError> {
    let cannot = |source| JournalError::Directory {
        path: dir.display().to_string(),
        source,
    };
    // For its owner only: what clients hand over is nobody else's business.
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        // For a file of this name the system says "exists", which does not tell what is wrong.
        let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists;
        return Err(cannot(if is_in_the_way {
            io::ErrorKind::NotADirectory.into()
        } else {
            error
        }));
    }
    let directory = open_dir(dir).map_err(cannot)?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(dir, &directory)),
        // Some network file systems lock files only.
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {
            tracing::warn!(
                target: crate::LOG,
                error = %error,
                "the journal's directory cannot be locked, only the file `lock` in it"
            );
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let file = lock_file(dir, &directory)?;
    Ok(Lock {
        directory,
        _file: file,
    })
}

/// Locks the file `lock` in the directory, and writes our pid into it.
fn lock_file(dir: &Path, directory: &File) -> Result<File, JournalError> {
    let cannot = |source| JournalError::Directory {
        path: dir.display().to_string(),
        source,
    };
    let opened = open_lock(directory, OFlags::CREATE | OFlags::RDWR);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => JournalError::NotRegular {
            name: LOCK.to_owned(),
        },
        _ => cannot(error),
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(dir, directory)),
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    // The pid is only a help: on a full disk the lock counts without it.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}

/// Opens the file `lock`; an error if it is not a regular file.
fn open_lock(directory: &File, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(directory, LOCK, flags, Mode::from_raw_mode(0o600)) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => {
            return Err(not_regular());
        }
        Err(error) => return Err(error.into()),
    };
    if opened.metadata()?.is_file() {
        Ok(opened)
    } else {
        Err(not_regular())
    }
}

/// The error that another balancer holds the journal, with its pid.
fn locked(dir: &Path, directory: &File) -> JournalError {
    let mut pid = String::new();
    let read = open_lock(directory, OFlags::RDONLY)
        .and_then(|file| file.take(20).read_to_string(&mut pid));
    let pid = read
        .ok()
        .map(|_| pid.trim().to_owned())
        .filter(|pid| !pid.is_empty());
    JournalError::Locked {
        path: dir.display().to_string(),
        pid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_balancer_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
        drop(first);
        lock(dir.path()).unwrap();
    }

    /// Regression: when somebody removed the lock's file, another balancer was let in.
    #[test]
    fn a_lock_outlives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert!(matches!(
            lock(dir.path()),
            Err(JournalError::Locked { pid: None, .. })
        ));
        assert!(
            !dir.path().join(LOCK).exists(),
            "a balancer that is kept out creates nothing"
        );
        drop(first);
        lock(dir.path()).unwrap();
    }

    /// A version that locks the file alone is kept out, and keeps out.
    #[test]
    fn the_file_is_locked_too() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let file = File::open(dir.path().join(LOCK)).unwrap();
        assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        file.try_lock().unwrap();
        assert!(matches!(lock(dir.path()), Err(JournalError::Locked { .. })));
    }
}
