//! All uploads of a balancer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::parts::Parts;
use super::source::{Source, read_pieces};
use super::uploaded::Uploaded;
use super::write::{Coming, Target, Upload, refusal};
use crate::balancer::messages::ToHub;
use crate::bulk::WriteBehind;
use crate::protocol::limits::MAX_LARGE_UPLOADS;
use crate::protocol::{ProtocolError, Refusal};
use crate::queue::Durability;
use crate::queue::disk::Disk;
use crate::transport::ReadError;

/// How long a part is kept that no upload goes on with.
const KEPT: Duration = Duration::from_mins(10);

/// The most parts that are kept.
const MOST: usize = 256;

/// All uploads of large content.
pub(in crate::balancer) struct Uploads {
    target: Target,
    parts: Parts,
    /// One permit an upload: each has a file open.
    open: Arc<Semaphore>,
    /// One permit an upload of the HTTP doorway.
    places: Arc<Semaphore>,
}

impl Uploads {
    /// At most so many uploads at once to this disk, which may hold parts of an earlier run.
    pub(in crate::balancer) fn new(
        disk: Arc<dyn Disk>,
        durability: Durability,
        most: usize,
        hub: mpsc::UnboundedSender<ToHub>,
    ) -> Self {
        Self {
            parts: Parts::new(disk.clone()),
            open: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Semaphore::new(MAX_LARGE_UPLOADS)),
            target: Target {
                disk,
                durability,
                hub,
            },
        }
    }

    /// Waits for a place among the uploads of the HTTP doorway.
    pub(in crate::balancer::ingress) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// A place among the uploads of the HTTP doorway, without waiting.
    pub(in crate::balancer::ingress) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Bytes that came of the upload with this mark. An upload that is under way is ended first.
    pub(in crate::balancer::ingress) async fn there(&self, mark: u128) -> u64 {
        self.parts.len(mark).await
    }

    /// Receives the content that comes from `source`: all of it, or the rest of an earlier upload.
    /// The inner error refuses this file alone. An upload that breaks off leaves its part for the
    /// next try if it has a mark.
    pub(in crate::balancer::ingress) async fn receive(
        &self,
        source: impl Source,
        coming: Coming,
    ) -> Result<Result<Uploaded, Refusal>, ReadError> {
        // Uploads with a permit wait only for their peer and the disk, and for both with deadlines.
        let _open = self.open.acquire().await;
        let mark = coming.mark.unwrap_or_else(rand::random);
        let lease = self.parts.lease(mark).await;
        let taken_over = lease.taken_over.clone();
        if taken_over.is_cancelled() {
            // While this upload waited a newer one came, and may have been faster.
            return Err(ReadError::TakenOver);
        }
        let upload = Upload::new(self.target.clone(), lease, coming);
        let mut writer = WriteBehind::new(upload);
        let read = tokio::select! {
            read = read_pieces(source, &mut writer) => read,
            () = taken_over.cancelled() => Err(ReadError::TakenOver),
        };
        // Whole content is taken, even if another upload asks for the part from now on.
        match read {
            Ok(proven) => {
                let finished = writer.end(move |upload| upload.finish(proven)).await;
                Ok(finished.map_err(|error| refusal(&error)))
            }
            Err(error) => {
                let is_useless = is_useless(&error);
                let last = move |upload: Upload| {
                    upload.give_up(is_useless);
                    Ok(())
                };
                let _ = writer.end(last).await;
                Err(error)
            }
        }
    }

    /// Makes content durable that is in memory.
    pub(in crate::balancer::ingress) async fn keep(
        &self,
        bytes: Bytes,
    ) -> Result<Uploaded, Refusal> {
        let _open = self.open.acquire().await;
        let target = self.target.clone();
        let written = spawn_blocking(move || target.keep(&bytes)).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| refusal(&error))
    }

    /// Removes all parts that no upload is writing.
    pub(in crate::balancer::ingress) fn remove_idle_parts(&self) {
        self.parts.tidy(Duration::ZERO, 0);
    }

    /// Removes old parts every now and then. Never returns.
    pub(in crate::balancer) async fn keep_tidy(self: Arc<Self>) {
        loop {
            let parts = self.parts.clone();
            let _ = spawn_blocking(move || parts.tidy(KEPT, MOST)).await;
            tokio::time::sleep(KEPT / 20).await;
        }
    }
}

/// Whether no later upload can go on with what came before this error.
fn is_useless(error: &ReadError) -> bool {
    matches!(
        error,
        ReadError::Protocol(ProtocolError::Checksum { .. }) | ReadError::Refused(_)
    )
}
