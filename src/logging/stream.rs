//! The log on standard output, and what is known of the streams that the process was given.
//!
//! Invariant: only the log's own thread waits for the reader of the stream. Nothing of the standard
//! library's standard output is locked meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use super::config::{LogError, LogFormat};
use super::health::Health;
use super::line::LineFormat;
use super::lines::{Lines, REST};

/// Names the stream by which systemd's journal takes a process's output, as `DEVICE:INODE`.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// The log on standard output.
pub(super) struct LogStream {
    stream: Patient,
    lines: Lines,
}

impl LogStream {
    pub(super) fn open(format: LogFormat, health: Arc<Health>) -> Result<Self, LogError> {
        // A handle of its own: whoever else writes to standard output must not wait with the log.
        let stream = io::stdout().as_fd().try_clone_to_owned();
        let stream = stream.map_err(LogError::Stdout)?;
        let format = LineFormat::new(format).to_journal(is_journal(&stream));
        Ok(Self {
            stream: Patient(File::from(stream)),
            lines: Lines::new(
                "standard output".to_owned(),
                "its reader is slower than lines come",
                format,
                health,
            ),
        })
    }

    /// How a line looks there.
    pub(super) fn format(&self) -> LineFormat {
        self.lines.format()
    }
}

impl Write for LogStream {
    /// Takes a line. Never fails: lines that cannot be written are counted and reported.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, &mut self.stream);
        Ok(line.len())
    }

    /// Called when the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        if self.lines.write_waiting(&mut self.stream) {
            thread::sleep(REST);
        }
        Ok(())
    }
}

/// Waits where a stream would block that another process made non-blocking: a terminal, or a pipe
/// that several share.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether systemd's journal reads this stream: it keeps the time of a line by itself, and knows
/// its level by a mark before it.
pub(super) fn is_journal(stream: impl AsFd) -> bool {
    let Some(journal) = std::env::var(JOURNAL_STREAM).ok() else {
        return false;
    };
    rustix::fs::fstat(stream)
        .is_ok_and(|found| journal == format!("{}:{}", found.st_dev, found.st_ino))
}
