//! The log file: written, rotated, and opened again when another file has its name.
//!
//! Two invariants: only a file that is open here under its own name is rotated, and only regular
//! files are renamed or removed for it; and every line that is not written is counted and reported.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{Local, NaiveDate};
use tracing::Level;

use super::config::{LogConfig, LogError, LogFormat};
use super::health::Health;
use super::line;
use super::losses::{Losses, TELL_AGAIN};
use super::rotation::{SizeAndDay, last_day, remove_surplus, shift};

/// Size of the write buffer, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;

/// How often the file's name and the day are checked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The open file, and the state of its rotation.
pub(super) struct LogFile {
    path: PathBuf,
    /// How many rotated files are kept; 0 if another program rotates.
    keep: usize,
    format: LogFormat,
    file: File,
    identity: (u64, u64),
    /// Length of the file, with the buffer.
    size: u64,
    buffer: Vec<u8>,
    rotation: SizeAndDay,
    today: NaiveDate,
    look_at: Instant,
    losses: Losses,
    /// How many of the lines lost to a full queue were counted here.
    overflowed: usize,
    /// The last trouble with the file's name, and when it was reported.
    trouble: Option<(String, Instant)>,
    health: Arc<Health>,
}

impl LogFile {
    /// Opens the file at the start of the process.
    pub(super) fn open(config: &LogConfig, health: Arc<Health>) -> Result<Self, LogError> {
        let dir = &config.dir;
        make_directory(dir).map_err(|source| LogError::Directory {
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

    /// Checks now whether another file has the name.
    pub(super) fn look_now(&mut self) {
        self.look(Instant::now());
    }

    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOK_AGAIN;
        self.today = Local::now().date_naive();
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => {
                // The file may have been truncated.
                self.size = found.len().saturating_add(self.buffer.len() as u64);
            }
            Ok(found) => self.change_file(Some(&found)),
            Err(_) => self.change_file(None),
        }
    }

    /// Continues in the file that has the name now; the buffer goes there, too.
    fn change_file(&mut self, found: Option<&Metadata>) {
        match self.reopen(found) {
            Ok(()) => {
                self.trouble = None;
                self.note_link();
                let path = self.path.display();
                tracing::info!(%path, "log opened again: its file was moved or deleted");
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
            // Opening a pipe blocks until it has a reader.
            return Err(io::Error::other(
                "its name now belongs to something that is not a regular file",
            ));
        }
        if let Some(dir) = self.path.parent() {
            make_directory(dir)?;
        }
        let file = append(&self.path)?;
        let found = file.metadata()?;
        (self.file, self.identity) = (file, identity(&found));
        self.size = found.len().saturating_add(self.buffer.len() as u64);
        self.rotation.begin(last_day(&found, self.today));
        self.losses.mend();
        Ok(())
    }

    /// A link is followed, but its target is never renamed.
    fn note_link(&mut self) {
        if self.keep > 0 && !self.is_own() {
            let path = self.path.display();
            self.tell_trouble(format!(
                "the log file {path} is not a regular file: it is written without rotation"
            ));
        }
    }

    /// Whether the name is the open file's own, not a link to it.
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

    /// Reports a trouble at once, and the same one again after [`TELL_AGAIN`].
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

    /// Writes the buffer if there is something in it, and gives whether there was.
    pub(super) fn write_buffer(&mut self) -> bool {
        let has_lines = !self.buffer.is_empty();
        if has_lines {
            self.write_out();
        }
        has_lines
    }

    /// Writes the buffer, and before it a line about lost lines. Lines that cannot be written are
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
            self.health.failed(lost);
            if done > 0 && self.buffer.get(done - 1) != Some(&b'\n') {
                self.losses.tear();
            }
            let told = self.losses.lost(lost, &error, now, SystemTime::now());
            self.tell_loss(told);
        }
        self.buffer.clear();
    }

    /// Ends a line that was written in part, and writes how many lines were lost if the loss seems
    /// to be over.
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
    /// Takes a line. Never fails: lines that cannot be written are counted and reported.
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
        self.write_buffer();
        Ok(())
    }
}

/// Writes all bytes. The error has how many were written before it.
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

/// Creates a directory. Titles and addresses are not for everybody; a program that ships logs is in
/// the group.
fn make_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o640).open(path)
}

/// Device and inode.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
