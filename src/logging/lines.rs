//! Lines on their way out, whatever takes them: written many at once, and those that are lost are
//! counted and reported.
//!
//! Invariant: a line that was written in part is ended before the next one begins.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use super::health::Health;
use super::line::{self, LineFormat};
use super::losses::Losses;

/// Bytes of lines that are written at once.
const WRITE_BUFFER: usize = 64 * 1024;

/// How long the thread that writes lines rests before it looks for more: so it writes many at once,
/// and whoever logs does not have to wake it for each. Far less than it takes to fill the queue.
pub(super) const REST: Duration = Duration::from_millis(20);

/// The lines that wait to be written, and what became of those before.
pub(super) struct Lines {
    /// What takes them, as reports name it.
    to: String,
    /// What is too slow when the queue before this is full.
    slow: &'static str,
    format: LineFormat,
    buffer: Vec<u8>,
    losses: Losses,
    /// How many of the lines lost to a full queue were counted here.
    overflowed: usize,
    health: Arc<Health>,
}

impl Lines {
    pub(super) fn new(
        to: String,
        slow: &'static str,
        format: LineFormat,
        health: Arc<Health>,
    ) -> Self {
        Self {
            to,
            slow,
            format,
            buffer: Vec::with_capacity(WRITE_BUFFER),
            losses: Losses::default(),
            overflowed: 0,
            health,
        }
    }

    pub(super) fn format(&self) -> LineFormat {
        self.format
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The sink ends with half a line, which somebody else has left.
    pub(super) fn tear(&mut self) {
        self.losses.tear();
    }

    /// Another sink takes the lines from now on.
    pub(super) fn mend(&mut self) {
        self.losses.mend();
    }

    /// Takes a line, and writes those before it if there are many.
    pub(super) fn add(&mut self, line: &[u8], sink: &mut impl Write) {
        if self.buffer.len() + line.len() > WRITE_BUFFER {
            self.write_out(sink);
        }
        self.buffer.extend_from_slice(line);
    }

    /// Writes what waits, and gives whether there was something.
    pub(super) fn write_waiting(&mut self, sink: &mut impl Write) -> bool {
        let has_lines = !self.buffer.is_empty();
        if has_lines {
            self.write_out(sink);
        }
        has_lines
    }

    /// Writes the buffer, and before it a line about lost lines. Lines that cannot be written are
    /// lost.
    pub(super) fn write_out(&mut self, sink: &mut impl Write) {
        let now = Instant::now();
        let overflowed = self.health.overflowed();
        if let Some(lost) = overflowed
            .checked_sub(self.overflowed)
            .filter(|lost| *lost > 0)
        {
            self.overflowed = overflowed;
            let told = self.losses.lost(lost, &self.slow, now, SystemTime::now());
            self.tell_loss(told);
        }
        let written = match self.write_head(now, sink) {
            Ok(()) => write_whole(sink, &self.buffer),
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
    fn write_head(&mut self, now: Instant, sink: &mut impl Write) -> io::Result<()> {
        let loss = self
            .losses
            .to_write(now)
            .map(|loss| line::own_line(self.format, Level::WARN, &loss));
        let torn = if self.losses.is_torn() { "\n" } else { "" };
        let head = format!("{torn}{}", loss.as_deref().unwrap_or_default());
        if let Err((done, error)) = write_whole(sink, head.as_bytes()) {
            if done > torn.len() {
                self.losses.tear();
            }
            return Err(error);
        }
        self.losses.mend();
        if loss.is_some()
            && let Some(text) = self.losses.end(now)
        {
            let text = format!("lines are written to {} again: {text}", self.to);
            self.health.tell(Level::INFO, &text);
        }
        Ok(())
    }

    fn tell_loss(&self, told: Option<String>) {
        if let Some(told) = told {
            let text = format!("lines cannot be written to {}: {told}", self.to);
            self.health.tell(Level::ERROR, &text);
        }
    }
}

/// Writes all bytes. The error has how many were written before it.
fn write_whole(sink: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match sink.write(rest) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}
