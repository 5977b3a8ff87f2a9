//! Large content on its way in: straight to the journal's disk, never whole in memory.
//!
//! Owns the parts: which upload has which, how long one that broke off is kept for its client to go
//! on with, and how many. Invariant: a part is written, renamed or removed by one upload at a time,
//! until its file is admitted; a newer one with the same key takes it over.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::balancer::messages::ToHub;
use crate::os_error::is_full;
use crate::protocol::limits::MAX_LARGE_UPLOADS;
use crate::protocol::{Prefix, ProtocolError, Refusal, RefusalCode};
use crate::queue::content::{self, FinishError, Part};
use crate::queue::disk::Disk;
use crate::queue::{Durability, Progress};
use crate::rolling_sync::RollingSync;
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
    hub: mpsc::UnboundedSender<ToHub>,
    parts: Arc<Mutex<Entries>>,
    /// For all: each has a file open.
    open: Arc<Semaphore>,
    /// For those of the HTTP doorway.
    pub(super) places: Arc<Semaphore>,
}

/// Parts, by their marks.
type Entries = HashMap<u128, PartEntry>;

/// A part that was begun.
struct PartEntry {
    /// Held by the upload that writes it.
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Ends that upload.
    taken_over: CancellationToken,
    used: Instant,
}

/// The right to do something with a part: nobody else does anything with it until this is dropped.
struct PartLease {
    mark: u128,
    guard: OwnedMutexGuard<()>,
    taken_over: CancellationToken,
    parts: Arc<Mutex<Entries>>,
    /// There is no part any more.
    is_gone: bool,
}

impl Drop for PartLease {
    fn drop(&mut self) {
        if self.is_gone {
            let mut parts = lock(&self.parts);
            // Who waits for the part goes on with its entry: two entries would be two parts of one
            // name.
            if Arc::strong_count(OwnedMutexGuard::mutex(&self.guard)) == 2 {
                parts.remove(&self.mark);
            }
        }
    }
}

/// Content that is lasting in a file of its own.
pub(super) struct Uploaded {
    pub(super) id: u64,
    pub(super) crc32c: u32,
    disk: Arc<dyn Disk>,
    is_admitted: bool,
    /// To be kept until the file is admitted, so that who waits for the part finds its key known.
    _claim: Option<PartLease>,
}

impl Uploaded {
    /// The hub has the file: its content is the journal's now.
    pub(super) fn admitted(mut self) {
        self.is_admitted = true;
    }
}

impl Drop for Uploaded {
    /// A connection that broke in the moment when its content was whole leaves content that no file
    /// will name.
    fn drop(&mut self) {
        if !self.is_admitted {
            // What stays behind is removed by the next recovery.
            let _ = self.disk.remove(&content::name(self.id));
        }
    }
}

/// What the reader of an upload tells its writer.
enum Step {
    Piece(Bytes),
    /// All of it came, and it is what was sent: pieces with this CRC32C, if that is known.
    Whole(Option<u32>),
    /// It is not what was sent, or will not be taken: nobody goes on with it.
    Useless,
}

impl Uploads {
    /// Uploads to this disk, which may hold parts of an earlier run; at most so many at once.
    pub(in crate::balancer) fn new(
        disk: Arc<dyn Disk>,
        durability: Durability,
        most: usize,
        hub: mpsc::UnboundedSender<ToHub>,
    ) -> Self {
        let found = disk.list().unwrap_or_default();
        let marks = found
            .iter()
            .filter_map(|entry| content::parse_part_name(&entry.name));
        let parts = Arc::new(Mutex::new(
            marks.map(|mark| (mark, PartEntry::new())).collect(),
        ));
        let open = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self {
            disk,
            durability,
            hub,
            parts,
            open,
            places: Arc::new(Semaphore::new(MAX_LARGE_UPLOADS)),
        }
    }

    /// How many bytes are there of the upload under this mark. One that is under way is ended
    /// first.
    pub(super) async fn there(&self, mark: u128) -> u64 {
        if !lock(&self.parts).contains_key(&mark) {
            return 0;
        }
        let mut claim = self.claim(mark).await;
        match self
            .disk
            .open(&content::part_name(mark))
            .and_then(|file| file.len())
        {
            Ok(len) => len,
            Err(error) => {
                claim.is_gone = error.kind() == io::ErrorKind::NotFound;
                0
            }
        }
    }

    /// Receives the content that comes from `source`: all of it, or what comes after `resumed`. The
    /// inner error refuses this file alone; what broke off stays for the next try if it has a mark.
    pub(super) async fn receive(
        &self,
        source: impl Source,
        mark: Option<u128>,
        resumed: Option<Prefix>,
    ) -> Result<Result<Uploaded, Refusal>, ReadError> {
        // Those who have one wait for their peer and the disk only, and for neither without end.
        let _open = self.open.acquire().await;
        let (is_kept, claim) = (
            mark.is_some(),
            self.claim(mark.unwrap_or_else(rand::random)).await,
        );
        let taken_over = claim.taken_over.clone();
        if taken_over.is_cancelled() {
            // A newer one came while this one waited, and may have been faster.
            return Err(ReadError::TakenOver);
        }
        let (steps, to_do) = mpsc::channel(PIECES);
        let upload = Upload {
            disk: self.disk.clone(),
            durability: self.durability,
            hub: self.hub.clone(),
            is_kept,
            claim,
        };
        let writing = spawn_blocking(move || upload.run(resumed, to_do));
        let read = tokio::select! {
            read = read_pieces(source, &steps) => read,
            () = taken_over.cancelled() => Err(ReadError::TakenOver),
        };
        drop(steps);
        let written = writing
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        match (read, written) {
            // What came whole is taken, also when another connection asks for it in the same
            // moment.
            (_, Ok(Some(uploaded))) => Ok(Ok(uploaded)),
            (Err(error), _) => Err(error),
            (Ok(()), Ok(None)) => Ok(Err(refusal(&io::Error::other("the upload broke off")))),
            (Ok(()), Err(error)) => Ok(Err(refusal(&error))),
        }
    }

    /// Makes content lasting that is in memory.
    pub(super) async fn keep(&self, bytes: Bytes) -> Result<Uploaded, Refusal> {
        let _open = self.open.acquire().await;
        let (disk, durability, mark) = (self.disk.clone(), self.durability, rand::random());
        let (hub, ours) = (self.hub.clone(), self.disk.clone());
        let write = move || {
            let written = Part::create(disk.clone(), mark).and_then(|mut part| {
                part.write(&bytes)?;
                finish(part, durability, &hub)
            });
            written.inspect_err(|_| drop(disk.remove(&content::part_name(mark))))
        };
        let written = spawn_blocking(write)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let (id, crc32c) = written.map_err(|error| refusal(&error))?;
        Ok(Uploaded {
            id,
            crc32c,
            disk: ours,
            is_admitted: false,
            _claim: None,
        })
    }

    /// Removes parts that nobody has gone on with for this long, and of the rest all but the
    /// youngest.
    pub(in crate::balancer) fn tidy(&self, age: Duration, most: usize) {
        let mut idle: Vec<(Instant, PartLease)> = lock(&self.parts)
            .iter()
            .filter_map(|(mark, entry)| Some((entry.used, self.claim_idle(*mark, entry)?)))
            .collect();
        idle.sort_unstable_by_key(|(used, _)| *used);
        let too_many = idle.len().saturating_sub(most);
        for (place, (used, mut claim)) in idle.into_iter().enumerate() {
            if place < too_many || used.elapsed() >= age {
                let removed = self.disk.remove(&content::part_name(claim.mark));
                claim.is_gone = removed.is_ok()
                    || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
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

    /// Waits for the part; an upload that writes it is ended, unless it has come whole.
    async fn claim(&self, mark: u128) -> PartLease {
        let (part, taken_over) = {
            let mut entries = lock(&self.parts);
            let entry = entries.entry(mark).or_insert_with(PartEntry::new);
            entry.taken_over.cancel();
            entry.taken_over = CancellationToken::new();
            entry.used = Instant::now();
            (entry.lock.clone(), entry.taken_over.clone())
        };
        PartLease {
            mark,
            guard: part.lock_owned().await,
            taken_over,
            parts: self.parts.clone(),
            is_gone: false,
        }
    }

    /// The part, if nobody does anything with it.
    fn claim_idle(&self, mark: u128, entry: &PartEntry) -> Option<PartLease> {
        let (guard, taken_over) = (
            entry.lock.clone().try_lock_owned().ok()?,
            entry.taken_over.clone(),
        );
        Some(PartLease {
            mark,
            guard,
            taken_over,
            parts: self.parts.clone(),
            is_gone: false,
        })
    }
}

fn lock(parts: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartEntry {
    fn new() -> Self {
        Self {
            lock: Arc::default(),
            taken_over: CancellationToken::new(),
            used: Instant::now(),
        }
    }
}

/// Where content comes from, piece by piece.
pub(super) trait Source {
    /// Whether all of it is to be read, also when nobody wants it any more.
    const READ_PAST: bool;

    /// The next piece; `None` once all of it came, and is what was sent.
    async fn piece(&mut self) -> Result<Option<Bytes>, ReadError>;

    /// The CRC32C of all pieces, if the peer's own checksum has proved it.
    fn proven_sum(&self) -> Option<u32> {
        None
    }
}

/// Content behind a native frame.
pub(super) struct Framed<'a, R> {
    reader: &'a mut Reader<R>,
    left: u64,
    crc32c: &'a mut u32,
    /// A checksum stands behind it.
    is_summed: bool,
}

impl<'a, R> Framed<'a, R> {
    /// The `size` bytes that come next. `crc32c` becomes that of what came.
    pub(super) fn new(reader: &'a mut Reader<R>, size: u64, crc32c: &'a mut u32) -> Self {
        *crc32c = 0;
        Self {
            reader,
            left: size,
            crc32c,
            is_summed: size > 0,
        }
    }
}

impl<R: AsyncRead + Unpin> Source for Framed<'_, R> {
    /// The next frame stands behind it.
    const READ_PAST: bool = true;

    async fn piece(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.left == 0 {
            if std::mem::take(&mut self.is_summed) {
                self.reader.verify(*self.crc32c).await?;
            }
            return Ok(None);
        }
        let piece = self.reader.piece(self.left).await?;
        self.left -= piece.len() as u64;
        *self.crc32c = crc32c::crc32c_append(*self.crc32c, &piece);
        Ok(Some(piece))
    }

    fn proven_sum(&self) -> Option<u32> {
        Some(*self.crc32c)
    }
}

/// Hands content on until all of it came.
async fn read_pieces<S: Source>(
    mut source: S,
    steps: &mpsc::Sender<Step>,
) -> Result<(), ReadError> {
    let read = loop {
        match source.piece().await {
            Ok(Some(piece)) => {
                // A disk that failed has dropped its end.
                if steps.send(Step::Piece(piece)).await.is_err() && !S::READ_PAST {
                    return Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let is_useless = matches!(
        read,
        Err(ReadError::Protocol(ProtocolError::Checksum { .. }) | ReadError::Refused(_))
    );
    if read.is_ok() || is_useless {
        let _ = steps
            .send(if is_useless {
                Step::Useless
            } else {
                Step::Whole(source.proven_sum())
            })
            .await;
    }
    read
}

/// An upload, as the thread sees it that writes it. It owns what becomes of the part: the
/// connection may be gone.
struct Upload {
    disk: Arc<dyn Disk>,
    durability: Durability,
    hub: mpsc::UnboundedSender<ToHub>,
    is_kept: bool,
    claim: PartLease,
}

impl Upload {
    /// Writes what comes; `None` if it broke off.
    fn run(
        mut self,
        resumed: Option<Prefix>,
        mut steps: mpsc::Receiver<Step>,
    ) -> io::Result<Option<Uploaded>> {
        let mut part = self.begin(resumed)?;
        let begin = (part.crc32c(), part.len());
        let mut behind = RollingSync::default();
        let proven = loop {
            match steps.blocking_recv() {
                Some(Step::Piece(piece)) => {
                    if let Err(error) = self.write(&mut part, &piece, &mut behind) {
                        return Err(self.failed(error));
                    }
                }
                Some(Step::Whole(proven)) => break proven,
                Some(Step::Useless) => {
                    self.remove();
                    return Ok(None);
                }
                None => {
                    if !self.is_kept {
                        self.remove();
                    }
                    return Ok(None);
                }
            }
        };
        if !is_as_proven(&part, begin, proven) {
            self.remove();
            return Err(damaged());
        }
        match behind
            .end()
            .and_then(|()| finish(part, self.durability, &self.hub))
        {
            Ok((id, crc32c)) => {
                self.claim.is_gone = true;
                Ok(Some(Uploaded {
                    id,
                    crc32c,
                    disk: self.disk,
                    is_admitted: false,
                    _claim: Some(self.claim),
                }))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn write(&self, part: &mut Part, piece: &[u8], behind: &mut RollingSync) -> io::Result<()> {
        part.write(piece)?;
        if self.durability == Durability::Disk && behind.wrote(piece.len()) {
            let file = part.file().clone();
            behind.start(move || file.sync())?;
        }
        Ok(())
    }

    fn begin(&mut self, resumed: Option<Prefix>) -> io::Result<Part> {
        let (disk, mark) = (self.disk.clone(), self.claim.mark);
        let Some(prefix) = resumed else {
            return Part::create(disk, mark);
        };
        let part = Part::resume(disk, mark, prefix.offset).map_err(|error| {
            self.claim.is_gone = error.kind() == io::ErrorKind::NotFound;
            mismatch(&plain(&error))
        })?;
        if part.crc32c() != prefix.crc32c {
            self.remove();
            return Err(mismatch("the bytes are not the same"));
        }
        Ok(part)
    }

    fn failed(&mut self, error: io::Error) -> io::Error {
        // What fails on a full disk must not fill it.
        if !self.is_kept || is_full(&error) {
            self.remove();
        }
        error
    }

    fn remove(&mut self) {
        // What cannot be removed now is tried again later.
        self.claim.is_gone = self
            .disk
            .remove(&content::part_name(self.claim.mark))
            .is_ok();
    }
}

/// Whether what was written behind the beginning, of this CRC32C and length, is what came. It was
/// damaged in memory if not: the sum of the written bytes must not stand for the client's.
fn is_as_proven(part: &Part, (begin, len): (u32, u64), proven: Option<u32>) -> bool {
    let written = usize::try_from(part.len() - len).unwrap_or(usize::MAX);
    proven.is_none_or(|sum| crc32c::crc32c_combine(begin, sum, written) == part.crc32c())
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it was damaged in memory on its way to the disk: send it again",
    )
}

/// Makes a part lasting content, and gives its id and its CRC32C. A directory that cannot be synced
/// ends the journal.
fn finish(
    part: Part,
    durability: Durability,
    hub: &mpsc::UnboundedSender<ToHub>,
) -> io::Result<(u64, u32)> {
    let (id, crc32c) = (rand::random(), part.crc32c());
    match part.finish(id, durability) {
        Ok(()) => Ok((id, crc32c)),
        Err(FinishError::Content(error)) => Err(error),
        Err(FinishError::Names(error)) => {
            let told = io::Error::new(error.kind(), error.to_string());
            let failed = Progress::Failed(FinishError::Names(error).into());
            let _ = hub.send(ToHub::Journal(failed));
            Err(told)
        }
    }
}

/// The beginning that the client would go on from is not there.
fn mismatch(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("cannot go on with an earlier upload: {why}"),
    )
}

fn refusal(error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::InvalidInput => RefusalCode::Checksum,
        _ if is_full(error) => RefusalCode::Full,
        _ => RefusalCode::Storage,
    };
    Refusal::new(code, format!("cannot keep the file: {}", plain(error)))
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
