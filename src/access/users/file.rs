//! The file of the users: read, changed and replaced as a whole.
//!
//! Several processes may change it: the balancer, and commands on its machine. Each holds a lock on
//! a file beside it while it reads, changes and replaces it, so that no change undoes another's.
//! Whoever reads sees the file before a change or after it.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::book::Book;

/// The largest file that is read, in bytes: of the most users with the most tokens.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// Owner alone may read and write.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Where the users are kept.
#[derive(Debug, Clone)]
pub struct UsersFile {
    path: PathBuf,
    dir: PathBuf,
    name: String,
}

/// Tells whether a file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

/// Why the users cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// There is no such file.
    #[error(
        "there is no users file {0}: `bilico user add --role admin NAME --users FILE` makes one"
    )]
    Missing(String),
    /// The path names no file.
    #[error("invalid users file {0}: expected the path of a file")]
    NoName(String),
    /// It is a link, a directory or a device.
    #[error("the users file {0} is no regular file: links are not followed; name the file itself")]
    NotRegular(String),
    /// Others may read or change it.
    #[error(
        "the users file {path} may be read or changed by others (mode {mode:04o}): \
         `chmod 600 {path}`"
    )]
    Open {
        /// The path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("the users file {path} belongs to user {owner}, and this process runs as {me}")]
    Foreign {
        /// The path.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// It is not what this program wrote.
    #[error("the users file {path} is damaged: {reason}; put back a copy of it")]
    Damaged {
        /// The path.
        path: String,
        /// What was expected.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the users file {0} has a format of another version of this program")]
    Unknown(String),
    /// The system refuses something.
    #[error("cannot {what} the users file {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: String,
        /// The error of the system.
        error: io::Error,
    },
}

/// Held while the file is changed.
pub(super) struct Held {
    dir: File,
    _lock: File,
}

impl UsersFile {
    /// The file at this path.
    pub fn at(path: &Path) -> Result<Self, UsersFileError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name else {
            return Err(UsersFileError::NoName(path.display().to_string()));
        };
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self {
            path: path.to_owned(),
            dir,
            name: name.to_owned(),
        })
    }

    /// The path as it was given.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads all users, and which edition of the file that is. Blocks on the disk.
    pub fn read(&self) -> Result<(Book, Edition), UsersFileError> {
        let dir = self.open_dir()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&dir, &*self.name, flags, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(UsersFileError::Missing(self.shown())),
            Err(Errno::LOOP) => return Err(UsersFileError::NotRegular(self.shown())),
            Err(error) => return Err(self.failed("open", error.into())),
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed("read", error))?;
        self.check(&metadata)?;
        let mut text = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut text)
            .map_err(|error| self.failed("read", error))?;
        let damaged = |error: serde_json::Error| UsersFileError::Damaged {
            path: self.shown(),
            reason: format!("line {}, column {}", error.line(), error.column()),
        };
        let book: Book = serde_json::from_slice(&text).map_err(damaged)?;
        if book.is_known() {
            Ok((book, Edition::of(&metadata)))
        } else {
            Err(UsersFileError::Unknown(self.shown()))
        }
    }

    /// The edition that is there now; `None` if it cannot be told.
    pub(super) fn edition(&self) -> Option<Edition> {
        let metadata = std::fs::symlink_metadata(&self.path).ok()?;
        Some(Edition::of(&metadata))
    }

    /// Waits until nobody else changes the file. Blocks. Makes its directory if need be.
    pub(super) fn hold(&self) -> Result<Held, UsersFileError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|error| self.failed("make the directory of", error))?;
        let dir = self.open_dir()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&dir, format!("{}.lock", self.name), flags, PRIVATE)
            .map_err(|error| self.failed("lock", error.into()))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("lock", error.into())),
            }
        }
        let lock = File::from(lock);
        Ok(Held { dir, _lock: lock })
    }

    /// Replaces the file. After an error the old one is there. Blocks on the disk.
    pub(super) fn write(&self, held: &Held, book: &Book) -> Result<Edition, UsersFileError> {
        let failed = |error: io::Error| self.failed("write", error);
        let mut text = serde_json::to_vec_pretty(book).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let part = format!("{}.part", self.name);
        // A part that a killed process left; nobody else writes one while the lock is held.
        match unlinkat(&held.dir, &*part, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(&held.dir, &*part, flags, PRIVATE).map_err(|error| failed(error.into()))?;
        let mut file = File::from(file);
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let metadata = written.and_then(|()| file.metadata()).map_err(failed)?;
        renameat(&held.dir, &*part, &held.dir, &*self.name)
            .map_err(|error| failed(error.into()))?;
        fsync(&held.dir).map_err(|error| failed(error.into()))?;
        Ok(Edition::of(&metadata))
    }

    fn open_dir(&self) -> Result<File, UsersFileError> {
        File::open(&self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => UsersFileError::Missing(self.shown()),
            _ => self.failed("open the directory of", error),
        })
    }

    fn check(&self, metadata: &Metadata) -> Result<(), UsersFileError> {
        let path = self.shown();
        if !metadata.is_file() {
            return Err(UsersFileError::NotRegular(path));
        }
        let (owner, me) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != me {
            return Err(UsersFileError::Foreign { path, owner, me });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(UsersFileError::Open { path, mode });
        }
        Ok(())
    }

    fn failed(&self, what: &'static str, error: io::Error) -> UsersFileError {
        UsersFileError::Io {
            what,
            path: self.shown(),
            error,
        }
    }
}

impl Edition {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn world() -> (tempfile::TempDir, UsersFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = UsersFile::at(&dir.path().join("made/users.json")).unwrap();
        (dir, file)
    }

    #[test]
    fn what_is_written_is_read_and_only_its_owner_may() {
        let (_dir, file) = world();
        assert!(matches!(file.read(), Err(UsersFileError::Missing(_))));
        let held = file.hold().unwrap();
        fs::write(file.dir.join("users.json.part"), "left by a killed process").unwrap();
        let edition = file.write(&held, &Book::default()).unwrap();
        assert_eq!(file.read().unwrap(), (Book::default(), edition));
        assert_eq!(file.edition(), Some(edition));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&file.path), 0o600);
        assert_eq!(mode(&file.dir), 0o700);
        assert_eq!(mode(&file.dir.join("users.json.lock")), 0o600);
        let next = file.write(&held, &Book::default()).unwrap();
        assert_ne!(edition, next, "another edition");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_a_link_or_damaged_is_refused() {
        let (dir, file) = world();
        file.write(&file.hold().unwrap(), &Book::default()).unwrap();
        fs::set_permissions(&file.path, Permissions::from_mode(0o640)).unwrap();
        let refused = file.read().unwrap_err().to_string();
        assert!(refused.contains("(mode 0640): `chmod 600 "), "{refused}");
        fs::set_permissions(&file.path, Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&file.path).unwrap();
        fs::write(&file.path, &text[..text.len() / 2]).unwrap();
        let refused = file.read().unwrap_err().to_string();
        assert!(refused.contains("is damaged: line "), "{refused}");
        fs::write(&file.path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(matches!(file.read(), Err(UsersFileError::Unknown(_))));
        let moved = dir.path().join("moved");
        fs::rename(&file.path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &file.path).unwrap();
        assert!(matches!(file.read(), Err(UsersFileError::NotRegular(_))));
    }
}
