//! Reads the content of one file from the body of a request, and keeps enough reserved for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::sums::{Claim, Sums};
use crate::balancer::ingress::door::Inside;
use crate::balancer::ingress::holding::Holding;
use crate::balancer::ingress::upload::{Source, Upload};
use crate::bulk::WriteBehind;
use crate::protocol::ProtocolError;
use crate::queue::INLINE;
use crate::transport::{ProgressDeadline, ReadError};

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
    /// What the client says of the content.
    pub claims: Vec<Claim>,
    /// The file's content.
    pub body: B,
}

/// The reservations of a file that is being read.
pub(super) struct Reserved {
    /// A place among the large files that come in.
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) holding: Holding,
}

/// What is known of a file before its content.
pub(super) struct Head {
    pub(super) title: Box<str>,
    pub(super) key: Option<Arc<str>>,
    pub(super) size: Option<u64>,
}

/// Content on its way in, with its reservations.
pub(super) struct Arriving<'a, B> {
    door: &'a Inside,
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
    /// The sums of those.
    pub(super) sums: Sums,
    /// Bytes of the title.
    title: u64,
    pub(super) reserved: Reserved,
    /// Pieces that were read and are to be handed on first, the last one first.
    ahead: Vec<Bytes>,
}

impl<'a, B: UploadBody> Arriving<'a, B> {
    pub(super) fn new(
        door: &'a Inside,
        body: B,
        head: &Head,
        sums: Sums,
        reserved: Reserved,
    ) -> Self {
        Self {
            door,
            body,
            lap: ProgressDeadline::default(),
            stall: door.bounds().deadlines.stall,
            handed_on: None,
            declared: head.size,
            came: 0,
            sums,
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
                    self.sums.add(&piece);
                    if let Some(limit) = declared.filter(|size| *size < self.came) {
                        return Err(ProtocolError::TooLarge {
                            size: self.came,
                            limit,
                        }
                        .into());
                    }
                    self.grow().await?;
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
                (None, _) => {
                    self.sums.check()?;
                    return Ok(None);
                }
            }
        }
    }

    /// Reserves more if the bytes that came need it. Its client cannot be told that it waits, so
    /// it does not wait long.
    async fn grow(&mut self) -> Result<(), ReadError> {
        let (gate, holding) = (self.door.gate(), &mut self.reserved.holding);
        let needed = self.came.saturating_add(self.title);
        if holding.is_too_slow(gate, needed, self.stall) {
            return Err(ReadError::Refused(gate.too_slow()));
        }
        if holding.is_enough(needed) {
            return Ok(());
        }
        gate.check(needed).map_err(ReadError::Refused)?;
        let began = Instant::now();
        if !holding.try_grow(gate, needed) {
            let grown = holding.grow(gate, needed);
            let grown = self.door.in_time(grown, || gate.full_reason()).await;
            grown.map_err(ReadError::Refused)?;
        }
        let on_disk = holding.grow_disk(self.door, needed).await;
        // The wait was ours, not the peer's.
        self.lap.put_off(began.elapsed());
        on_disk.map_err(ReadError::Refused)
    }

    /// Gives back the room that is not needed, now that the size is known.
    pub(super) fn fit(&mut self) {
        let bytes = self.came.saturating_add(self.title);
        self.reserved.holding.fit(self.door.gate(), bytes);
    }
}

impl<B: UploadBody> Source for &mut Arriving<'_, B> {
    /// The connection can end with the answer.
    const READ_PAST: bool = false;

    async fn pass(&mut self, writer: &mut WriteBehind<Upload>) -> Result<bool, ReadError> {
        let piece = match self.ahead.pop() {
            Some(piece) if piece.is_empty() => self.ahead.pop(),
            Some(piece) => Some(piece),
            None => writer.beside(self.next()).await?,
        };
        Ok(match piece {
            Some(piece) => {
                writer.write(piece).await;
                true
            }
            None => false,
        })
    }
}
