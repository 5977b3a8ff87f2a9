//! Rotation of the log file: when it is due, and the names.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local, NaiveDate};

/// The name of a rotated file.
pub(super) fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Renames the file to number 1 and each rotated file to the next number, up to the first free
/// number; the file with the last number is replaced. Stops at the first that cannot be renamed, so
/// that no newer file replaces it.
pub(super) fn shift(path: &Path, keep: usize) -> io::Result<()> {
    let mut last = keep;
    for number in 1..=keep {
        let name = rotated(path, number);
        match fs::symlink_metadata(&name) {
            Ok(found) if found.is_file() => {}
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "{} is not a regular file",
                    name.display()
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                last = number;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    for number in (1..last).rev() {
        fs::rename(rotated(path, number), rotated(path, number + 1))?;
    }
    fs::rename(path, rotated(path, 1))
}

/// Removes the rotated files beyond `keep`, which an earlier, larger `keep` left. Errors are
/// ignored: they must not prevent a start.
pub(super) fn remove_surplus(dir: &Path, file: &str, keep: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix(file)?
                .strip_prefix('.')?
                .parse::<usize>()
                .ok()
        });
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && number.is_some_and(|number| number > keep) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The day of the last line of an earlier run. A time stamp in the future counts as today: it must
/// not delay the next rotation.
pub(super) fn last_day(file: &Metadata, today: NaiveDate) -> NaiveDate {
    file.modified().map_or(today, |time| {
        DateTime::<Local>::from(time).date_naive().min(today)
    })
}

/// Decides when to rotate: by size and, unless it is told otherwise, by local day, also across
/// restarts.
///
/// Days only move forward, so a clock set back does not rotate; and dates are compared, never
/// turned into a local midnight, which some time zones do not have on some days.
#[derive(Debug)]
pub(super) struct SizeAndDay {
    max_bytes: u64,
    /// The size at which the next rotation is due.
    due: u64,
    day: NaiveDate,
    by_day: bool,
}

impl SizeAndDay {
    /// For a file whose last line is of this day. `max_bytes` of 0 means no limit.
    pub(super) fn new(max_bytes: u64, day: NaiveDate) -> Self {
        let max_bytes = if max_bytes == 0 { u64::MAX } else { max_bytes };
        Self {
            max_bytes,
            due: max_bytes,
            day,
            by_day: true,
        }
    }

    /// Days do not count.
    pub(super) fn by_size_only(&mut self) {
        self.by_day = false;
    }

    /// Starts again with another file, whose last line is of this day.
    pub(super) fn begin(&mut self, day: NaiveDate) {
        *self = Self {
            by_day: self.by_day,
            ..Self::new(self.max_bytes, day)
        };
    }

    /// Whether a file of this size is due now.
    pub(super) fn is_due(&mut self, today: NaiveDate, size: u64) -> bool {
        let new_day = self.by_day && today > self.day && size > 0;
        self.day = self.day.max(today);
        if size < self.max_bytes {
            self.due = self.max_bytes;
        }
        let full = size >= self.due;
        if full {
            // If the renaming fails, the file stays large: without this, each further line would
            // try again.
            self.due = size.saturating_add(self.max_bytes);
        }
        new_day || full
    }
}
