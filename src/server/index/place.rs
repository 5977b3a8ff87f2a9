//! In which directory and file an index was written, which tells a copy of either from it.

use std::fmt;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

/// Inode and time of birth, which tell a file or directory from a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    inode: u64,
    /// Time of birth in nanoseconds since 1970; `None` if the file system does not record it.
    born: Option<u64>,
}

impl Mark {
    fn of(found: &Metadata) -> Self {
        let since = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).ok();
        let born = found
            .created()
            .ok()
            .and_then(since)
            .and_then(|age| u64::try_from(age.as_nanos()).ok());
        Self {
            inode: found.ino(),
            born,
        }
    }

    /// Whether the two are certainly different files. Some file systems number inodes anew at each
    /// mount, so the inode counts only if a time is not known. The device does not count at all: it
    /// often changes when the machine restarts.
    fn is_another(self, other: Self) -> bool {
        match (self.born, other.born) {
            (Some(one), Some(other)) => one != other,
            _ => self.inode != other.inode,
        }
    }
}

/// Where an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrittenIn {
    dir: Mark,
    file: Mark,
}

/// How the place of an index has changed since it was last open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Not at all.
    No,
    /// It is in another directory, which is a copy, was restored, or was moved from another file
    /// system.
    Directory,
    /// It is another file in the same directory.
    File,
}

impl WrittenIn {
    pub(super) fn of(dir: &File, file: &File) -> std::io::Result<Self> {
        Ok(Self {
            dir: Mark::of(&dir.metadata()?),
            file: Mark::of(&file.metadata()?),
        })
    }

    /// Compares where an index was with where it is now.
    pub(super) fn compare(self, now: Self) -> Moved {
        match (self.dir.is_another(now.dir), self.file.is_another(now.file)) {
            (true, _) => Moved::Directory,
            (false, true) => Moved::File,
            (false, false) => Moved::No,
        }
    }
}

impl fmt::Display for WrittenIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, file } = self;
        let (dir_born, file_born) = (dir.born.unwrap_or(0), file.born.unwrap_or(0));
        write!(f, "{}.{dir_born}.{}.{file_born}", dir.inode, file.inode)
    }
}

impl FromStr for WrittenIn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(drop));
        let mut next = || parts.next().ok_or(())?;
        let mut mark = || -> Result<Mark, ()> {
            Ok(Mark {
                inode: next()?,
                born: Some(next()?).filter(|born| *born > 0),
            })
        };
        let both = Self {
            dir: mark()?,
            file: mark()?,
        };
        if parts.next().is_none() {
            Ok(both)
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests;
