//! Writes content behind the peer that sends it.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::job;
use super::straight::{self, Received};
use super::syncs::Syncs;
use crate::Direct;

/// The most bytes that wait for a job; as many may be in the job that runs.
const MOST_WAITING: usize = 1024 * 1024;

/// Makes the bytes durable that were written until now. Blocks.
pub type SyncJob = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What a [`WriteBehind`] writes to. It is called, and dropped, on threads that may block.
pub trait Sink: Send + 'static {
    /// Appends these bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A sync of what was written, to run beside later writes; `None` if there is no need for one.
    fn sync(&self) -> io::Result<Option<SyncJob>>;

    /// A write or a sync has failed; nothing more will be written.
    fn failed(&mut self, _error: &io::Error) {}
}

/// Content on its way to a sink.
///
/// Pieces wait here while a job writes the pieces before them; the next job writes all that wait
/// then. Dropping it ends the sink where it is.
pub struct WriteBehind<S: Sink> {
    /// `None` while a job has it, and after a failure.
    sink: Option<S>,
    job: Option<JoinHandle<Written<S>>>,
    waiting: Vec<Bytes>,
    /// Bytes in `waiting`.
    waiting_bytes: usize,
    syncs: Syncs,
    error: Option<io::Error>,
    /// What the latest job has received itself.
    received: Option<Received>,
    /// Memory for the next job that receives.
    buffer: Vec<u8>,
}

/// What a job receives behind a piece.
pub struct More {
    /// Where it comes from.
    pub direct: Direct,
    /// The most bytes. It is less if they do not come fast.
    pub most: u64,
    /// The CRC32C of the content up to the piece's end.
    pub crc32c: u32,
}

/// What a job leaves.
struct Written<S> {
    sink: io::Result<S>,
    bytes: u64,
    received: Option<Received>,
    /// The memory of the pieces that it wrote.
    pieces: Vec<Bytes>,
    buffer: Vec<u8>,
}

impl<S: Sink> WriteBehind<S> {
    /// Nothing is done to the sink before a piece is there, or the end.
    pub fn new(sink: S) -> Self {
        Self {
            sink: Some(sink),
            job: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            syncs: Syncs::default(),
            error: None,
            received: None,
            buffer: Vec::new(),
        }
    }

    /// Whether the disk has failed, so that no piece is wanted.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Takes a piece, and waits while too much is unwritten. False once the disk has failed: the
    /// piece is not wanted, and [`Self::end`] gives the error.
    pub async fn write(&mut self, piece: Bytes) -> bool {
        if self.error.is_some() {
            return false;
        }
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        let is_busy = self.job.as_ref().is_some_and(|job| !job.is_finished());
        if !is_busy || self.waiting_bytes >= MOST_WAITING {
            self.next().await;
        }
        self.error.is_none()
    }

    /// Writes a piece, and in the same job what comes behind it as `more` says. Gives what the job
    /// has received. Nothing is received once the disk has failed.
    pub async fn write_and_receive(&mut self, piece: Bytes, more: More) -> Received {
        let crc32c = more.crc32c;
        if self.error.is_none() {
            self.waiting_bytes += piece.len();
            self.waiting.push(piece);
            self.next_with(Some(more)).await;
            let written = self.join().await;
            self.keep_error(written);
        }
        let received = self.received.take();
        received.unwrap_or_else(|| Received::nothing(crc32c))
    }

    /// Waits for the next piece from the peer, and goes on with what waits here meanwhile.
    pub async fn beside<T>(&mut self, peer: impl Future<Output = T>) -> T {
        let mut peer = pin!(peer);
        loop {
            tokio::select! {
                biased;
                came = &mut peer => return came,
                () = self.next(), if !self.waiting.is_empty() => {}
            }
        }
    }

    /// Writes what waits, and does `last` with the sink in the same job. An error of an earlier
    /// write or sync comes before it, and the sink is dropped.
    pub async fn end<T: Send + 'static>(
        mut self,
        last: impl FnOnce(S) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let written = self.join().await;
        self.keep_error(written);
        let synced = self.syncs.end().await;
        self.keep_error(synced);
        let (error, pieces) = (self.error.take(), std::mem::take(&mut self.waiting));
        let Some(sink) = self.sink.take() else {
            return Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        };
        let job = move || match error {
            Some(error) => Err(fail(sink, error)),
            None => write_all(sink, &pieces).and_then(last),
        };
        job::spawn(job)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Starts a job with all that waits, once the job that runs has ended and not too much is
    /// unsynced. Nothing is lost if this is given up.
    async fn next(&mut self) {
        self.next_with(None).await;
    }

    /// The same with a job that receives, too.
    async fn next_with(&mut self, more: Option<More>) {
        let is_ready = match self.join().await {
            Ok(()) => self.sync_if_due().await,
            failed => failed,
        };
        self.keep_error(is_ready);
        if self.waiting.is_empty() {
            return;
        }
        let Some(sink) = self.sink.take() else {
            return;
        };
        let mut pieces = std::mem::take(&mut self.waiting);
        let mut bytes = std::mem::take(&mut self.waiting_bytes) as u64;
        let mut buffer = std::mem::take(&mut self.buffer);
        self.job = Some(job::spawn(move || {
            let mut sink = write_all(sink, &pieces);
            pieces.clear();
            let mut received = None;
            if let Some(more) = more {
                let (still, came) = receive(sink, &more, &mut buffer);
                bytes += came.bytes;
                (sink, received) = (still, Some(came));
            }
            Written {
                sink,
                bytes,
                received,
                pieces,
                buffer,
            }
        }));
    }

    /// Waits for the job that runs.
    async fn join(&mut self) -> io::Result<()> {
        let Some(job) = &mut self.job else {
            return Ok(());
        };
        let ended = job.await;
        self.job = None;
        let written = ended.map_err(io::Error::other)?;
        if self.waiting.is_empty() {
            self.waiting = written.pieces;
        }
        self.syncs.wrote(written.bytes);
        self.buffer = written.buffer;
        self.received = written.received;
        self.sink = Some(written.sink?);
        Ok(())
    }

    /// Starts a sync if it is time for one.
    async fn sync_if_due(&mut self) -> io::Result<()> {
        if self.syncs.is_due()
            && let Some(sink) = &self.sink
        {
            self.syncs.end().await?;
            match sink.sync()? {
                Some(sync) => self.syncs.start(sync),
                None => self.syncs.skip(),
            }
        }
        Ok(())
    }

    fn keep_error(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
            self.waiting.clear();
        }
    }
}

/// Writes the pieces; after a failure the sink is told, and dropped.
fn write_all<S: Sink>(mut sink: S, pieces: &[Bytes]) -> io::Result<S> {
    for piece in pieces {
        if let Err(error) = sink.write(piece) {
            return Err(fail(sink, error));
        }
    }
    Ok(sink)
}

/// Receives into the sink; after a failure the sink is told, and dropped.
fn receive<S: Sink>(
    sink: io::Result<S>,
    &More {
        ref direct,
        most,
        crc32c,
    }: &More,
    buffer: &mut Vec<u8>,
) -> (io::Result<S>, Received) {
    let mut sink = match sink {
        Ok(sink) => sink,
        failed => return (failed, Received::nothing(crc32c)),
    };
    let (received, taken) =
        straight::receive(direct, (most, crc32c), buffer, |bytes| sink.write(bytes));
    // Memory of a slow transfer is given back: there may be many of them.
    if received.bytes < 2 * buffer.len() as u64 {
        *buffer = Vec::new();
    }
    let sink = match taken {
        Ok(()) => Ok(sink),
        Err(error) => Err(fail(sink, error)),
    };
    (sink, received)
}

fn fail<S: Sink>(mut sink: S, error: io::Error) -> io::Error {
    sink.failed(&error);
    error
}

/// A sink that nobody has a use for is dropped where that may block. A job that still runs drops
/// the sink that it has.
impl<S: Sink> Drop for WriteBehind<S> {
    fn drop(&mut self) {
        let ended = self.job.take().filter(JoinHandle::is_finished);
        let sink = self.sink.take();
        if (sink.is_some() || ended.is_some())
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn_blocking(move || drop((sink, ended))));
        }
    }
}

#[cfg(test)]
mod tests;
