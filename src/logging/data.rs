//! A file of lines that is no log and is kept like one.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tracing::Level;

use super::config::{Destination, LogConfig, LogError, LogFormat};
use super::file::LogFile;
use super::health::Health;

/// A file of lines of JSON: written at once by whoever has it, rotated by size, opened again when it
/// was moved, and never an obstacle. Lines that cannot be written are lost, and counted; one line
/// with a `message` says so in the file once it can be written again.
pub struct DataFile {
    file: LogFile,
    pub(super) health: Arc<Health>,
}

impl fmt::Debug for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFile")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl DataFile {
    /// Opens a file in a directory, which is made if it is missing. Rotated files are called as those
    /// of a log. `what` it is called in reports, which `listener` gets: when lines are lost or the
    /// file cannot be opened or rotated, and, at [`Level::INFO`], when that is over.
    pub fn open(
        what: &'static str,
        dir: &Path,
        file: &str,
        (max_bytes, keep): (u64, usize),
        listener: impl Fn(Level, &str) + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        let config = LogConfig {
            to: Destination::Directory(dir.to_owned()),
            file: file.to_owned(),
            max_bytes,
            keep,
            format: LogFormat::Json,
            ..LogConfig::default()
        };
        let health = Arc::new(Health::of(Box::new(listener)));
        let file = LogFile::open_as(what, dir, &config, health.clone())?.by_size_only();
        Ok(Self { file, health })
    }

    /// Writes lines, each with its end.
    pub fn write<'a>(&mut self, lines: impl IntoIterator<Item = &'a [u8]>) {
        for line in lines {
            // It never fails: what cannot be written is counted.
            let _ = self.file.write(line);
        }
        let _ = self.file.flush();
    }
}
