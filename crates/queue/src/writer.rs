//! The one thread that writes the journal.
//!
//! Group commit: the operations that queued up during one sync are the next batch, so that many
//! files share a sync. The thread also cleans, in proportion to what it writes. On a full disk it
//! waits and does not fail: no operation is dropped.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::disk::{Disk, Space};
use super::error::JournalError;
use super::journal::{Committed, Journal, Op};

/// How many operations are committed together at most.
const BATCH: usize = 4096;

/// How many bytes are cleaned for each byte that is written: cleaning must outrun garbage.
const CLEANED: u64 = 3;

/// The least that is cleaned at once, in bytes.
const LEAST: u64 = 256 * 1024;

/// The time between two tries to write on a full disk.
const RETRY: Duration = Duration::from_millis(100);

/// While nothing is written, the directory's place is verified this often; each commit verifies it,
/// too.
const VERIFIED: Duration = Duration::from_secs(1);

/// How long an answer about the disk's room is used: far less than a segment is written meanwhile.
const BELIEVED: Duration = Duration::from_millis(100);

/// What the writer reports.
#[derive(Debug)]
pub enum Progress {
    /// These operations are durable now.
    Committed(Committed),
    /// Nothing can be written for now: the disk is full or descriptors are short; the text says.
    Full(String),
    /// Writing goes on.
    Room,
    /// The journal failed, and the thread has ended.
    Failed(JournalError),
}

/// Handle to the writer thread.
#[derive(Debug)]
pub struct Writer {
    ops: Option<mpsc::Sender<Op>>,
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; `tell` is called in it.
    pub fn start(
        journal: Journal,
        disk: Arc<dyn Disk>,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> io::Result<Self> {
        let (ops, queue) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            journal,
            disk,
            tell,
            stopping: stopping.clone(),
            is_full: false,
            space: None,
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                if let Err(error) = work.run(&queue) {
                    (work.tell)(Progress::Failed(error));
                }
            })?;
        Ok(Self {
            ops: Some(ops),
            stopping,
            thread: Some(thread),
        })
    }

    /// Hands an operation over. It is durable once a commit has counted it; commits count
    /// operations in their order.
    pub fn submit(&self, op: Op) {
        // If the thread has ended, it has reported why.
        let _ = self.ops.as_ref().map(|ops| ops.send(op));
    }
}

impl Drop for Writer {
    /// Waits until all operations are written, but not for room on a full disk.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.ops = None;
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

struct Work<T> {
    journal: Journal,
    disk: Arc<dyn Disk>,
    tell: T,
    stopping: Arc<AtomicBool>,
    is_full: bool,
    /// When the disk was asked for its room, and its answer.
    space: Option<(Instant, Space)>,
}

impl<T: Fn(Progress)> Work<T> {
    fn run(&mut self, queue: &mpsc::Receiver<Op>) -> Result<(), JournalError> {
        let mut is_clean = true;
        loop {
            let first = match queue.try_recv() {
                Ok(op) => Some(op),
                Err(mpsc::TryRecvError::Disconnected) => break,
                Err(mpsc::TryRecvError::Empty) if !is_clean => None,
                Err(mpsc::TryRecvError::Empty) => {
                    self.journal.mark()?;
                    match self.wait(queue)? {
                        Some(op) => Some(op),
                        None => break,
                    }
                }
            };
            is_clean = self.batch(first, queue)?;
        }
        self.journal.mark()
    }

    /// Waits for an operation; `None` when the handle was dropped.
    fn wait(&self, queue: &mpsc::Receiver<Op>) -> Result<Option<Op>, JournalError> {
        loop {
            match queue.recv_timeout(VERIFIED) {
                Ok(op) => return Ok(Some(op)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
                Err(mpsc::RecvTimeoutError::Timeout) => match self.journal.verify() {
                    // Descriptors or memory are short just now.
                    Err(error) if error.is_full() => {}
                    verified => verified?,
                },
            }
        }
    }

    /// Writes the operations that queued up, and cleans in proportion. True if nothing is left to
    /// clean.
    fn batch(
        &mut self,
        first: Option<Op>,
        queue: &mpsc::Receiver<Op>,
    ) -> Result<bool, JournalError> {
        self.until_there_is_room(Journal::prepare)?;
        let mut next = first;
        let mut ops = 0;
        while let Some(op) = next {
            self.journal.apply(op);
            ops += 1;
            let more = ops < BATCH && self.journal.pending() < self.journal.batch_size();
            next = if more { queue.try_recv().ok() } else { None };
        }
        let written = self.journal.pending() as u64;
        let committed = self.until_there_is_room(Journal::commit)?;
        if ops > 0 || !committed.moved.is_empty() {
            (self.tell)(Progress::Committed(committed));
        }
        self.journal.restore_reserve();
        self.clean(LEAST.max(written * CLEANED))
    }

    /// Cleans until `budget` bytes have been looked at. Records that are still needed go into the
    /// next batch.
    fn clean(&mut self, mut budget: u64) -> Result<bool, JournalError> {
        let space = self.space();
        while budget > 0 && self.journal.pending() < self.journal.batch_size() {
            match self
                .journal
                .prepare()
                .and_then(|()| self.journal.clean(space))
            {
                Ok(0) => return Ok(self.journal.pending() == 0),
                Ok(looked_at) => budget = budget.saturating_sub(looked_at),
                // There is no room to write records again.
                Err(error) if error.is_full() => return Ok(self.journal.pending() == 0),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The disk's room, now or a moment ago.
    fn space(&mut self) -> Space {
        match self.space {
            Some((asked, space)) if asked.elapsed() < BELIEVED => space,
            _ => {
                let space = self.disk.space().unwrap_or(Space {
                    total: u64::MAX,
                    available: u64::MAX,
                });
                self.space = Some((Instant::now(), space));
                space
            }
        }
    }

    /// Repeats a step until there is room for it. The reserve is given up first.
    fn until_there_is_room<R>(
        &mut self,
        mut step: impl FnMut(&mut Journal) -> Result<R, JournalError>,
    ) -> Result<R, JournalError> {
        loop {
            match step(&mut self.journal) {
                Err(error) if error.is_full() && !self.stopping.load(Ordering::Relaxed) => {
                    if self.journal.release_reserve() {
                        continue;
                    }
                    if !std::mem::replace(&mut self.is_full, true) {
                        (self.tell)(Progress::Full(error.to_string()));
                    }
                    thread::sleep(RETRY);
                    match self.journal.verify() {
                        Err(error) if !error.is_full() => return Err(error),
                        _ => {}
                    }
                }
                Ok(done) => {
                    if std::mem::take(&mut self.is_full) {
                        (self.tell)(Progress::Room);
                    }
                    return Ok(done);
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
