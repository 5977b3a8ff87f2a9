//! Large content on its way in: straight to the journal's disk, never whole in memory.
//!
//! Owns the parts: which upload has which, how long one that broke off is kept for its client to go on with, and how
//! many. Invariant: a part is written by one upload at a time; a newer one with the same key takes it over.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::balancer::event::Event;
use crate::protocol::{Prefix, ProtocolError, Refusal, RefusalCode};
use crate::queue::content::{self, FinishError, Part};
use crate::queue::disk::Disk;
use crate::queue::error::is_full;
use crate::queue::{Durability, Progress};
use crate::transport::{ReadError, Reader, plain};

/// How long a part is kept that no upload goes on with.
const KEPT: Duration = Duration::from_mins(10);

/// How many parts are kept at the most.
const MOST: usize = 256;

/// How many pieces wait for the disk at most.
const PIECES: usize = 8;

/// All uploads of large content.
pub(in crate::balancer) struct Uploads {
    disk: Arc<dyn Disk>,
    durability: Durability,
    hub: mpsc::UnboundedSender<Event>,
    parts: Mutex<HashMap<u128, Entry>>,
}

/// A part that was begun.
struct Entry {
    /// Held by the upload that writes it.
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Ends that upload.
    taken_over: CancellationToken,
    used: Instant,
}

/// The right to write a part.
struct Claim {
    guard: OwnedMutexGuard<()>,
    taken_over: CancellationToken,
}

/// Content that is lasting in a file of its own.
pub(super) struct Uploaded {
    pub(super) id: u64,
    pub(super) crc32c: u32,
}

impl Uploads {
    /// Uploads to this disk, which may hold parts of an earlier run.
    pub(in crate::balancer) fn new(
        disk: Arc<dyn Disk>,
        durability: Durability,
        hub: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let found = disk.list().unwrap_or_default();
        let marks = found.iter().filter_map(|entry| content::parse_part_name(&entry.name));
        let parts = Mutex::new(marks.map(|mark| (mark, Entry::new())).collect());
        Self { disk, durability, hub, parts }
    }

    /// How many bytes are there of the upload under this mark. One that is under way is ended first.
    pub(super) async fn there(&self, mark: u128) -> u64 {
        if !self.entries().contains_key(&mark) {
            return 0;
        }
        let _claim = self.claim(mark).await;
        self.disk.open(&content::part_name(mark)).and_then(|file| file.len()).unwrap_or(0)
    }

    /// Receives `size` bytes of content behind a frame: all of it, or what comes after `resumed`. The inner error refuses
    /// this file alone; what broke off stays for the next try if it has a mark.
    pub(super) async fn receive<R: AsyncRead + Unpin>(
        &self,
        reader: &mut Reader<R>,
        size: u64,
        mark: Option<u128>,
        resumed: Option<Prefix>,
    ) -> Result<Result<Uploaded, Refusal>, ReadError> {
        let (is_kept, mark) = (mark.is_some(), mark.unwrap_or_else(rand::random));
        let claim = self.claim(mark).await;
        let taken_over = claim.taken_over.clone();
        let (pieces, to_write) = mpsc::channel(PIECES);
        let disk = self.disk.clone();
        let writing = spawn_blocking(move || {
            let _guard = claim.guard;
            write(disk, mark, is_kept, resumed, to_write)
        });
        let read = tokio::select! {
            read = read_pieces(reader, size, &pieces) => read,
            () = taken_over.cancelled() => Err(ProtocolError::Unexpected("the file comes over another connection").into()),
        };
        drop(pieces);
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match (read, written) {
            (Ok(()), Ok(part)) => Ok(self.finish(mark, part).await),
            (Ok(()), Err(error)) => {
                self.release(mark);
                Ok(Err(refusal(&error)))
            }
            (Err(error), written) => {
                let is_damaged = matches!(error, ReadError::Protocol(ProtocolError::Checksum { .. }));
                if let Ok(part) = written
                    && (is_damaged || !is_kept)
                {
                    let _ = spawn_blocking(move || part.discard()).await;
                    self.release(mark);
                }
                Err(error)
            }
        }
    }

    /// Makes content lasting that is in memory.
    pub(super) async fn keep(&self, bytes: Bytes) -> Result<Uploaded, Refusal> {
        let (disk, mark) = (self.disk.clone(), rand::random());
        let write = move || {
            let mut part = Part::create(disk, mark)?;
            match part.write(&bytes) {
                Ok(()) => Ok(part),
                Err(error) => {
                    part.discard();
                    Err(error)
                }
            }
        };
        match spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(part) => self.finish(mark, part).await,
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Removes parts that nobody has gone on with for this long, and of the rest all but the youngest.
    pub(in crate::balancer) fn tidy(&self, age: Duration, most: usize) {
        let mut idle: Vec<(Instant, u128)> = {
            let entries = self.entries();
            let idle = entries.iter().filter(|(_, entry)| entry.lock.try_lock().is_ok());
            idle.map(|(mark, entry)| (entry.used, *mark)).collect()
        };
        idle.sort_unstable();
        let too_many = idle.len().saturating_sub(most);
        for (place, (used, mark)) in idle.into_iter().enumerate() {
            if place < too_many || used.elapsed() >= age {
                self.release(mark);
                let _ = self.disk.remove(&content::part_name(mark));
            }
        }
    }

    /// Removes what was left of uploads, now and then.
    pub(in crate::balancer) async fn keep_tidy(self: Arc<Self>) {
        loop {
            let uploads = self.clone();
            let _ = spawn_blocking(move || uploads.tidy(KEPT, MOST)).await;
            tokio::time::sleep(KEPT / 20).await;
        }
    }

    async fn claim(&self, mark: u128) -> Claim {
        let (lock, taken_over) = {
            let mut entries = self.entries();
            let entry = entries.entry(mark).or_insert_with(Entry::new);
            entry.taken_over.cancel();
            entry.taken_over = CancellationToken::new();
            entry.used = Instant::now();
            (entry.lock.clone(), entry.taken_over.clone())
        };
        Claim { guard: lock.lock_owned().await, taken_over }
    }

    fn release(&self, mark: u128) {
        self.entries().remove(&mark);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Entry>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn finish(&self, mark: u128, part: Part) -> Result<Uploaded, Refusal> {
        let (id, crc32c, durability) = (rand::random(), part.crc32c(), self.durability);
        let finished = spawn_blocking(move || part.finish(id, durability)).await;
        self.release(mark);
        match finished.unwrap_or_else(|error| Err(FinishError::Content(io::Error::other(error)))) {
            Ok(()) => Ok(Uploaded { id, crc32c }),
            Err(FinishError::Content(error)) => Err(refusal(&error)),
            Err(FinishError::Names(error)) => {
                let refusal = refusal(&error);
                let failed = Progress::Failed(FinishError::Names(error).into());
                let _ = self.hub.send(Event::Journal(failed));
                Err(refusal)
            }
        }
    }
}

impl Entry {
    fn new() -> Self {
        Self { lock: Arc::default(), taken_over: CancellationToken::new(), used: Instant::now() }
    }
}

/// Reads content and hands it on, to its checksum.
async fn read_pieces<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    size: u64,
    pieces: &mpsc::Sender<Bytes>,
) -> Result<(), ReadError> {
    let (mut crc, mut left) = (0, size);
    while left > 0 {
        let piece = reader.piece(left).await?;
        left -= piece.len() as u64;
        crc = crc32c::crc32c_append(crc, &piece);
        // A disk that failed has dropped its end; the rest is read past.
        let _ = pieces.send(piece).await;
    }
    if size > 0 { reader.verify(crc).await } else { Ok(()) }
}

/// Writes pieces until there are no more.
fn write(
    disk: Arc<dyn Disk>,
    mark: u128,
    is_kept: bool,
    resumed: Option<Prefix>,
    mut pieces: mpsc::Receiver<Bytes>,
) -> io::Result<Part> {
    let mut part = match resumed {
        Some(prefix) => {
            let part = Part::resume(disk, mark, prefix.offset).map_err(|error| mismatch(&plain(&error)))?;
            if part.crc32c() != prefix.crc32c {
                part.discard();
                return Err(mismatch("the bytes are not the same"));
            }
            part
        }
        None => Part::create(disk, mark)?,
    };
    while let Some(piece) = pieces.blocking_recv() {
        if let Err(error) = part.write(&piece) {
            // What fails on a full disk must not fill it.
            if !is_kept || is_full(&error) {
                part.discard();
            }
            return Err(error);
        }
    }
    Ok(part)
}

/// The beginning that the client would go on from is not there.
fn mismatch(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot go on with an earlier upload: {why}"))
}

fn refusal(error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::InvalidInput => RefusalCode::Checksum,
        _ if is_full(error) => RefusalCode::Full,
        _ => RefusalCode::Storage,
    };
    Refusal::new(code, format!("cannot keep the file: {}", plain(error)))
}
