//! The program's log: where lines go, how they look, and when their file is rotated.
//!
//! Owns the `tracing` subscriber. What is worth a line, and at which level, is for the code that logs. Two
//! invariants: a value can never forge, split or hide a line, whatever bytes a title holds; and a line never makes
//! its writer wait. Lines go through a bounded queue to a thread of their own. When that queue is full, because the
//! disk stalls, lines are lost and counted rather than the data path held up.

mod line;
#[cfg(test)]
mod tests;

pub use line::LineFormat;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Local, NaiveDate};
use rolling_file::{RollingCondition, RollingFileAppender};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Lines that may wait for the disk: some 8 MiB of ordinary ones. More are lost and counted.
const QUEUED_LINES: usize = 32_768;

/// What the file's thread gathers before it writes, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;

/// Where the log goes and what it holds.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The directory of the log; created if it is missing.
    pub dir: PathBuf,
    /// The name of the current file, e.g. `balancer.log`. Rotated ones are `balancer.log.1` (the newest), `.2` …
    pub file: String,
    /// The file is rotated once it has grown to this many bytes; 0 means by day only.
    pub max_bytes: u64,
    /// How many rotated files are kept; at least one is.
    pub keep: usize,
    /// How lines look.
    pub format: LogFormat,
    /// A level, or directives such as `info,bilico::queue=debug`.
    pub level: String,
    /// Lines at this level and worse go to stderr too.
    pub also_stderr: Option<Level>,
}

impl Default for LogConfig {
    /// `logs/bilico.log` at `info`, 64 MiB a file, 8 rotated ones kept, nothing on stderr.
    fn default() -> Self {
        Self {
            dir: PathBuf::from("logs"),
            file: "bilico.log".to_owned(),
            max_bytes: 64 << 20,
            keep: 8,
            format: LogFormat::Human,
            level: "info".to_owned(),
            also_stderr: None,
        }
    }
}

/// How a line looks. Both forms print one event a line, the time in UTC, and no spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-11-21T06:27:00.123Z INFO  message key=value key="a value"`
    #[default]
    Human,
    /// One JSON object a line: `time`, `level`, `message`, then the fields. Numbers stay numbers.
    Json,
}

/// Why the log could not be set up. Each needs a person to change something first.
#[derive(Debug, Error)]
pub enum LogError {
    /// The directory could not be made.
    #[error("cannot create the log directory {}: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be opened for appending.
    #[error("cannot open the log file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The level is none, and no directive either.
    #[error("`{0}` is no log level; write error, warn, info, debug, trace or off, or e.g. info,bilico::queue=debug")]
    Level(String),
    /// This process logs already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Keeps the log's threads alive. Dropping it writes out what still waits, for a second at most a destination, and
/// tells stderr how many lines were lost. Hold it to the end of `main`; `std::process::exit` skips it.
#[must_use = "dropping the guard ends the log"]
#[derive(Debug)]
pub struct LogGuard {
    file: Destination,
    stderr: Option<Destination>,
    level: LogLevel,
}

/// What is logged, for whoever may change it while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Logs from now on at this level, or by these directives; after an error as before.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        // It fails only when the log has ended, and then there is nothing to be logged.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

impl LogGuard {
    /// How many lines the file has lost: the queue was full, or the write failed.
    pub fn lost_lines(&self) -> usize {
        self.file.lost_lines()
    }

    /// What is logged, to change it.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        drop(self.stderr.take());
        self.file.worker.take();
        let lost = self.lost_lines();
        if lost > 0 {
            // A closed stderr is no reason to panic on the way out.
            let _ =
                writeln!(io::stderr(), "warning: {lost} log lines were lost: the disk was too slow, full or failing");
        }
    }
}

/// Sets up logging for the whole process.
pub fn init(config: &LogConfig) -> Result<LogGuard, LogError> {
    let (subscriber, guard) = subscriber(config)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(guard)
}

/// Builds what [`init`] installs, for a caller that wants it for one thread or one scope.
pub fn subscriber(config: &LogConfig) -> Result<(impl Subscriber + Send + Sync + use<>, LogGuard), LogError> {
    let filter = parse_level(&config.level)?;
    let format = LineFormat(config.format);
    let (file_writer, file) = Destination::start("log-file", open(config)?);
    let stderr = config.also_stderr.map(|level| (level, Destination::start("log-stderr", io::stderr())));
    let (stderr_layer, stderr) = stderr
        .map(|(level, (writer, destination))| {
            let lines = layer().event_format(format).with_ansi(stderr_takes_colour()).with_writer(writer);
            (lines.with_filter(LevelFilter::from_level(level)), destination)
        })
        .unzip();
    let file_layer = layer().event_format(format).with_ansi(false).with_writer(file_writer);
    let (filter, level) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry().with(filter).with(file_layer).with(stderr_layer);
    Ok((subscriber, LogGuard { file, stderr, level: LogLevel(level) }))
}

/// Checks a level or directives as [`init`] will.
pub fn check_level(level: &str) -> Result<(), LogError> {
    parse_level(level).map(drop)
}

/// `EnvFilter` takes any bare word for the name of a target, so a misspelt level would silence the log unnoticed.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level(level.to_owned());
    let known = |part: &str| !part.is_empty() && (part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok());
    if level.split(',').all(known) { EnvFilter::try_new(level).map_err(|_| refused()) } else { Err(refused()) }
}

fn open(config: &LogConfig) -> Result<RollingFileAppender<SizeAndDay>, LogError> {
    let dir = &config.dir;
    fs::create_dir_all(dir).map_err(|source| LogError::Directory { dir: dir.clone(), source })?;
    let keep = config.keep.max(1);
    let path = dir.join(&config.file);
    remove_surplus(dir, &config.file, keep);
    let condition = SizeAndDay::new(config.max_bytes, last_day(&path, Local::now().date_naive()));
    RollingFileAppender::new_with_buffer_capacity(&path, condition, keep, WRITE_BUFFER)
        .map_err(|source| LogError::File { path, source })
}

/// Rotation drops only the file it pushes over the end: what an earlier, larger `keep` left is dropped here.
/// A file that will not go is no reason not to start.
fn remove_surplus(dir: &Path, file: &str, keep: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(file)?.strip_prefix('.')?.parse::<usize>().ok());
        if number.is_some_and(|number| number > keep) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The day of the last line of an earlier run. A time stamp from the future must not hold up the next rotation.
fn last_day(path: &Path, today: NaiveDate) -> NaiveDate {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    modified.map_or(today, |time| DateTime::<Local>::from(time).date_naive().min(today))
}

/// Rotates by size and by local day, across restarts too.
///
/// Days only move forward, so a clock set back does not rotate; and dates are compared, never turned into a local
/// midnight, which some time zones do not have on some days.
#[derive(Debug)]
struct SizeAndDay {
    max_bytes: u64,
    /// The size at which the next rotation is due.
    due: u64,
    day: NaiveDate,
}

impl SizeAndDay {
    fn new(max_bytes: u64, day: NaiveDate) -> Self {
        let max_bytes = if max_bytes == 0 { u64::MAX } else { max_bytes };
        Self { max_bytes, due: max_bytes, day }
    }
}

impl RollingCondition for SizeAndDay {
    fn should_rollover(&mut self, now: &DateTime<Local>, size: u64) -> bool {
        let today = now.date_naive();
        let new_day = today > self.day && size > 0;
        self.day = self.day.max(today);
        if size < self.max_bytes {
            self.due = self.max_bytes;
        }
        let full = size >= self.due;
        if full {
            // If the renaming fails the file stays large: without this each further line would try again.
            self.due = size.saturating_add(self.max_bytes);
        }
        new_day || full
    }
}

/// A queue, the thread that empties it, and what was lost on the way.
#[derive(Debug)]
struct Destination {
    worker: Option<WorkerGuard>,
    overflowed: ErrorCounter,
    failed: Arc<AtomicUsize>,
}

impl Destination {
    fn start(thread: &str, sink: impl Write + Send + 'static) -> (NonBlocking, Self) {
        let failed = Arc::new(AtomicUsize::new(0));
        let counting = CountFailures { sink, failed: Arc::clone(&failed) };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES);
        let (writer, worker) = builder.thread_name(thread).finish(counting);
        let overflowed = writer.error_counter();
        (writer, Self { worker: Some(worker), overflowed, failed })
    }

    fn lost_lines(&self) -> usize {
        self.overflowed.dropped_lines().saturating_add(self.failed.load(Ordering::Relaxed))
    }
}

/// Counts the writes that fail. The thread behind the queue would swallow the errors, and not end cleanly on them.
struct CountFailures<W> {
    sink: W,
    failed: Arc<AtomicUsize>,
}

impl<W: Write> Write for CountFailures<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sink.write_all(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.sink.flush().is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn stderr_takes_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}
