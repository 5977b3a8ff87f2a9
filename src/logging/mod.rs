//! The program's log: where lines go, how they look, and when their file is rotated.
//!
//! Owns the `tracing` subscriber. What is worth a line, and at which level, is for the code that
//! logs. Two invariants: a value can never forge, split or hide a line, whatever bytes a title
//! holds; and a line never makes its writer wait. Lines go through a bounded queue to a thread of
//! their own. When that queue is full, because the disk stalls, lines are lost and counted rather
//! than the data path held up, and the loss is told at once.

mod file;
#[cfg(test)]
mod file_tests;
mod line;
mod losses;
#[cfg(test)]
mod tests;

pub use line::LineFormat;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use file::{Health, LogFile};

/// Lines that may wait for the disk: some 8 MiB of ordinary ones. More are lost and counted.
const QUEUED_LINES: usize = 32_768;

/// How this process's log does, for the metrics.
static OF_PROCESS: OnceLock<Arc<Health>> = OnceLock::new();

/// Where the log goes and what it holds.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The directory of the log; created if it is missing.
    pub dir: PathBuf,
    /// The name of the current file, e.g. `balancer.log`. Rotated ones are `balancer.log.1` (the
    /// newest), `.2` …
    pub file: String,
    /// The file is rotated once it has grown to this many bytes; 0 means by day only.
    pub max_bytes: u64,
    /// How many rotated files are kept; with 0 nothing is rotated: another program does it.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    #[error(
        "`{0}` is no log level; write error, warn, info, debug, trace or off, or e.g. info,bilico::queue=debug"
    )]
    Level(String),
    /// This process logs already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Keeps the log's threads alive. Dropping it writes out what still waits, for a second at most a
/// destination, and tells stderr how many lines were lost. Hold it to the end of `main`;
/// `std::process::exit` skips it.
#[must_use = "dropping the guard ends the log"]
#[derive(Debug)]
pub struct LogGuard {
    file: Option<WorkerGuard>,
    stderr: Option<WorkerGuard>,
    names: LogNames,
    health: Arc<Health>,
    level: LogLevel,
}

/// The log's file by its name, for whoever hears that it was moved. Cheap to clone.
#[derive(Clone)]
pub struct LogNames(Arc<Mutex<LogFile>>);

impl LogNames {
    /// Goes on in the file that the log's name leads to now. It waits for the disk.
    pub fn reopen(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look_now();
    }
}

impl fmt::Debug for LogNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogNames").finish_non_exhaustive()
    }
}

/// What the thread behind the queue writes to.
struct SharedFile(Arc<Mutex<LogFile>>);

impl Write for SharedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}

/// How many lines this process's log has lost; `None` if it has no log.
pub fn lost_lines() -> Option<usize> {
    OF_PROCESS.get().map(|health| health.lost_lines())
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
        self.health.lost_lines()
    }

    /// What is logged, to change it.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// The log's file, to open it again.
    pub fn names(&self) -> LogNames {
        self.names.clone()
    }

    /// Tells `listener`, too, when lines are lost or the file cannot be opened or rotated, and when
    /// that is over: at once, at a bounded rate, from the log's own thread.
    pub fn listen(&self, listener: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.health.listen(Box::new(listener));
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        drop(self.stderr.take());
        drop(self.file.take());
        let lost = self.lost_lines();
        if lost > 0 {
            // A closed stderr is no reason to panic on the way out.
            let _ = writeln!(
                io::stderr(),
                "warning: {lost} log lines were lost: the disk was too slow, full or failing"
            );
        }
    }
}

/// Sets up logging for the whole process.
pub fn init(config: &LogConfig) -> Result<LogGuard, LogError> {
    let (subscriber, guard) = subscriber(config)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    let _ = OF_PROCESS.set(guard.health.clone());
    Ok(guard)
}

/// Builds what [`init`] installs, for a caller that wants it for one thread or one scope.
pub fn subscriber(
    config: &LogConfig,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogGuard), LogError> {
    let filter = parse_level(&config.level)?;
    let format = LineFormat(config.format);
    let health = Arc::new(Health::default());
    let file = Arc::new(Mutex::new(LogFile::open(config, health.clone())?));
    let names = LogNames(file.clone());
    let (file_writer, file) = queued("log-file", SharedFile(file));
    health.count(file_writer.error_counter());
    let stderr = config
        .also_stderr
        .map(|level| (level, queued("log-stderr", Deaf(io::stderr()))));
    let (stderr_layer, stderr) = stderr
        .map(|(level, (writer, worker))| {
            let lines = layer()
                .event_format(format)
                .with_ansi(stderr_takes_colour())
                .with_writer(writer);
            (lines.with_filter(LevelFilter::from_level(level)), worker)
        })
        .unzip();
    let file_layer = layer()
        .event_format(format)
        .with_ansi(false)
        .with_writer(file_writer);
    let (filter, level) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(file_layer)
        .with(stderr_layer);
    Ok((
        subscriber,
        LogGuard {
            file: Some(file),
            stderr,
            names,
            health,
            level: LogLevel(level),
        },
    ))
}

/// Checks a level or directives as [`init`] will.
pub fn check_level(level: &str) -> Result<(), LogError> {
    parse_level(level).map(drop)
}

/// `EnvFilter` takes any bare word for the name of a target, so a misspelt level would silence the
/// log unnoticed.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level(level.to_owned());
    let known = |part: &str| {
        !part.is_empty() && (part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok())
    };
    if level.split(',').all(known) {
        EnvFilter::try_new(level).map_err(|_| refused())
    } else {
        Err(refused())
    }
}

/// A queue, and the thread that empties it.
fn queued(thread: &str, sink: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES);
    builder.thread_name(thread).finish(sink)
}

/// Swallows errors, on which the thread behind the queue would not end cleanly: nobody need read
/// stderr.
struct Deaf<W>(W);

impl<W: Write> Write for Deaf<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

fn stderr_takes_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}
