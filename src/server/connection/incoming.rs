//! A file on its way from a connection to the store.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::OwnedSemaphorePermit;

use super::super::store::{
    Done, Incoming, IncomingBody, Origin, Outcome, Staged, Store, StoreError,
};
use super::super::work::{Hold, count_letters};
use super::shared::Shared;
use crate::bulk::{Sink, SyncJob, WriteBehind};
use crate::protocol::{Refusal, RefusalCode};
use crate::transport::{ReadError, Reader};

/// Content up to this many bytes waits for the store in memory; larger content is written to disk
/// as it comes.
const MAX_IN_MEMORY: u64 = 256 * 1024;

/// A file whose content has come.
pub(super) struct IncomingFile {
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) size: u64,
    pub(super) letters: u64,
    pub(super) crc32c: u32,
    pub(super) body: IncomingBody,
    /// The room that its content takes until it is stored.
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// The content that the work needs.
    pub(super) for_work: Bytes,
    /// The memory that the work may use for it.
    pub(super) hold: Hold,
}

/// What came of reading a file's content.
pub(super) enum Received {
    File(IncomingFile),
    /// This file is refused, and the connection goes on.
    Refused(Refusal),
}

/// Hands a file to the store. Once it is stored, or cannot be, logs that, calls `tell`, and starts
/// the work.
pub(super) fn submit(
    file: IncomingFile,
    journal: Option<Arc<str>>,
    (shared, store): (&Shared, &Store),
    tell: impl FnOnce(Result<Outcome, StoreError>) + Send + 'static,
) {
    let IncomingFile {
        number,
        title,
        size,
        letters,
        crc32c,
        body,
        room,
        for_work,
        hold,
    } = file;
    let work = shared.work.clone();
    let name = title.clone();
    let done: Done = Box::new(move |stored| {
        drop(room);
        log_outcome(number, &name, size, &stored);
        if let Ok(Outcome::Stored) = stored {
            work.start(number, letters, for_work, hold);
        }
        tell(stored);
    });
    let origin = journal.map(|journal| Origin { journal, crc32c });
    let file = Incoming {
        number,
        title,
        body,
        origin,
    };
    store.submit(file, done);
}

fn log_outcome(number: u64, title: &str, bytes: u64, stored: &Result<Outcome, StoreError>) {
    match stored {
        Ok(Outcome::Stored) => tracing::info!(number, title, bytes, "stored"),
        Ok(Outcome::Known) => tracing::info!(number, title, bytes, "stored already"),
        Err(error) => tracing::error!(number, title, bytes, error = %error, "cannot store"),
    }
}

/// Reads one file's content: into memory if it is small or to be worked on, to disk as it comes
/// otherwise.
pub(super) async fn receive<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    number: u64,
    title: &str,
    size: u64,
    (shared, store): (&Shared, &Store),
) -> Result<Received, ReadError> {
    let Some(hold) = shared.work.hold(size) else {
        reader.skip_content(size).await?;
        let reason = "the content of the files that are worked on takes all of work-memory";
        return Ok(Received::Refused(Refusal::new(RefusalCode::Busy, reason)));
    };
    let title = title.to_owned();
    if size <= MAX_IN_MEMORY || shared.work.holds() {
        let room = store.room(size).await;
        let (content, crc32c) = reader.summed_content(size).await?;
        return Ok(Received::File(IncomingFile {
            number,
            title,
            size,
            letters: count_letters(&content),
            crc32c,
            for_work: shared.work.copy_of(&content),
            body: IncomingBody::Whole(content),
            room,
            hold,
        }));
    }
    let written = receive_to_disk(reader, number, size, store, IfDiskFails::ReadPast).await?;
    Ok(match written {
        Ok(content) => Received::File(content.of_file(number, title, hold)),
        Err(error) => Received::Refused(refusal_of(&error.into())),
    })
}

/// Receives content whose file is not known yet. If it cannot be held, its connection has to end.
pub(super) async fn receive_ahead<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    size: u64,
    store: &Store,
) -> Result<OnDisk, ReadError> {
    let written = receive_to_disk(reader, 0, size, store, IfDiskFails::Stop).await?;
    written.map_err(|error| ReadError::Refused(refusal_of(&error.into())))
}

/// Content that was written to disk.
pub(super) struct OnDisk {
    staged: Staged,
    letters: u64,
    size: u64,
    crc32c: u32,
}

impl OnDisk {
    /// The file that this is the content of.
    pub(super) fn of_file(self, number: u64, title: String, hold: Hold) -> IncomingFile {
        IncomingFile {
            number,
            title,
            size: self.size,
            letters: self.letters,
            crc32c: self.crc32c,
            body: IncomingBody::Staged(self.staged),
            room: None,
            for_work: Bytes::new(),
            hold,
        }
    }
}

/// What happens to the rest of the content when the disk fails.
#[derive(PartialEq, Eq)]
enum IfDiskFails {
    /// It is read and discarded: other files follow.
    ReadPast,
    /// It is not read.
    Stop,
}

/// Writes content to a staged file as it comes.
async fn receive_to_disk<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    number: u64,
    size: u64,
    store: &Store,
    if_disk_fails: IfDiskFails,
) -> Result<io::Result<OnDisk>, ReadError> {
    let mut writer = WriteBehind::new(ToStage {
        store: store.clone(),
        number,
        staged: None,
        letters: 0,
    });
    let mut crc32c = 0;
    let mut left = size;
    while left > 0 && !(writer.has_failed() && if_disk_fails == IfDiskFails::Stop) {
        let came = reader.pass(left, left, crc32c, &mut writer).await?;
        left -= came.bytes;
        crc32c = came.crc32c;
    }
    if left == 0 {
        reader.verify(crc32c).await?;
    }
    let written = writer.end(ToStage::end).await;
    Ok(written.map(|(staged, letters)| OnDisk {
        staged,
        letters,
        size,
        crc32c,
    }))
}

/// A staged file that is being written.
struct ToStage {
    store: Store,
    number: u64,
    staged: Option<Staged>,
    letters: u64,
}

impl ToStage {
    fn end(self) -> io::Result<(Staged, u64)> {
        let staged = match self.staged {
            Some(staged) => staged,
            None => self.store.stage(self.number)?,
        };
        Ok((staged, self.letters))
    }
}

impl Sink for ToStage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let staged = match &mut self.staged {
            Some(staged) => staged,
            None => self.staged.insert(self.store.stage(self.number)?),
        };
        self.letters += count_letters(bytes);
        staged.write(bytes)
    }

    fn sync(&self) -> io::Result<Option<SyncJob>> {
        let staged = self.staged.as_ref();
        staged.map_or(Ok(None), |staged| self.store.sync_of(staged))
    }
}

/// The refusal that tells a balancer why its file is not stored.
pub(super) fn refusal_of(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::Io(_) => RefusalCode::Storage,
        StoreError::Conflict { .. } => RefusalCode::Conflict,
    };
    Refusal::new(code, error.to_string())
}
