//! Reads a history's files: what an earlier balancer has written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::line::{self, Line, MAX_LINE};
use crate::fleet_core::History;

/// The most that is read of one file, in bytes: its end. Files of ours are shorter.
const MAX_FILE: u64 = 32 << 20;

/// Older lines than that are in no ring any more.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Lines that were taken.
    pub(super) lines: u64,
    /// Lines that are no JSON, too long, cut, or say what cannot be.
    pub(super) damaged: u64,
    /// Files that could not be read, each with the reason.
    pub(super) unreadable: Vec<String>,
}

/// Reads the files, the oldest first, into an empty history. `stop` ends it early.
pub(super) fn read(
    files: impl IntoIterator<Item = impl AsRef<Path>>,
    history: &mut History,
    now: u64,
    stop: &dyn Fn() -> bool,
) -> Found {
    let mut found = Found::default();
    let since = now.saturating_sub(WEEK.as_secs());
    for path in files {
        let path = path.as_ref();
        match read_file(path, history, since, &mut found, stop) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found
                .unreadable
                .push(format!("{}: {error}", path.display())),
        }
    }
    found
}

fn read_file(
    path: &Path,
    history: &mut History,
    since: u64,
    found: &mut Found,
    stop: &dyn Fn() -> bool,
) -> io::Result<()> {
    // Before it is opened: opening a pipe waits for its writer.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let changed = about.modified().and_then(|at| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .map_err(io::Error::other)
    });
    if changed.is_ok_and(|at| at.as_secs() < since) {
        return Ok(());
    }
    let mut file = File::open(path)?;
    let surplus = about.len().saturating_sub(MAX_FILE);
    file.seek(SeekFrom::Start(surplus))?;
    let mut lines = BufReader::with_capacity(1 << 16, file.take(MAX_FILE));
    // Where a file is read from its middle, the first line is a part of one.
    let mut is_part = surplus > 0;
    let mut line = Vec::with_capacity(1024);
    while !stop() && next_line(&mut lines, &mut line)? {
        let is_whole = line.last() == Some(&b'\n');
        let text = line.trim_ascii();
        if std::mem::take(&mut is_part) || (text.is_empty() && is_whole) {
            continue;
        }
        let read = if line.len() > MAX_LINE {
            None
        } else {
            line::read(text)
        };
        let is_sound = match read {
            Some(Line::Minute(minute)) => minute.time < since || history.restore(&minute),
            Some(Line::Note(note)) => {
                note.apply(history);
                true
            }
            Some(Line::Message) => true,
            None => false,
        };
        let count = if is_sound {
            &mut found.lines
        } else {
            &mut found.damaged
        };
        *count += 1;
    }
    Ok(())
}

/// Reads a line with its end, and of a longer one than there can be a little more than the bound.
/// `false` at the end of the file.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let most = MAX_LINE as u64 + 1;
    lines.by_ref().take(most).read_until(b'\n', line)?;
    if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
        lines.skip_until(b'\n')?;
    }
    Ok(!line.is_empty())
}
