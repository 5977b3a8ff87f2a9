//! Configuration of the log, and why it is refused.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::Level;

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Into a file of this directory, which is created if it is missing; the file is rotated.
    Directory(PathBuf),
    /// To standard output: whoever started the process keeps them.
    Stdout,
    /// Nowhere.
    Nowhere,
}

impl Destination {
    /// What stands for standard output in the place of a directory.
    pub const STDOUT: &str = "-";

    /// What stands for no log in the place of a directory.
    pub const NOWHERE: &str = "none";
}

impl From<&Path> for Destination {
    /// A directory that has one of the two words as its name is written with `./` before it.
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(Self::STDOUT) => Self::Stdout,
            Some(Self::NOWHERE) => Self::Nowhere,
            _ => Self::Directory(path.to_owned()),
        }
    }
}

/// Configuration of the log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Where the lines go.
    pub to: Destination,
    /// The name of the current file, e.g. `balancer.log`. Rotated ones are `balancer.log.1` (the
    /// newest), `.2` …
    pub file: String,
    /// The file is rotated once it has grown to this many bytes; 0 means by day only.
    pub max_bytes: u64,
    /// How many rotated files are kept. 0: another program, such as logrotate, rotates.
    pub keep: usize,
    /// Format of the lines.
    pub format: LogFormat,
    /// A level, or directives such as `info,bilico::queue=debug`.
    pub level: String,
    /// Lines at this level and above also go to stderr.
    pub also_stderr: Option<Level>,
    /// The name of another file, for what is told about who was let in ([`AUDIT`]): JSON lines, at
    /// every level of the log. Without a directory there is none.
    ///
    /// [`AUDIT`]: super::AUDIT
    pub audit: Option<String>,
}

impl Default for LogConfig {
    /// `logs/bilico.log` at `info`, 64 MiB a file, 8 rotated ones kept, nothing on stderr.
    fn default() -> Self {
        Self {
            to: Destination::Directory(PathBuf::from("logs")),
            file: "bilico.log".to_owned(),
            max_bytes: 64 << 20,
            keep: 8,
            format: LogFormat::Human,
            level: "info".to_owned(),
            also_stderr: None,
            audit: None,
        }
    }
}

/// Format of a line: one event per line, the time in UTC, no spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `2026-11-21T06:27:00.123Z INFO  message key=value key="a value"`
    #[default]
    Human,
    /// One JSON object a line: `time`, `level`, `message`, then the fields. Numbers stay numbers.
    Json,
}

/// Why the log cannot be set up. All are permanent until somebody changes something.
#[derive(Debug, Error)]
pub enum LogError {
    /// The name belongs to something else, such as a file or a device.
    #[error("the {what} directory {} is not a directory", path.display())]
    NotADirectory {
        /// What is kept in lines: the log, or something else.
        what: &'static str,
        /// The name.
        path: PathBuf,
    },
    /// The directory cannot be created.
    #[error("cannot create the {what} directory {}: {source}", dir.display())]
    Directory {
        /// What is kept in lines.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file cannot be opened for appending.
    #[error("cannot open the {what} file {}: {source}", path.display())]
    File {
        /// What is kept in lines.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Standard output cannot be used.
    #[error("cannot log to standard output: {0}")]
    Stdout(io::Error),
    /// Neither a level nor valid directives.
    #[error(
        "invalid log level {0:?}: expected error, warn, info, debug, trace or off, or directives, \
         e.g. info,bilico::queue=debug"
    )]
    Level(String),
    /// The process has set up its log before.
    #[error("logging is set up already")]
    AlreadySet,
}
