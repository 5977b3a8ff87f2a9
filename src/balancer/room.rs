//! What a file holds of the balancer's bounds while it comes in and waits: room in the queue, and
//! bytes of the disk. Each is given back when its guard is dropped.
//!
//! The order in which a file gets them stands in [`super::ingress`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::users::Charge;
use crate::pool::{UNIT, units};

/// Bytes that a waiting file costs beside its content and title, rounded up.
pub(super) const OVERHEAD: u64 = 512;

/// How much the queue may hold.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Files that are accepted or coming in.
    pub files: usize,
    /// Bytes: content, titles and a fixed cost a file.
    pub bytes: u64,
}

/// The largest object of an old-style client does not fit into half of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "--max-json is {max_json} bytes, and --queue-bytes is {queue}: a file may take half of the \
     queue at most; lower --max-json or raise --queue-bytes"
)]
pub struct LimitsError {
    /// The largest object at the JSON doorway, in bytes.
    pub max_json: u64,
    /// The queue's bytes.
    pub queue: u64,
}

impl QueueLimits {
    /// The largest file that such a queue takes, in bytes.
    pub fn max_file(&self) -> u64 {
        max_file(self.bytes)
    }

    /// Refuses a queue that the largest JSON object could never enter.
    pub fn check(&self, max_json: u64) -> Result<(), LimitsError> {
        if max_json > self.max_file() {
            let queue = self.bytes;
            return Err(LimitsError { max_json, queue });
        }
        Ok(())
    }
}

/// The largest file that a queue of so many bytes takes: with more, one file that stalls could keep
/// all others out.
pub(super) fn max_file(queue_bytes: u64) -> u64 {
    (queue_bytes / 2).saturating_sub(OVERHEAD + UNIT)
}

/// The units that a file of so many bytes takes in the queue.
pub(super) fn cost(size: u64) -> u32 {
    units(size.saturating_add(OVERHEAD))
}

/// The queue's room that is not taken.
#[derive(Debug)]
pub struct Rooms {
    /// Files.
    pub(super) files: Semaphore,
    /// Bytes, in units.
    pub(super) bytes: Semaphore,
}

impl Rooms {
    /// A guard for one file and so many units that were taken from the semaphores and not given
    /// back. `None` for 0 units, which no file has.
    pub(super) fn room(self: &Arc<Self>, units: u32) -> Option<Room> {
        (units > 0).then(|| Room {
            of: self.clone(),
            units,
            charge: None,
        })
    }
}

/// Room in the queue for one file.
#[derive(Debug)]
pub struct Room {
    of: Arc<Rooms>,
    units: u32,
    /// What it counts for its user.
    charge: Option<Charge>,
}

impl Room {
    /// Counts for a user, too, for as long as it is taken.
    #[must_use]
    pub(super) fn charged(self, charge: Option<Charge>) -> Self {
        let mut room = self;
        room.charge = charge;
        room
    }

    /// The file turned out to have so many bytes.
    pub(super) fn counts_for(&mut self, bytes: u64) {
        if let Some(charge) = &mut self.charge {
            charge.set(bytes);
        }
    }

    /// Changes its size without waiting; false, and nothing changes, if the queue has too little.
    pub(super) fn resize(&mut self, units: u32) -> bool {
        if let Some(more) = units.checked_sub(self.units) {
            match self.of.bytes.try_acquire_many(more) {
                Ok(permit) => permit.forget(),
                Err(_) => return false,
            }
        } else {
            self.of.bytes.add_permits((self.units - units) as usize);
        }
        self.units = units;
        true
    }

    /// Waits until it is of so many units. `None` once the balancer is gone.
    pub(super) async fn grow(&mut self, units: u32) -> Option<()> {
        let more = units.saturating_sub(self.units);
        self.of.bytes.acquire_many(more).await.ok()?.forget();
        self.units += more;
        Some(())
    }

    /// Its size, and what it counts for its user. The room stays taken; [`Rooms::room`] makes a
    /// guard for it again.
    pub(super) fn into_parts(mut self) -> (u32, Option<Charge>) {
        (std::mem::take(&mut self.units), self.charge.take())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.units > 0 {
            self.of.bytes.add_permits(self.units as usize);
            self.of.files.add_permits(1);
        }
    }
}

/// Bytes of the disk that are promised to one file which is not written yet.
#[derive(Debug)]
pub struct DiskReservation {
    bytes: u64,
    promised: Arc<AtomicU64>,
    /// Its part of the content that may be in memory and not in the journal.
    pub(super) memory_permit: Option<OwnedSemaphorePermit>,
}

impl DiskReservation {
    /// Adds so many bytes to what is promised, and gives the new sum, too.
    pub(super) fn take(promised: &Arc<AtomicU64>, bytes: u64) -> (Self, u64) {
        let sum = promised
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let reservation = Self {
            bytes,
            promised: promised.clone(),
            memory_permit: None,
        };
        (reservation, sum)
    }

    /// Makes it so many bytes, and gives the sum of all that is promised, too.
    pub(super) fn set(&mut self, bytes: u64) -> u64 {
        let sum = if bytes >= self.bytes {
            let more = bytes - self.bytes;
            self.promised
                .fetch_add(more, Ordering::Relaxed)
                .saturating_add(more)
        } else {
            let less = self.bytes - bytes;
            self.promised
                .fetch_sub(less, Ordering::Relaxed)
                .saturating_sub(less)
        };
        self.bytes = bytes;
        sum
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for DiskReservation {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
