//! The log's file: opened again when its name leads elsewhere, rotated, and never silently behind.
//!
//! Two invariants: only a file that is open here under its own name is rotated, and only regular
//! files are renamed or removed for it; and a line that is not written is counted, and the count is
//! told.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Local, NaiveDate};
use tracing::Level;
use tracing_appender::non_blocking::ErrorCounter;

use super::losses::{Losses, TELL_AGAIN};
use super::{LogConfig, LogError, LogFormat, line};
use crate::text::Printable;

/// What is gathered before it is written, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;

/// The time between two looks at where the file's name leads, and at the day.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who hears of the log's troubles and of their ends, besides standard error.
pub(super) type Listener = Box<dyn Fn(Level, &str) + Send + Sync>;

/// What the log's writer shares with those who ask how it does.
#[derive(Default)]
pub(super) struct Health {
    /// Lines that could not be written.
    failed: AtomicUsize,
    /// Lines that the queue had no room for.
    overflowed: OnceLock<ErrorCounter>,
    listener: OnceLock<Listener>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("lost_lines", &self.lost_lines())
            .finish_non_exhaustive()
    }
}

impl Health {
    /// How many lines were lost so far.
    pub(super) fn lost_lines(&self) -> usize {
        self.overflowed()
            .saturating_add(self.failed.load(Ordering::Relaxed))
    }

    /// Whose full queue loses lines, too.
    pub(super) fn count(&self, overflowed: ErrorCounter) {
        let _ = self.overflowed.set(overflowed);
    }

    /// Tells this listener from now on; there can be one.
    pub(super) fn listen(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    fn overflowed(&self) -> usize {
        self.overflowed.get().map_or(0, ErrorCounter::dropped_lines)
    }

    /// Tells standard error and the listener. The log itself is no place for it: it may be what
    /// fails.
    fn tell(&self, level: Level, text: &str) {
        // A closed standard error is no reason to stop.
        let _ = writeln!(
            io::stderr(),
            "{}: {}",
            if level == Level::INFO {
                "note"
            } else {
                "warning"
            },
            Printable(text)
        );
        if let Some(listener) = self.listener.get() {
            listener(level, text);
        }
    }
}

/// The current file and those that it was rotated to.
pub(super) struct LogFile {
    path: PathBuf,
    /// How many rotated files there are; 0 if others rotate.
    keep: usize,
    format: LogFormat,
    file: File,
    identity: (u64, u64),
    /// How long the file is with what waits in the buffer.
    size: u64,
    buffer: Vec<u8>,
    rotation: SizeAndDay,
    today: NaiveDate,
    look_at: Instant,
    losses: Losses,
    /// How many lines of the full queue were told of.
    overflowed: usize,
    /// The last trouble with names, and when it was told.
    trouble: Option<(String, Instant)>,
    health: Arc<Health>,
}

impl LogFile {
    /// Opens the file of a process that starts.
    pub(super) fn open(config: &LogConfig, health: Arc<Health>) -> Result<Self, LogError> {
        let dir = &config.dir;
        fs::create_dir_all(dir).map_err(|source| LogError::Directory {
            dir: dir.clone(),
            source,
        })?;
        let path = dir.join(&config.file);
        if config.keep > 0 {
            remove_surplus(dir, &config.file, config.keep);
        }
        let today = Local::now().date_naive();
        let opened = append(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = opened.map_err(|source| LogError::File {
            path: path.clone(),
            source,
        })?;
        let mut log = Self {
            path,
            keep: config.keep,
            format: config.format,
            identity: identity(&found),
            size: found.len(),
            file,
            buffer: Vec::with_capacity(WRITE_BUFFER),
            rotation: SizeAndDay::new(config.max_bytes, last_day(&found, today)),
            today,
            look_at: Instant::now() + LOOK_AGAIN,
            losses: Losses::default(),
            overflowed: 0,
            trouble: None,
            health,
        };
        log.note_link();
        Ok(log)
    }

    /// Sees at once whether the name leads elsewhere by now.
    pub(super) fn look_now(&mut self) {
        self.look(Instant::now());
    }

    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOK_AGAIN;
        self.today = Local::now().date_naive();
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => {
                // It may have been emptied.
                self.size = found.len().saturating_add(self.buffer.len() as u64);
            }
            Ok(found) => self.change_file(Some(&found)),
            Err(_) => self.change_file(None),
        }
    }

    /// Goes on in the file that the name leads to now. What waits in the buffer goes there, too.
    fn change_file(&mut self, found: Option<&Metadata>) {
        match self.reopen(found) {
            Ok(()) => {
                self.trouble = None;
                self.note_link();
                tracing::info!(path = %self.path.display(), "log opened again: its file was moved or deleted");
            }
            Err(error) => {
                let path = self.path.display();
                self.tell_trouble(format!(
                    "the log file {path} was moved or deleted and cannot be opened again: {error}; \
                     lines go on into the old file"
                ));
            }
        }
    }

    fn reopen(&mut self, found: Option<&Metadata>) -> io::Result<()> {
        if let Some(kind) = found.map(Metadata::file_type)
            && (kind.is_dir() || kind.is_fifo() || kind.is_socket())
        {
            // To open a pipe would wait for its reader.
            return Err(io::Error::other(
                "what stands in its place is no regular file",
            ));
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(&self.path)?;
        let found = file.metadata()?;
        (self.file, self.identity) = (file, identity(&found));
        self.size = found.len().saturating_add(self.buffer.len() as u64);
        self.rotation.begin(last_day(&found, self.today));
        self.losses.mend();
        Ok(())
    }

    /// A link is followed, but what it leads to is not ours to rename.
    fn note_link(&mut self) {
        if self.keep > 0 && !self.is_own() {
            let path = self.path.display();
            self.tell_trouble(format!(
                "the log file {path} is no regular file: lines go where it leads, without rotation"
            ));
        }
    }

    /// Whether the name itself, and not a link, is the open file's.
    fn is_own(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.is_file() && identity(&found) == self.identity)
    }

    fn rotate_when_due(&mut self) {
        if self.keep == 0 || !self.rotation.is_due(self.today, self.size) {
            return;
        }
        self.write_out();
        if !self.is_own() {
            return self.look_now();
        }
        if let Err(error) = shift(&self.path, self.keep).and_then(|()| self.reopen(None)) {
            let path = self.path.display();
            self.tell_trouble(format!(
                "the log file {path} cannot be rotated: {error}; lines go on into it"
            ));
        }
    }

    /// Tells of a trouble at once, and of the same again after a while.
    fn tell_trouble(&mut self, text: String) {
        let now = Instant::now();
        let is_told = self
            .trouble
            .as_ref()
            .is_some_and(|(told, at)| *told == text && now < *at + TELL_AGAIN);
        if !is_told {
            self.health.tell(Level::WARN, &text);
            self.trouble = Some((text, now));
        }
    }

    /// Writes what waits in the buffer, and before it what was lost. What cannot be written is
    /// lost.
    fn write_out(&mut self) {
        let now = Instant::now();
        let overflowed = self.health.overflowed();
        if let Some(lost) = overflowed
            .checked_sub(self.overflowed)
            .filter(|lost| *lost > 0)
        {
            self.overflowed = overflowed;
            let told = self.losses.lost(
                lost,
                &"the disk is slower than lines come",
                now,
                SystemTime::now(),
            );
            self.tell_loss(told);
        }
        let written = self.write_head(now);
        let written = match written {
            Ok(()) => write_whole(&mut self.file, &self.buffer),
            Err(error) => Err((0, error)),
        };
        if let Err((done, error)) = written {
            let rest = self.buffer.get(done..).unwrap_or_default();
            let lost = bytecount::count(rest, b'\n');
            self.health.failed.fetch_add(lost, Ordering::Relaxed);
            if done > 0 && self.buffer.get(done - 1) != Some(&b'\n') {
                self.losses.tear();
            }
            let told = self.losses.lost(lost, &error, now, SystemTime::now());
            self.tell_loss(told);
        }
        self.buffer.clear();
    }

    /// Ends a line that was written in part, and writes what was lost, if that seems to be over.
    fn write_head(&mut self, now: Instant) -> io::Result<()> {
        let loss = self
            .losses
            .to_write(now)
            .map(|loss| line::own_line(self.format, Level::WARN, &loss));
        let torn = if self.losses.is_torn() { "\n" } else { "" };
        let head = format!("{torn}{}", loss.as_deref().unwrap_or_default());
        if let Err((done, error)) = write_whole(&mut self.file, head.as_bytes()) {
            if done > torn.len() {
                self.losses.tear();
            }
            return Err(error);
        }
        self.losses.mend();
        if loss.is_some()
            && let Some(text) = self.losses.end(now)
        {
            self.health.tell(
                Level::INFO,
                &format!(
                    "lines are written to the log {} again: {text}",
                    self.path.display()
                ),
            );
        }
        Ok(())
    }

    fn tell_loss(&self, told: Option<String>) {
        if let Some(told) = told {
            self.health.tell(
                Level::ERROR,
                &format!(
                    "lines cannot be written to the log {}: {told}",
                    self.path.display()
                ),
            );
        }
    }
}

impl Write for LogFile {
    /// Takes a line. It never fails: what cannot be written is counted and told.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let now = Instant::now();
        if now >= self.look_at {
            self.look(now);
        }
        self.rotate_when_due();
        if self.buffer.len() + line.len() > WRITE_BUFFER {
            self.write_out();
        }
        self.buffer.extend_from_slice(line);
        self.size = self.size.saturating_add(line.len() as u64);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.write_out();
        }
        Ok(())
    }
}

/// Writes all, or tells how many bytes went before the error.
fn write_whole(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// What two names of one file have in common.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// The name of a rotated file.
fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Renames the file and those before it by one number, up to the first number that is free; at the
/// end of the numbers the oldest goes. When one cannot be renamed, none that is newer is: it would
/// take its place.
fn shift(path: &Path, keep: usize) -> io::Result<()> {
    let mut last = keep;
    for number in 1..=keep {
        let name = rotated(path, number);
        match fs::symlink_metadata(&name) {
            Ok(found) if found.is_file() => {}
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "{} is no regular file",
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

/// Rotation drops only the file it pushes over the end: what an earlier, larger `keep` left is
/// dropped here. A file that will not go is no reason not to start.
fn remove_surplus(dir: &Path, file: &str, keep: usize) {
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

/// The day of the last line of an earlier run. A time stamp from the future must not hold up the
/// next rotation.
pub(super) fn last_day(file: &Metadata, today: NaiveDate) -> NaiveDate {
    file.modified().map_or(today, |time| {
        DateTime::<Local>::from(time).date_naive().min(today)
    })
}

/// Rotates by size and by local day, across restarts too.
///
/// Days only move forward, so a clock set back does not rotate; and dates are compared, never
/// turned into a local midnight, which some time zones do not have on some days.
#[derive(Debug)]
pub(super) struct SizeAndDay {
    max_bytes: u64,
    /// The size at which the next rotation is due.
    due: u64,
    day: NaiveDate,
}

impl SizeAndDay {
    /// For a file whose last line is of this day; 0 bytes are no limit.
    pub(super) fn new(max_bytes: u64, day: NaiveDate) -> Self {
        let max_bytes = if max_bytes == 0 { u64::MAX } else { max_bytes };
        Self {
            max_bytes,
            due: max_bytes,
            day,
        }
    }

    /// Begins anew with another file.
    fn begin(&mut self, day: NaiveDate) {
        *self = Self::new(self.max_bytes, day);
    }

    /// Whether a file of this size is to be rotated now.
    pub(super) fn is_due(&mut self, today: NaiveDate, size: u64) -> bool {
        let new_day = today > self.day && size > 0;
        self.day = self.day.max(today);
        if size < self.max_bytes {
            self.due = self.max_bytes;
        }
        let full = size >= self.due;
        if full {
            // If the renaming fails the file stays large: without this each further line would try
            // again.
            self.due = size.saturating_add(self.max_bytes);
        }
        new_day || full
    }
}
