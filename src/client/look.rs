//! Whether a file changed between two looks at it.
//!
//! The time of a file's last change moves in steps, so that two changes within one step look like
//! one. A file that changed a moment ago is therefore first looked at when its step is over:
//! whatever changes it from then on shows.
//!
//! A program that sets the time of its last write back shows by the time of the file's last change
//! of any kind, unless the name, the links, the owner or the permissions of the file changed as
//! well: that moves this time, too.
//!
//! What does not show: writes through a memory map that began before the first look, and changes on
//! a file system whose clock is not this machine's.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest step of times in a file system that keeps parts of a second: a tick of the system's
/// slowest clock, twice.
const TICK: Duration = Duration::from_millis(20);

/// The longest step in one that keeps whole seconds only.
const COARSE: Duration = Duration::from_secs(2);

/// A file as a caller has seen it: enough to tell whether a path still leads to it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The device that it is on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written to, in seconds and nanoseconds since the beginning of 1970.
    pub written: (i64, i64),
}

impl From<&Metadata> for Seen {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file's metadata at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The device, and the file on it.
    identity: (u64, u64),
    /// Its size in bytes.
    pub(super) size: u64,
    /// When it was written to, in seconds and nanoseconds since the beginning of 1970.
    written: (i64, i64),
    /// When its content or metadata last changed, in the same way.
    touched: (i64, i64),
    /// Its permissions, owner, group and number of links.
    around: (u32, u32, u32, u64),
}

impl From<&Metadata> for Look {
    fn from(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
            around: (
                metadata.mode(),
                metadata.uid(),
                metadata.gid(),
                metadata.nlink(),
            ),
        }
    }
}

impl Look {
    /// Looks at a regular file once the time step of its last change is over, so that any further
    /// change shows. The text says how the file changed meanwhile. Blocks.
    pub(super) fn settled(path: &Path) -> io::Result<(Self, Option<String>)> {
        let look = Self::at(path)?;
        let Some(wait) = look.unsettled(SystemTime::now()) else {
            return Ok((look, None));
        };
        thread::sleep(wait);
        let later = Self::at(path)?;
        Ok((later, look.change(&later)))
    }

    /// Looks at a regular file, without opening it: opening a FIFO would wait for its other end.
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if metadata.is_file() {
            Ok(Self::from(&metadata))
        } else {
            Err(io::Error::other("not a regular file"))
        }
    }

    /// How the file differs from the one that a caller had seen under its path.
    pub(super) fn other_than(&self, seen: &Seen) -> Option<String> {
        if self.identity != (seen.device, seen.inode) {
            Some("another file took its place before it was read".to_owned())
        } else if self.size != seen.size || self.written != seen.written {
            Some("it was written to before it was read".to_owned())
        } else {
            None
        }
    }

    /// How the file that was opened has changed since, or which other file its path leads to. A
    /// file that was only removed has not changed.
    pub(super) fn change_since(
        &self,
        open: &Metadata,
        path: io::Result<Metadata>,
    ) -> Option<String> {
        let open = Self::from(open);
        let Ok(path) = path else {
            return self.change(&Self {
                touched: self.touched,
                ..open
            });
        };
        self.change(&open)
            .or_else(|| self.change(&Self::from(&path)))
    }

    fn change(&self, later: &Self) -> Option<String> {
        if self.identity != later.identity {
            Some("another file took its place while it was read".to_owned())
        } else if self.size != later.size {
            Some(shrunk_or_grown(self.size, later.size))
        } else {
            let is_touched = self.touched != later.touched && self.around == later.around;
            (self.written != later.written || is_touched)
                .then(|| "it was written to while it was read".to_owned())
        }
    }

    /// How long it takes until another change must show; `None` if it must show already.
    fn unsettled(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanos) = self.written.max(self.touched);
        let seconds = u64::try_from(seconds).ok()?;
        let nanos = u32::try_from(nanos).ok()?;
        let changed = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?;
        // A time in the future comes from another machine's clock: waiting would not help.
        let age = now.duration_since(changed).ok()?;
        let step = if nanos == 0 { COARSE } else { TICK };
        step.checked_sub(age).filter(|wait| !wait.is_zero())
    }
}

/// Says that the size of a file has changed.
pub(super) fn shrunk_or_grown(before: u64, after: u64) -> String {
    format!("it changed while it was read: {before} bytes before, {after} after")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(written: (i64, i64)) -> Look {
        Look {
            identity: (1, 2),
            size: 3,
            written,
            touched: written,
            around: (0o644, 0, 0, 1),
        }
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let before = look((5, 6));
        assert_eq!(before.change(&before), None);
        assert!(
            before
                .change(&Look {
                    identity: (1, 3),
                    ..before
                })
                .unwrap()
                .contains("another file")
        );
        assert!(
            before
                .change(&Look { size: 4, ..before })
                .unwrap()
                .contains("3 bytes before, 4 after")
        );
        assert!(before.change(&look((5, 7))).unwrap().contains("written to"));
        let touched = Look {
            touched: (5, 7),
            ..before
        };
        assert!(
            before.change(&touched).unwrap().contains("written to"),
            "with its time set back"
        );
        assert_eq!(
            before.change(&Look {
                around: (0o600, 0, 0, 1),
                ..touched
            }),
            None,
            "other permissions"
        );
        assert_eq!(
            before.change(&Look {
                around: (0o644, 0, 0, 2),
                ..touched
            }),
            None,
            "another link"
        );
    }

    #[test]
    fn a_file_settles_when_its_step_is_over() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let fine = look((1, 500_000_000));
        assert_eq!(fine.unsettled(at(1505)), Some(Duration::from_millis(15)));
        assert_eq!(fine.unsettled(at(1520)), None);
        assert_eq!(fine.unsettled(at(1499)), None, "from the future");
        let coarse = look((1, 0));
        assert_eq!(
            coarse.unsettled(at(1500)),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(coarse.unsettled(at(3000)), None);
        assert_eq!(look((-1, 0)).unsettled(at(0)), None);
    }

    /// Many changes follow each other within one step of the clock: none that comes after the look
    /// may be missed.
    #[test]
    fn a_change_of_the_same_size_right_after_the_look_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for round in 0..50 {
            fs::write(&path, format!("{round:4}")).unwrap();
            let (look, change) = Look::settled(&path).unwrap();
            assert_eq!(change, None);
            let open = fs::File::options()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            std::os::unix::fs::FileExt::write_at(&open, b"x", 0).unwrap();
            let change = look.change_since(&open.metadata().unwrap(), fs::metadata(&path));
            assert!(
                change.is_some_and(|change| change.contains("written to")),
                "round {round}"
            );
        }
    }

    #[test]
    fn a_program_that_sets_the_time_back_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "1").unwrap();
        let (look, _) = Look::settled(&path).unwrap();
        let open = fs::File::options().write(true).open(&path).unwrap();
        let written = open.metadata().unwrap().modified().unwrap();
        std::os::unix::fs::FileExt::write_at(&open, b"x", 0).unwrap();
        open.set_modified(written).unwrap();
        assert_eq!(open.metadata().unwrap().modified().unwrap(), written);
        assert!(
            look.change_since(&open.metadata().unwrap(), fs::metadata(&path))
                .is_some()
        );
    }

    #[test]
    fn a_file_that_is_moved_away_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "1").unwrap();
        let (look, _) = Look::settled(&path).unwrap();
        let open = fs::File::open(&path).unwrap();
        fs::rename(&path, &other).unwrap();
        assert_eq!(
            look.change_since(&open.metadata().unwrap(), fs::metadata(&path)),
            None
        );
    }

    #[test]
    fn a_removed_file_is_whole_and_a_replaced_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&path, "1").unwrap();
        let (look, _) = Look::settled(&path).unwrap();
        let open = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            look.change_since(&open.metadata().unwrap(), fs::metadata(&path)),
            None
        );
        fs::write(&other, "1").unwrap();
        fs::rename(&other, &path).unwrap();
        let change = look
            .change_since(&open.metadata().unwrap(), fs::metadata(&path))
            .unwrap();
        assert!(change.contains("another file"), "{change}");
    }
}
