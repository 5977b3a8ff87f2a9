//! The HTTP doorway, but for HTTP: one file with its receipts, from a body that comes in pieces.
//!
//! Owns how a file gets in whose size may not be known before its end. Leaves requests and answers
//! to the admin listener. Invariant: a file waits for room before it is read, and for a bounded
//! time; while it is being read it never waits for more, so that no two can wait for each other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::Door;
use super::door::InMemory;
use super::upload::Source;
use crate::balancer::messages::{
    Admission, Arrived, Declined, Reply, Sum, ToClient, next_connection,
};
use crate::balancer::room::{DiskReservation, Room};
use crate::protocol::limits::{MAX_KEY, MAX_LARGE_UPLOADS, MAX_TITLE};
use crate::protocol::{Message, ProtocolError, Refusal, RefusalCode};
use crate::queue::{INLINE, key_hash};
use crate::transport::{ProgressDeadline, ReadError};
use crate::units::ByteSize;

/// How much more is reserved at once for a file of unknown size, in bytes: as much as it has,
/// within these bounds.
const STEPS: (u64, u64) = (INLINE, 4 * 1024 * 1024);

/// The body of a request.
pub trait UploadBody: Send {
    /// The next piece of it; `None` at its end. What was waited for is not lost when the wait is
    /// given up.
    fn piece(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// A file that a client would hand over.
#[derive(Debug)]
pub struct HttpUpload<B> {
    /// Its title.
    pub title: String,
    /// The client's lasting name for it.
    pub key: Option<String>,
    /// Its size in bytes, if the client has said it.
    pub size: Option<u64>,
    /// Who sends it.
    pub peer: SocketAddr,
    /// Its content.
    pub body: B,
}

/// What becomes of a file that was handed over. The file goes its way when this is dropped.
#[derive(Debug)]
pub struct Receipts {
    from_hub: mpsc::UnboundedReceiver<ToClient>,
    /// What came last, before it was asked for.
    fate: Option<Fate>,
    /// The file's size in bytes.
    pub size: u64,
    /// The CRC32C of its content.
    pub crc32c: u32,
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A server has stored it.
    Delivered {
        /// The server.
        server: Arc<str>,
        /// False from an old-style server, which never acknowledges.
        confirmed: bool,
    },
    /// No server can take it, or somebody has thrown it away.
    Dead {
        /// Why.
        reason: String,
    },
}

impl Receipts {
    fn new(size: u64, crc32c: u32) -> (Self, Reply) {
        let (to, from_hub) = mpsc::unbounded_channel();
        (
            Self {
                from_hub,
                fate: None,
                size,
                crc32c,
            },
            Reply {
                connection: next_connection(),
                to,
                id: 0,
            },
        )
    }

    /// Waits until the file is in the journal, or the same file under its key, and gives its
    /// request number. To be asked once.
    pub async fn accepted(&mut self) -> Result<u64, Refusal> {
        while let Some(receipt) = self.from_hub.recv().await {
            match receipt {
                ToClient::Message(Message::Accepted { number, .. }) => return Ok(number),
                ToClient::Message(Message::Refused { refusal, .. }) => return Err(refusal),
                other => self.fate = fate(other),
            }
        }
        Err(Refusal::new(
            RefusalCode::Stopping,
            "no receipt came: the balancer has stopped",
        ))
    }

    /// Waits until an accepted file has ended. `None` when nothing more will be heard of it here.
    pub async fn ended(&mut self) -> Option<Fate> {
        while self.fate.is_none() {
            self.fate = fate(self.from_hub.recv().await?);
        }
        self.fate.clone()
    }
}

fn too_many() -> String {
    format!(
        "{MAX_LARGE_UPLOADS} files of more than {} are coming in",
        ByteSize(INLINE)
    )
}

fn fate(receipt: ToClient) -> Option<Fate> {
    match receipt {
        ToClient::Message(Message::Delivered {
            server, confirmed, ..
        }) => Some(Fate::Delivered { server, confirmed }),
        ToClient::Message(Message::Dead { reason, .. }) => Some(Fate::Dead { reason }),
        _ => None,
    }
}

/// What is reserved for a file that is being read.
struct Reserved {
    /// One of the places for large files.
    place: Option<OwnedSemaphorePermit>,
    room: Room,
    incoming: Option<OwnedSemaphorePermit>,
    disk: DiskReservation,
    /// The reservation before this one: the disk may be that much behind.
    disk_behind: Option<DiskReservation>,
    /// For so many bytes, the title among them.
    bytes: u64,
}

/// What a file brings before its content.
struct Head {
    title: Box<str>,
    key: Option<Arc<str>>,
    size: Option<u64>,
    from: Arc<str>,
}

impl Door {
    /// Takes one file: room first, then its content. Nothing of a body is read before there is room
    /// for it.
    pub async fn receive<B: UploadBody>(
        &self,
        upload: HttpUpload<B>,
    ) -> Result<Receipts, ReadError> {
        let HttpUpload {
            title,
            key,
            size,
            peer,
            body,
        } = upload;
        if title.len() > MAX_TITLE {
            return Err(ProtocolError::TitleTooLong(title.len()).into());
        }
        if let Some(key) = key
            .as_deref()
            .filter(|key| !(1..=MAX_KEY).contains(&key.len()))
        {
            return Err(ProtocolError::KeyLength(key.len()).into());
        }
        let head = Head {
            title: title.into(),
            key: key.map(Arc::from),
            size,
            from: peer.to_string().into(),
        };
        let reserved = match self.reserve(&head).await {
            Ok(reserved) => reserved,
            Err(refusal) => return self.refuse(&head, body, refusal).await,
        };
        let mut arriving = Arriving::new(self, body, &head, reserved);
        match arriving.gather().await? {
            Some(content) => self.take_small(&head, content, arriving.reserved).await,
            None => self.take_large(&head, arriving).await,
        }
    }

    /// Room for a file, or for the beginning of one whose size is not known. A client that cannot
    /// be told that it waits does not wait long.
    async fn reserve(&self, head: &Head) -> Result<Reserved, Refusal> {
        if self.shutdown.draining.is_cancelled() {
            return Err(self.farewell());
        }
        let (size, title) = (head.size.unwrap_or(INLINE), head.title.len() as u64);
        let mut bytes = size.saturating_add(title);
        if head.size.is_none() {
            bytes = bytes.min(self.gate.max_file()).max(title);
        }
        self.gate.check(bytes)?;
        let disk = self.reserve_disk(size, 0).await?;
        let place = if size > INLINE {
            Some(self.in_time(self.place(), too_many).await?)
        } else {
            None
        };
        let (room, incoming) = match self.gate.try_reserve(bytes) {
            Some(reserved) => reserved,
            None => {
                self.in_time(self.gate.reserve(bytes), || self.gate.full_reason())
                    .await?
            }
        };
        Ok(Reserved {
            place,
            room,
            incoming,
            disk,
            disk_behind: None,
            bytes,
        })
    }

    /// Waits for a place among the large files that come in.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.uploads.places.clone().acquire_owned().await.ok()
    }

    /// Waits for something while the client is patient and the balancer takes files; `reason` says
    /// why it was in vain.
    async fn in_time<T>(
        &self,
        wait: impl Future<Output = Option<T>>,
        reason: impl FnOnce() -> String,
    ) -> Result<T, Refusal> {
        tokio::select! {
            had = timeout(self.room_patience, wait) => match had {
                Ok(Some(had)) => Ok(had),
                Ok(None) => Err(self.farewell()),
                Err(_) => Err(Refusal::new(RefusalCode::Busy, reason())),
            },
            () = self.shutdown.draining.cancelled() => Err(self.farewell()),
        }
    }

    /// Refuses a file of which nothing was read, unless it came before under its key: that one must
    /// not be taken for lost, and the content tells whether it is the same.
    async fn refuse<B: UploadBody>(
        &self,
        head: &Head,
        body: B,
        refusal: Refusal,
    ) -> Result<Receipts, ReadError> {
        let (Some(key), Some(size)) = (head.key.clone(), head.size) else {
            return Err(ReadError::Refused(refusal));
        };
        let (back, came_before) = oneshot::channel();
        let (mut receipts, reply) = Receipts::new(size, 0);
        self.decline(Declined {
            key: key.clone(),
            size,
            sum: Sum::Unread(back),
            refusal,
            reply,
        });
        if let Ok((refusal, reply)) = came_before.await {
            let crc32c = self.sum(body, size).await?;
            receipts.crc32c = crc32c;
            self.decline(Declined {
                key,
                size,
                sum: Sum::Known(crc32c),
                refusal,
                reply,
            });
        }
        Ok(receipts)
    }

    /// Reads content of this size, keeps nothing of it, and gives its CRC32C.
    async fn sum<B: UploadBody>(&self, mut body: B, size: u64) -> Result<u32, ReadError> {
        let (mut lap, mut came, mut crc32c) = (ProgressDeadline::default(), 0, 0);
        let stall = self.bounds().deadlines.stall;
        loop {
            let piece = tokio::select! {
                piece = lap.bound(stall, body.piece()) => piece?,
                () = self.shutdown.ended.cancelled() => return Err(ReadError::Refused(self.farewell())),
            };
            let Some(piece) = piece else { break };
            if piece.is_empty() {
                continue;
            }
            came += piece.len() as u64;
            crc32c = crc32c::crc32c_append(crc32c, &piece);
            if came > size {
                return Err(ProtocolError::TooLarge {
                    size: came,
                    limit: size,
                }
                .into());
            }
            lap.count(piece.len(), 1)?;
        }
        if came < size {
            Err(ProtocolError::Truncated {
                missing: size - came,
            }
            .into())
        } else {
            Ok(crc32c)
        }
    }

    async fn take_small(
        &self,
        head: &Head,
        content: Bytes,
        reserved: Reserved,
    ) -> Result<Receipts, ReadError> {
        let crc32c = crc32c::crc32c(&content);
        let (receipts, reply) = Receipts::new(content.len() as u64, crc32c);
        let Reserved { room, disk, .. } = reserved;
        let (title, key, from) = (head.title.clone(), head.key.clone(), head.from.clone());
        let file = InMemory {
            title,
            key,
            content,
            crc32c,
            room,
            disk,
            from,
            reply: Some(reply),
        };
        self.admit(file).await.map_err(ReadError::Refused)?;
        Ok(receipts)
    }

    async fn take_large<B: UploadBody>(
        &self,
        head: &Head,
        mut arriving: Arriving<'_, B>,
    ) -> Result<Receipts, ReadError> {
        if arriving.reserved.place.is_none() {
            // It has room already, so it does not wait.
            let place = self.uploads.places.clone().try_acquire_owned();
            let place = place
                .map_err(|_| ReadError::Refused(Refusal::new(RefusalCode::Busy, too_many())))?;
            arriving.reserved.place = Some(place);
        }
        let mark = head.key.as_deref().map(key_hash);
        let uploaded = match self.uploads.receive(&mut arriving, mark, None).await? {
            Ok(uploaded) => uploaded,
            Err(refusal) => return Err(ReadError::Refused(refusal)),
        };
        arriving.fit();
        let (receipts, reply) = Receipts::new(arriving.came, uploaded.crc32c);
        let Reserved { room, disk, .. } = arriving.reserved;
        self.gate.admit(Admission {
            title: head.title.clone(),
            key: head.key.clone(),
            content: Arrived::Own(uploaded.id),
            size: receipts.size,
            crc32c: uploaded.crc32c,
            room,
            disk,
            from: head.from.clone(),
            reply: Some(reply),
        });
        uploaded.admitted();
        Ok(receipts)
    }
}

/// Content on its way in.
struct Arriving<'a, B> {
    door: &'a Door,
    body: B,
    lap: ProgressDeadline,
    stall: Duration,
    /// When the last piece was handed on: the peer is not to blame for what passes until the next
    /// is asked for.
    handed_on: Option<Instant>,
    /// The size that the client has said.
    declared: Option<u64>,
    came: u64,
    /// What the title takes.
    title: u64,
    reserved: Reserved,
    /// What was read and is to be handed on first, the last piece first.
    ahead: Vec<Bytes>,
}

impl<'a, B: UploadBody> Arriving<'a, B> {
    fn new(door: &'a Door, body: B, head: &Head, reserved: Reserved) -> Self {
        let title = head.title.len() as u64;
        let (lap, handed_on, ahead) = (ProgressDeadline::default(), None, Vec::new());
        let stall = door.bounds().deadlines.stall;
        Self {
            door,
            body,
            lap,
            stall,
            handed_on,
            declared: head.size,
            came: 0,
            title,
            reserved,
            ahead,
        }
    }

    /// Small content, whole; `None` if it is not small.
    async fn gather(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.declared.is_some_and(|size| size > INLINE) {
            return Ok(None);
        }
        // A piece may be a small part of what it was read into, which a file that waits in memory
        // must not keep.
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

    /// The next piece, for which there is room; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if let Some(handed_on) = self.handed_on.take() {
            self.lap.put_off(handed_on.elapsed());
        }
        loop {
            let piece = tokio::select! {
                piece = self.lap.bound(self.stall, self.body.piece()) => piece?,
                () = self.door.shutdown.ended.cancelled() => return Err(ReadError::Refused(self.door.farewell())),
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

    /// Reserves more, if what came needs it. It is not waited for: others may wait for what this
    /// file holds.
    async fn grow(&mut self) -> Result<(), Refusal> {
        let (gate, needed) = (&self.door.gate, self.came.saturating_add(self.title));
        let had = self.reserved.bytes;
        if needed <= had {
            return Ok(());
        }
        gate.check(needed)?;
        let bytes = had
            .saturating_add(had.clamp(STEPS.0, STEPS.1))
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

    /// Gives back what was reserved and is not needed, now that the size is known.
    fn fit(&mut self) {
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

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
