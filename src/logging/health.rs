//! Counts lost lines, and reports troubles of the log.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::Level;

use crate::text::Printable;

/// Receives reports about troubles of the log, in addition to standard error.
pub(super) type Listener = Box<dyn Fn(Level, &str) + Send + Sync>;

/// State that the log's writer shares with the metrics.
#[derive(Default)]
pub(super) struct Health {
    /// Lines that could not be written.
    failed: AtomicUsize,
    /// Counts the lines that found the queue full.
    overflowed: OnceLock<Arc<AtomicUsize>>,
    listener: OnceLock<Listener>,
    /// Whether the listener alone hears of troubles.
    is_quiet: bool,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("lost_lines", &self.lost_lines())
            .finish_non_exhaustive()
    }
}

impl Health {
    /// For a file that is not the log: its troubles are reported to the listener alone.
    pub(super) fn of(listener: Listener) -> Self {
        Self {
            listener: OnceLock::from(listener),
            is_quiet: true,
            ..Self::default()
        }
    }

    pub(super) fn lost_lines(&self) -> usize {
        self.overflowed()
            .saturating_add(self.failed.load(Ordering::Relaxed))
    }

    /// Adds the counter of lines that found the queue full.
    pub(super) fn count(&self, overflowed: Arc<AtomicUsize>) {
        let _ = self.overflowed.set(overflowed);
    }

    /// Sets the listener. There can be one.
    pub(super) fn listen(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// Counts lines that could not be written.
    pub(super) fn failed(&self, lines: usize) {
        self.failed.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn overflowed(&self) -> usize {
        let overflowed = self.overflowed.get();
        overflowed.map_or(0, |lines| lines.load(Ordering::Relaxed))
    }

    /// Reports to standard error and the listener, not to the log, which may be the part that
    /// fails.
    pub(super) fn tell(&self, level: Level, text: &str) {
        if !self.is_quiet {
            let what = if level == Level::INFO {
                "note"
            } else {
                "warning"
            };
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "{what}: {}", Printable(text));
        }
        if let Some(listener) = self.listener.get() {
            listener(level, text);
        }
    }
}
