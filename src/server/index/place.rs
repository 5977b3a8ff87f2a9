//! Which directory, and which file, an index was written in: a copy of either is another one.

use std::fmt;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

/// What tells a file or directory from a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows.
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

    /// Whether both are surely not the same. Some file systems number files anew each time they are
    /// mounted, so the number counts only where the time is not known. The device is another one
    /// after many a restart of the machine.
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

/// What has become of an index since it was last open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// It is where it was.
    No,
    /// It is in another directory: that is a copy, or was restored, or moved from another file
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
        let mut mark = || {
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
mod tests {
    use super::*;

    fn mark(inode: u64, born: Option<u64>) -> Mark {
        Mark { inode, born }
    }

    #[test]
    fn it_is_text_and_comes_back() {
        let place = WrittenIn {
            dir: mark(7, Some(9)),
            file: mark(u64::MAX, None),
        };
        assert_eq!(place.to_string(), "7.9.18446744073709551615.0");
        assert_eq!(place.to_string().parse(), Ok(place));
        for damaged in ["", "1", "1.2.3", "1.2.3.4.5", "a.2.3.4", "1.2.3.-4"] {
            assert_eq!(damaged.parse::<WrittenIn>(), Err(()), "{damaged}");
        }
    }

    #[test]
    fn a_copy_is_another_and_what_is_only_numbered_anew_is_not() {
        let (dir, file) = (mark(1, Some(10)), mark(2, Some(20)));
        let was = WrittenIn { dir, file };
        assert_eq!(was.compare(was), Moved::No);
        assert_eq!(
            was.compare(WrittenIn {
                dir: mark(5, Some(10)),
                file: mark(6, Some(20))
            }),
            Moved::No
        );
        assert_eq!(
            was.compare(WrittenIn {
                dir: mark(1, Some(11)),
                file
            }),
            Moved::Directory
        );
        assert_eq!(
            was.compare(WrittenIn {
                dir,
                file: mark(2, Some(21))
            }),
            Moved::File
        );
        assert_eq!(
            was.compare(WrittenIn {
                dir: mark(5, None),
                file
            }),
            Moved::Directory
        );
        assert_eq!(
            was.compare(WrittenIn {
                dir: mark(1, None),
                file
            }),
            Moved::No
        );
    }
}
