//! Reads the content of one file from the body of a request, and keeps enough reserved for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::balancer::ingress::Door;
use crate::balancer::ingress::upload::Source;
use crate::balancer::room::{DiskReservation, Room};
use crate::protocol::{ProtocolError, Refusal, RefusalCode};
use crate::queue::INLINE;
use crate::transport::{ProgressDeadline, ReadError};

/// The least number of bytes by which the reservation of a file of unknown size grows.
const LEAST_STEP: u64 = INLINE;

/// The largest number of bytes by which it grows; in between it doubles.
const LARGEST_STEP: u64 = 4 * 1024 * 1024;

/// The body of a request, piece by piece.
pub trait UploadBody: Send {
    /// The next piece; `None` at the end. Cancel safe: a piece is not lost when the future is
    /// dropped.
    fn piece(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// A file that a client wants to hand over.
#[derive(Debug)]
pub struct HttpUpload<B> {
    /// The file's title.
    pub title: String,
    /// The client's durable name for the file.
    pub key: Option<String>,
    /// The file's size in bytes, if the client has said it.
    pub size: Option<u64>,
    /// Who sends it.
    pub peer: SocketAddr,
    /// The file's content.
    pub body: B,
}

/// The reservations of a file that is being read.
pub(super) struct Reserved {
    /// A place among the large files that come in.
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) room: Room,
    pub(super) incoming: Option<OwnedSemaphorePermit>,
    pub(super) disk: DiskReservation,
    /// The reservation before this one: the disk may be that much behind.
    pub(super) disk_behind: Option<DiskReservation>,
    /// Bytes that the room is for, with the title.
    pub(super) bytes: u64,
}

/// What is known of a file before its content.
pub(super) struct Head {
    pub(super) title: Box<str>,
    pub(super) key: Option<Arc<str>>,
    pub(super) size: Option<u64>,
    pub(super) from: Arc<str>,
}

/// Content on its way in, with its reservations.
pub(super) struct Arriving<'a, B> {
    door: &'a Door,
    body: B,
    lap: ProgressDeadline,
    stall: Duration,
    /// When the last piece was handed on. The time until the next is asked for is ours, not the
    /// peer's.
    handed_on: Option<Instant>,
    /// The size that the client has said.
    declared: Option<u64>,
    /// Bytes that came.
    pub(super) came: u64,
    /// Bytes of the title.
    title: u64,
    pub(super) reserved: Reserved,
    /// Pieces that were read and are to be handed on first, the last one first.
    ahead: Vec<Bytes>,
}

impl<'a, B: UploadBody> Arriving<'a, B> {
    pub(super) fn new(door: &'a Door, body: B, head: &Head, reserved: Reserved) -> Self {
        Self {
            door,
            body,
            lap: ProgressDeadline::default(),
            stall: door.bounds().deadlines.stall,
            handed_on: None,
            declared: head.size,
            came: 0,
            title: head.title.len() as u64,
            reserved,
            ahead: Vec::new(),
        }
    }

    /// Reads small content whole; `None` if it is not small.
    pub(super) async fn gather(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.declared.is_some_and(|size| size > INLINE) {
            return Ok(None);
        }
        // A piece may be a small slice of a large buffer, which a file that waits in memory must
        // not keep: so the pieces are copied.
        let mut content = Vec::with_capacity(
            self.declared
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(0),
        );
        while let Some(piece) = self.next().await? {
            if self.came > INLINE {
                self.ahead = vec![piece, content.into()];
                return Ok(None);
            }
            content.extend_from_slice(&piece);
        }
        self.fit();
        Ok(Some(content.into()))
    }

    /// The next piece, with room reserved for it; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if let Some(handed_on) = self.handed_on.take() {
            self.lap.put_off(handed_on.elapsed());
        }
        loop {
            let piece = tokio::select! {
                piece = self.lap.bound(self.stall, self.body.piece()) => piece?,
                () = self.door.shutdown.ended.cancelled() => {
                    return Err(ReadError::Refused(self.door.farewell()));
                }
            };
            match (piece, self.declared) {
                (Some(piece), _) if piece.is_empty() => {}
                (Some(piece), declared) => {
                    self.came += piece.len() as u64;
                    if let Some(limit) = declared.filter(|size| *size < self.came) {
                        return Err(ProtocolError::TooLarge {
                            size: self.came,
                            limit,
                        }
                        .into());
                    }
                    self.grow().await.map_err(ReadError::Refused)?;
                    self.lap.count(piece.len(), 1)?;
                    self.handed_on = Some(Instant::now());
                    return Ok(Some(piece));
                }
                (None, Some(size)) if self.came < size => {
                    return Err(ProtocolError::Truncated {
                        missing: size - self.came,
                    }
                    .into());
                }
                (None, _) => return Ok(None),
            }
        }
    }

    /// Reserves more if the bytes that came need it. It does not wait: others may wait for what
    /// this file holds.
    async fn grow(&mut self) -> Result<(), Refusal> {
        let gate = &self.door.gate;
        let needed = self.came.saturating_add(self.title);
        let had = self.reserved.bytes;
        if needed <= had {
            return Ok(());
        }
        gate.check(needed)?;
        let bytes = had
            .saturating_add(had.clamp(LEAST_STEP, LARGEST_STEP))
            .min(gate.max_file())
            .max(needed);
        let disk = self.door.reserve_disk(bytes - had, 0).await?;
        let Reserved { room, incoming, .. } = &mut self.reserved;
        if !gate.try_grow(room, incoming, bytes) {
            gate.note_full_queue(bytes - had);
            return Err(Refusal::new(RefusalCode::Busy, gate.full_reason()));
        }
        self.reserved.bytes = bytes;
        let earlier = std::mem::replace(&mut self.reserved.disk, disk);
        self.reserved.disk_behind = Some(earlier);
        Ok(())
    }

    /// Gives back the room that is not needed, now that the size is known.
    pub(super) fn fit(&mut self) {
        let bytes = self.came.saturating_add(self.title);
        if bytes < self.reserved.bytes {
            self.door.gate.fit(&mut self.reserved.room, bytes);
            self.reserved.bytes = bytes;
        }
    }
}

impl<B: UploadBody> Source for &mut Arriving<'_, B> {
    /// The connection can end with the answer.
    const READ_PAST: bool = false;

    async fn piece(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.ahead.pop() {
            Some(piece) if piece.is_empty() => Ok(self.ahead.pop()),
            Some(piece) => Ok(Some(piece)),
            None => self.next().await,
        }
    }
}
