//! The queue between those who log and the thread that writes, bounded in bytes: a peer chooses how
//! long a title is, and a title is in the line of its file.
//!
//! Invariant: a full queue loses lines and counts them; it never makes their writer wait.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait for the disk.
pub(super) const QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// What a line counts at least, in bytes: its place in the queue takes memory, too.
const LEAST: usize = 256;

/// Whoever logs writes here. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    to: NonBlocking,
    counts: Counts,
}

/// What waits, and what was lost.
#[derive(Debug, Clone, Default)]
struct Counts {
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

/// A queue before `sink`, and the thread that empties it.
pub(super) fn queued(thread: &str, sink: impl Write + Send + 'static) -> (Queue, WorkerGuard) {
    let counts = Counts::default();
    let builder = NonBlockingBuilder::default()
        .lossy(true)
        // Never reached: the bytes are counted first.
        .buffered_lines_limit(QUEUED_BYTES / LEAST + 1);
    let (to, worker) = builder.thread_name(thread).finish(Emptied {
        sink,
        waiting: counts.waiting.clone(),
    });
    (Queue { to, counts }, worker)
}

impl Queue {
    /// How many lines found the queue full; it goes on counting.
    pub(super) fn lost(&self) -> Arc<AtomicUsize> {
        self.counts.lost.clone()
    }
}

impl Write for Queue {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let counts = &self.counts;
        let size = size(line);
        let before = counts.waiting.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > QUEUED_BYTES {
            counts.waiting.fetch_sub(size, Ordering::Relaxed);
            counts.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        self.to.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What a line counts.
fn size(line: &[u8]) -> usize {
    line.len().max(LEAST)
}

/// Takes what is written off the count.
struct Emptied<S> {
    sink: S,
    waiting: Arc<AtomicUsize>,
}

impl<S: Write> Write for Emptied<S> {
    /// Takes a whole line; a sink that fails has lost it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.sink.write_all(line);
        self.waiting.fetch_sub(size(line), Ordering::Relaxed);
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A disk that stalls until it is told to go on.
    struct Stalled(mpsc::Receiver<()>, mpsc::Sender<usize>);

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(line.len());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn long_lines_fill_the_queue_by_their_bytes_and_short_ones_by_their_number() {
        for length in [1, 300, 60_000] {
            let (go_on, stalled) = mpsc::channel();
            let (to, written) = mpsc::channel();
            let (mut queue, worker) = queued("log-test", Stalled(stalled, to));
            let line = vec![b'x'; length];
            let fit = QUEUED_BYTES / size(&line);
            for _ in 0..fit + 100 {
                assert_eq!(queue.write(&line).unwrap(), length);
            }
            let lost = queue.lost();
            // One line counts until it is written.
            assert_eq!(lost.load(Ordering::Relaxed), 100, "lines of {length} bytes");
            drop(go_on);
            assert_eq!(written.iter().take(fit).sum::<usize>(), fit * length);
            // What was written has made room.
            drop(worker);
            assert_eq!(queue.counts.waiting.load(Ordering::Relaxed), 0);
        }
    }
}
