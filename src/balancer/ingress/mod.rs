//! The doorways: how files come in from clients.
//!
//! On the balancer's port the first byte of a connection says which doorway it wants; HTTP comes in
//! at the admin listener. All read with deadlines and reserve room before they read a file, and all
//! end in [`Gate::admit`](super::gate::Gate::admit); only their languages differ.

pub mod http;
mod json;
mod native;
mod upload;

use upload::Uploaded;
pub(super) use upload::Uploads;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::Settings;
use super::gate::Gate;
use super::messages::{Admission, Arrived, Reply, Room, Share};
use crate::protocol::frame::MAGIC;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::INLINE;
use crate::transport::{BoxStream, Deadlines, ReadError, Reader, Seat, log_end};

/// What every doorway needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) gate: Arc<Gate>,
    pub(super) uploads: Arc<Uploads>,
    /// Why the balancer ends, if it is not because it was told to.
    pub(super) farewell: Arc<OnceLock<Refusal>>,
    /// For connections from now on.
    pub(super) bounds: watch::Sender<DoorBounds>,
    /// No new files are taken once this is cancelled.
    pub(super) stop: CancellationToken,
    /// No receipts will come any more once this is cancelled.
    pub(super) finished: CancellationToken,
}

/// What a doorway allows its clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct DoorBounds {
    pub(super) deadlines: Deadlines,
    /// The largest object at the JSON doorway, in bytes.
    pub(super) max_json: u64,
}

impl From<&Settings> for DoorBounds {
    fn from(settings: &Settings) -> Self {
        Self {
            deadlines: Deadlines {
                stall: settings.stall,
                idle: settings.idle,
            },
            max_json: settings.max_json,
        }
    }
}

/// Serves one connection from its first byte to its end.
pub(super) async fn serve(stream: BoxStream, peer: SocketAddr, door: Door, seat: Arc<Seat>) {
    let (read, write) = tokio::io::split(stream);
    let bounds = door.bounds();
    let mut reader = Reader::new(read, bounds.deadlines);
    let first = tokio::select! {
        () = door.stop.cancelled() => return,
        () = seat.asked_to_leave() => Err(ReadError::Crowded),
        first = reader.peek() => first,
    };
    let ended = match first {
        Ok(None) => Ok(()),
        // In boxes, for what is in one piece with the task is moved and kept twice over.
        Ok(Some(byte)) if byte == MAGIC[0] => {
            Box::pin(native::serve(
                reader,
                write,
                peer,
                &door,
                bounds.deadlines.stall,
                seat,
            ))
            .await
        }
        Ok(Some(_)) => {
            Box::pin(json::serve(
                &mut reader,
                peer,
                &door,
                bounds.max_json,
                &seat,
            ))
            .await
        }
        Err(error) => Err(error),
    };
    log_end(peer, ended);
}

/// A file whose content is in memory, before it is admitted.
struct InMemory {
    title: Box<str>,
    key: Option<Arc<str>>,
    content: Bytes,
    crc32c: u32,
    room: Room,
    share: Share,
    from: Arc<str>,
    reply: Option<Reply>,
}

impl Door {
    /// Why nothing is taken any more.
    fn farewell(&self) -> Refusal {
        let stopping = || Refusal::new(RefusalCode::Stopping, "the balancer is stopping");
        self.farewell.get().cloned().unwrap_or_else(stopping)
    }

    /// Room on the disk; what uploads have left behind makes way for it.
    async fn share(&self, whole: u64, there: u64) -> Result<Share, Refusal> {
        match self.gate.try_share(whole, there) {
            Err(_) => {
                let uploads = self.uploads.clone();
                let _ = tokio::task::spawn_blocking(move || uploads.tidy(Duration::ZERO, 0)).await;
                self.gate.share(whole, there)
            }
            share => share,
        }
    }

    /// What clients are allowed that come now.
    pub(super) fn bounds(&self) -> DoorBounds {
        *self.bounds.borrow()
    }

    /// Allows clients something else that come from now on.
    pub(super) fn set_bounds(&self, bounds: DoorBounds) {
        self.bounds.send_replace(bounds);
    }

    /// Admits a file whose content is in memory; large content goes to a file of its own first.
    async fn admit(&self, file: InMemory) -> Result<(), (Refusal, Option<Reply>)> {
        let InMemory {
            title,
            key,
            content,
            crc32c,
            room,
            mut share,
            from,
            reply,
        } = file;
        let size = content.len() as u64;
        let (content, uploaded) = if size <= INLINE {
            self.gate.take_turn(&mut share, size).await;
            (Arrived::Memory(content), None)
        } else {
            match self.uploads.keep(content).await {
                Ok(uploaded) => (Arrived::Own(uploaded.id), Some(uploaded)),
                Err(refusal) => return Err((refusal, reply)),
            }
        };
        let admission = Admission {
            title,
            key,
            content,
            size,
            crc32c,
            room,
            share,
            from,
            reply,
        };
        self.gate.admit(admission);
        let _ = uploaded.map(Uploaded::admitted);
        Ok(())
    }
}
