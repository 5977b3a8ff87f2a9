//! The log file: written, rotated, and opened again when another file has its name.
//!
//! Two invariants: only a file that is open here under its own name is rotated, and only regular
//! files are renamed or removed for it; and every line that is not written is counted and reported.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{Local, NaiveDate};
use tracing::Level;

use super::config::{LogConfig, LogError};
use super::health::Health;
use super::line::LineFormat;
use super::lines::Lines;
use super::losses::TELL_AGAIN;
use super::rotation::{SizeAndDay, last_day, remove_surplus, shift};

/// How often the file's name and the day are checked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The open file, and the state of its rotation.
pub(super) struct LogFile {
    /// What it is, for reports: the log, or something else that is kept in lines.
    what: &'static str,
    path: PathBuf,
    /// How many rotated files are kept; 0 if another program rotates.
    keep: usize,
    file: File,
    identity: (u64, u64),
    /// Length of the file, with the buffer.
    size: u64,
    lines: Lines,
    rotation: SizeAndDay,
    today: NaiveDate,
    look_at: Instant,
    /// The last trouble with the file's name, and when it was reported.
    trouble: Option<(String, Instant)>,
    health: Arc<Health>,
}

impl LogFile {
    /// Opens the file of a log at the start of the process.
    pub(super) fn open(
        dir: &Path,
        config: &LogConfig,
        health: Arc<Health>,
    ) -> Result<Self, LogError> {
        Self::open_as("log", dir, config, health)
    }

    /// Opens the file of what is called `what` in reports.
    pub(super) fn open_as(
        what: &'static str,
        dir: &Path,
        config: &LogConfig,
        health: Arc<Health>,
    ) -> Result<Self, LogError> {
        make_directory(dir).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory if !dir.is_dir() => {
                let path = not_a_directory(dir);
                LogError::NotADirectory { what, path }
            }
            _ => LogError::Directory {
                what,
                dir: dir.to_owned(),
                source,
            },
        })?;
        let path = dir.join(&config.file);
        if config.keep > 0 {
            remove_surplus(dir, &config.file, config.keep);
        }
        let today = Local::now().date_naive();
        let opened = append(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = opened.map_err(|source| LogError::File {
            what,
            path: path.clone(),
            source,
        })?;
        let name = format!("the {what} {}", path.display());
        let format = LineFormat::new(config.format);
        let is_torn = ends_torn(&path, &found);
        let mut log = Self {
            what,
            path,
            keep: config.keep,
            identity: identity(&found),
            size: found.len(),
            file,
            lines: Lines::new(
                name,
                "the disk is slower than lines come",
                format,
                health.clone(),
            ),
            rotation: SizeAndDay::new(config.max_bytes, last_day(&found, today)),
            today,
            look_at: Instant::now() + LOOK_AGAIN,
            trouble: None,
            health,
        };
        if is_torn {
            log.lines.tear();
        }
        log.note_link();
        Ok(log)
    }

    /// Days do not count for the rotation.
    pub(super) fn by_size_only(mut self) -> Self {
        self.rotation.by_size_only();
        self
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
                self.size = found.len().saturating_add(self.lines.waiting() as u64);
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
                let what = self.what;
                tracing::info!(%path, "{what} opened again: its file was moved or deleted");
            }
            Err(error) => {
                let (what, path) = (self.what, self.path.display());
                self.tell_trouble(format!(
                    "the {what} file {path} was moved or deleted and cannot be opened again: {error}; \
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
        self.size = found.len().saturating_add(self.lines.waiting() as u64);
        self.rotation.begin(last_day(&found, self.today));
        self.lines.mend();
        Ok(())
    }

    /// A link is followed, but its target is never renamed.
    fn note_link(&mut self) {
        if self.keep > 0 && !self.is_own() {
            let (what, path) = (self.what, self.path.display());
            self.tell_trouble(format!(
                "the {what} file {path} is not a regular file: it is written without rotation"
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
        self.lines.write_out(&mut self.file);
        if !self.is_own() {
            return self.look_now();
        }
        if let Err(error) = shift(&self.path, self.keep).and_then(|()| self.reopen(None)) {
            let (what, path) = (self.what, self.path.display());
            self.tell_trouble(format!(
                "the {what} file {path} cannot be rotated: {error}; lines go on into it"
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

    /// Writes the lines that wait, and gives whether there were any.
    pub(super) fn write_buffer(&mut self) -> bool {
        self.lines.write_waiting(&mut self.file)
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
        self.lines.add(line, &mut self.file);
        self.size = self.size.saturating_add(line.len() as u64);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_buffer();
        Ok(())
    }
}

/// Creates a directory. Titles and addresses are not for everybody; a program that ships logs is in
/// the group.
fn make_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

/// The first part of a path that is there and is no directory.
fn not_a_directory(path: &Path) -> PathBuf {
    let mut parts: Vec<_> = path.ancestors().collect();
    parts.reverse();
    let found = parts
        .into_iter()
        .find(|part| part.exists() && !part.is_dir());
    found.unwrap_or(path).to_owned()
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o640).open(path)
}

/// Whether the file ends with half a line, such as a loss of power leaves.
fn ends_torn(path: &Path, found: &Metadata) -> bool {
    let last = || {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::End(-1)).ok()?;
        let mut last = [0];
        file.read_exact(&mut last).ok()?;
        Some(last)
    };
    found.is_file() && found.len() > 0 && last().is_some_and(|last| last != *b"\n")
}

/// Device and inode.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
