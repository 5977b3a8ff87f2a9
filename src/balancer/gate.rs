//! The one way into the queue: room is reserved here before a file is read, and every doorway ends in
//! [`Gate::admit`].
//!
//! Invariant: what is accepted or being read never takes more than the queue's bounds, and peers that stall in the
//! middle of large files can hold at most half of its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::event::{Admission, Event, Outgoing, Room};
use crate::protocol::limits::SMALL_CONTENT;
use crate::protocol::{Refusal, RefusalCode};
use crate::units::ByteSize;

/// Bytes are reserved in units, so that a terabyte can still be counted in 32 bits.
const UNIT: u64 = 256;

/// What a waiting file costs beside its content and title, rounded up.
const OVERHEAD: u64 = 512;

/// How much the queue may hold.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Files.
    pub files: usize,
    /// Bytes of content, and of what each file costs beside it.
    pub bytes: u64,
}

/// The way into the queue.
#[derive(Debug)]
pub struct Gate {
    limits: QueueLimits,
    files: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// What large files may hold while they are still being read.
    incoming: Arc<Semaphore>,
    full: AtomicBool,
    hub: mpsc::UnboundedSender<Event>,
}

impl Gate {
    /// A gate to an empty queue with these limits.
    pub fn new(limits: QueueLimits, hub: mpsc::UnboundedSender<Event>) -> Self {
        let units = |bytes: u64| Arc::new(Semaphore::new(permits(bytes) as usize));
        Self {
            limits,
            files: Arc::new(Semaphore::new(limits.files.min(Semaphore::MAX_PERMITS))),
            bytes: units(limits.bytes),
            incoming: units(limits.bytes / 2),
            full: AtomicBool::new(false),
            hub,
        }
    }

    /// The largest file that can ever pass, in bytes.
    pub fn max_file(&self) -> u64 {
        (self.limits.bytes / 2).saturating_sub(OVERHEAD + UNIT)
    }

    /// Refuses a file that can never pass.
    pub fn check(&self, size: u64) -> Result<(), Refusal> {
        if size <= self.max_file() {
            return Ok(());
        }
        let (size, most) = (ByteSize(size), ByteSize(self.max_file()));
        let reason = format!("a file of {size}: this balancer takes at most {most}, half of its queue (--queue-bytes)");
        Err(Refusal::new(RefusalCode::TooLarge, reason))
    }

    /// Room for a file of `size` bytes and leave to read it, if there is some now.
    pub fn try_reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        let incoming = match size {
            0..=SMALL_CONTENT => None,
            _ => Some(self.incoming.clone().try_acquire_many_owned(permits(size)).ok()?),
        };
        Some((self.try_room(size)?, incoming))
    }

    /// Waits for leave to read a file of `size` bytes, then for room for it. `None` once the balancer is gone.
    pub async fn reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        let incoming = self.incoming(size).await;
        Some((self.room(size).await?, incoming))
    }

    /// Waits for leave to read a message of up to `size` bytes; small ones need none.
    pub async fn incoming(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        if size <= SMALL_CONTENT {
            return None;
        }
        self.incoming.clone().acquire_many_owned(permits(size)).await.ok()
    }

    /// Room for a file of `size` bytes, if there is some now.
    pub fn try_room(&self, size: u64) -> Option<Room> {
        let file = self.files.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(cost(size)).ok()?;
        if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::Relaxed) {
            tracing::info!("the queue has room again");
        }
        Some(Room { _file: file, _bytes: bytes })
    }

    /// Waits until the queue has room for a file of `size` bytes. `None` once the balancer is gone.
    pub async fn room(&self, size: u64) -> Option<Room> {
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason = self.full_reason(), "not reading from clients");
        }
        let file = self.files.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(cost(size)).await.ok()?;
        Some(Room { _file: file, _bytes: bytes })
    }

    /// What a client is told while it waits.
    pub fn full_reason(&self) -> String {
        let files = self.limits.files.saturating_sub(self.files.available_permits());
        let free = ByteSize(self.bytes.available_permits() as u64 * UNIT);
        let most = ByteSize(self.limits.bytes);
        format!("the queue is full: {files} of {} files wait, {free} of {most} are free", self.limits.files)
    }

    /// Lets a file into the queue; its receipts follow. A balancer that has stopped takes none: there will be no
    /// receipt, and the log is all that an old-style client's owner has.
    pub fn admit(&self, admission: Admission) {
        if let Err(mpsc::error::SendError(Event::Admit(Admission { title, peer, .. }))) =
            self.hub.send(Event::Admit(admission))
        {
            tracing::error!(title = &*title, from = %peer, "not accepted: the balancer has stopped");
        }
    }

    /// Asks for the balancer's status on behalf of a client.
    pub fn ask_status(&self, to: mpsc::UnboundedSender<Outgoing>) {
        let _ = self.hub.send(Event::Status(to));
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn cost(size: u64) -> u32 {
    permits(size.saturating_add(OVERHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(files: usize, bytes: u64) -> Gate {
        Gate::new(QueueLimits { files, bytes }, mpsc::unbounded_channel().0)
    }

    #[tokio::test]
    async fn room_is_bounded_in_files_and_bytes_and_comes_back() {
        let files = gate(2, 1 << 20);
        let rooms = [files.try_room(10).unwrap(), files.try_room(10).unwrap()];
        assert!(files.try_room(10).is_none());
        drop(rooms);
        assert!(files.try_room(10).is_some());

        let bytes = gate(1000, 1 << 20);
        let most = bytes.try_room(1 << 19).unwrap();
        assert!(bytes.try_room(1 << 19).is_none());
        assert!(bytes.try_room(1 << 18).is_some());
        drop(most);
        assert!(bytes.try_room(1 << 19).is_some());
    }

    #[tokio::test]
    async fn a_file_that_can_never_pass_is_refused() {
        let gate = gate(10, 1 << 20);
        assert_eq!(gate.check(gate.max_file()), Ok(()));
        let refusal = gate.check(gate.max_file() + 1).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::TooLarge);
        assert!(gate.incoming(gate.max_file()).await.is_some());
        assert!(gate.try_room(gate.max_file()).is_some());
    }

    #[tokio::test]
    async fn stalled_large_files_leave_room_for_small_ones() {
        let gate = gate(1000, 1 << 20);
        let _stalled = gate.incoming(gate.max_file()).await.unwrap();
        let _reserved = gate.try_room(gate.max_file()).unwrap();
        assert!(gate.incoming(1000).await.is_none());
        assert!(gate.try_room(1000).is_some());
    }
}
