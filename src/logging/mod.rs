//! The program's log: where lines go, how they look, and when their file is rotated.
//!
//! Owns the `tracing` subscriber. Two invariants: a value can never forge, split or hide a line,
//! whatever bytes a title holds; and a line never makes its writer wait. Lines go through a bounded
//! queue to a thread of their own. When that queue is full, because the disk stalls, lines are lost
//! and counted instead of delaying the data path, and the loss is reported at once.

mod config;
mod data;
mod file;
#[cfg(test)]
mod file_tests;
mod health;
mod line;
mod lines;
mod losses;
mod queue;
mod rotation;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{Destination, LogConfig, LogError, LogFormat};
pub use data::DataFile;
pub use line::LineFormat;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use file::LogFile;
use health::Health;
use lines::REST;
use queue::{Queue, queued};
use stream::{LogStream, is_journal};

/// The health of this process's log, for the metrics.
static OF_PROCESS: OnceLock<Arc<Health>> = OnceLock::new();

/// The target of lines about who was let in and who was not. They are written whatever the level is,
/// and go to the audit file, too, if there is one.
pub const AUDIT: &str = "audit";

/// Keeps the log's threads alive. Dropping it writes the waiting lines, for at most a second per
/// destination, and reports lost lines on stderr. Hold it to the end of `main`;
/// `std::process::exit` skips it.
#[must_use = "dropping the guard ends the log"]
#[derive(Debug)]
pub struct LogGuard {
    main: Option<WorkerGuard>,
    audit: Option<WorkerGuard>,
    stderr: Option<WorkerGuard>,
    names: LogNames,
    health: Arc<Health>,
    level: LogLevel,
}

/// Opens the log file by its name again, after another program moved it. Cheap to clone.
#[derive(Clone)]
pub struct LogNames(Vec<Arc<Mutex<LogFile>>>);

impl LogNames {
    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Continues in the files that have the log's names now. Blocks on the disk.
    pub fn reopen(&self) {
        for file in &self.0 {
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .look_now();
        }
    }
}

impl fmt::Debug for LogNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogNames").finish_non_exhaustive()
    }
}

/// The sink of the thread behind the queue.
struct SharedFile(Arc<Mutex<LogFile>>);

impl Write for SharedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(line)
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        let has_written = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_buffer();
        if has_written {
            thread::sleep(REST);
        }
        Ok(())
    }
}

/// How many lines this process's log has lost; `None` if it has no log.
pub fn lost_lines() -> Option<usize> {
    OF_PROCESS.get().map(|health| health.lost_lines())
}

/// Changes the log level while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Logs from now on at this level, or by these directives. After an error nothing has changed.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        // It fails only when the log has ended; then the level no longer matters.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

impl LogGuard {
    /// How many lines the log has lost: the queue was full, or a write failed.
    pub fn lost_lines(&self) -> usize {
        self.health.lost_lines()
    }

    /// The handle that changes the level.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// The handle that opens the file again.
    pub fn names(&self) -> LogNames {
        self.names.clone()
    }

    /// Reports to `listener`, too, when lines are lost or the file cannot be opened or rotated, and
    /// when that is over: at once, at a bounded rate, from the log's own thread.
    pub fn listen(&self, listener: impl Fn(Level, &str) + Send + Sync + 'static) {
        self.health.listen(Box::new(listener));
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        drop(self.stderr.take());
        drop(self.audit.take());
        drop(self.main.take());
        let lost = self.lost_lines();
        if lost > 0 {
            // Not `eprintln!`: it panics when stderr is closed.
            let _ = writeln!(
                io::stderr(),
                "warning: {} lost: what takes them was too slow, full or failing",
                crate::numbers::plural(lost, "log line was", "log lines were")
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

/// Builds the subscriber that [`init`] installs, for a caller that wants it for one thread or
/// scope.
pub fn subscriber(
    config: &LogConfig,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogGuard), LogError> {
    let filter = parse_level(&config.level)?;
    let health = Arc::new(Health::default());
    let Opened { main, audit, names } = open(config, &health)?;
    let stderr = config
        .also_stderr
        // Whoever keeps standard output keeps standard error: each line once.
        .filter(|_| config.to != Destination::Stdout)
        .map(|level| (level, queued("log-stderr", Deaf(io::stderr()))));
    let (stderr_layer, stderr) = stderr
        .map(|(level, (writer, worker))| {
            let lines = layer()
                .event_format(LineFormat::new(config.format).to_journal(is_journal(io::stderr())))
                .with_ansi(stderr_takes_colour())
                .with_writer(writer);
            (lines.with_filter(LevelFilter::from_level(level)), worker)
        })
        .unzip();
    let (main_layer, main) = main
        .map(|(format, (writer, worker))| {
            health.count(writer.lost());
            let lines = layer()
                .event_format(format)
                .with_ansi(false)
                .with_writer(writer);
            (lines, worker)
        })
        .unzip();
    let (audit_layer, audit) = audit
        .map(|(writer, worker)| {
            let lines = layer()
                .event_format(LineFormat::new(LogFormat::Json))
                .with_ansi(false)
                .with_writer(writer);
            let is_audit = filter_fn(|event| event.target() == AUDIT);
            (lines.with_filter(is_audit), worker)
        })
        .unzip();
    let (filter, level) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(main_layer)
        .with(audit_layer)
        .with(stderr_layer);
    Ok((
        subscriber,
        LogGuard {
            main,
            audit,
            stderr,
            names: LogNames(names),
            health,
            level: LogLevel(level),
        },
    ))
}

/// A queue, and the thread that empties it.
type Sink = (Queue, WorkerGuard);

/// What takes the lines.
struct Opened {
    /// For all lines, in this format.
    main: Option<(LineFormat, Sink)>,
    audit: Option<Sink>,
    names: Vec<Arc<Mutex<LogFile>>>,
}

/// Opens the log, and the audit file beside it.
fn open(config: &LogConfig, health: &Arc<Health>) -> Result<Opened, LogError> {
    let mut opened = Opened {
        main: None,
        audit: None,
        names: Vec::new(),
    };
    match &config.to {
        Destination::Directory(dir) => {
            let file = LogFile::open(dir, config, health.clone())?;
            let file = Arc::new(Mutex::new(file));
            opened.names.push(file.clone());
            let audit = config
                .audit
                .as_ref()
                .map(|name| audit_file(dir, config, name));
            if let Some(audit) = audit.transpose()? {
                opened.names.push(audit.clone());
                opened.audit = Some(queued("log-audit", SharedFile(audit)));
            }
            let format = LineFormat::new(config.format);
            opened.main = Some((format, queued("log-file", SharedFile(file))));
        }
        Destination::Stdout => {
            let stream = LogStream::open(config.format, health.clone())?;
            opened.main = Some((stream.format(), queued("log-stdout", stream)));
        }
        Destination::Nowhere => {}
    }
    Ok(opened)
}

/// Opens the audit file: a log of its own beside the log.
fn audit_file(dir: &Path, config: &LogConfig, name: &str) -> Result<Arc<Mutex<LogFile>>, LogError> {
    let config = LogConfig {
        file: name.to_owned(),
        format: LogFormat::Json,
        ..config.clone()
    };
    let file = LogFile::open(dir, &config, Arc::new(Health::default()))?;
    Ok(Arc::new(Mutex::new(file)))
}

/// Checks a level or directives as [`init`] does.
pub fn check_level(level: &str) -> Result<(), LogError> {
    parse_level(level).map(drop)
}

/// Stricter than `EnvFilter`, which takes any bare word for the name of a target: a misspelt level
/// would silence the log unnoticed.
fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    let refused = || LogError::Level(level.to_owned());
    let known = |part: &str| {
        !part.is_empty() && (part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok())
    };
    if level.split(',').all(known) {
        let filter = EnvFilter::try_new(level).map_err(|_| refused())?;
        let always = format!("{AUDIT}=info").parse().map_err(|_| refused())?;
        Ok(filter.add_directive(always))
    } else {
        Err(refused())
    }
}

/// Swallows errors: stderr may be closed, and the thread behind the queue would not end cleanly on
/// an error.
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
