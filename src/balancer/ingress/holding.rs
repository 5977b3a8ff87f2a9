//! What a file holds while its content comes: more, as more has come.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::door::Inside;
use crate::balancer::gate::{Gate, Reserved};
use crate::balancer::room::{DiskReservation, OVERHEAD, Room};
use crate::protocol::Refusal;

/// The most bytes of a file that have come and that the disk's free bytes may not show yet: they
/// are on their way to it, or the disk was asked a moment ago.
const BEHIND: u64 = 16 * 1024 * 1024;

/// The time between two looks at a full disk.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The reservations of a file that is being read. Sizes are those of the content and the title.
pub(super) struct Holding {
    reserved: Reserved,
    disk: DiskReservation,
    disk_turn: Option<OwnedSemaphorePermit>,
    /// Bytes that were on the disk before.
    there: u64,
    /// The size of the file, or the largest that it may have.
    whole: u64,
}

impl Holding {
    /// The reservations for the first part of a file. Of the disk it keeps what that part needs.
    pub(super) fn new(reserved: Reserved, disk: DiskReservation, there: u64, whole: u64) -> Self {
        let mut holding = Self {
            reserved,
            disk,
            disk_turn: None,
            there,
            whole,
        };
        let first = holding.promise(there, holding.reserved.bytes);
        holding.disk.set(first.min(holding.disk.bytes()));
        holding
    }

    /// Whether it is enough for so many bytes.
    pub(super) fn is_enough(&self, came: u64) -> bool {
        came <= self.reserved.bytes
    }

    /// How many bytes it is enough for when so many have come.
    pub(super) fn left(&self, came: u64) -> u64 {
        self.reserved.bytes.saturating_sub(came)
    }

    /// Reserves room for more than the `came` bytes, without waiting; false if it must wait.
    pub(super) fn try_grow(&mut self, gate: &Gate, came: u64) -> bool {
        gate.try_grow(&mut self.reserved, came, self.whole)
    }

    /// Waits for room for more than the `came` bytes. `None` once the balancer is gone.
    pub(super) async fn grow(&mut self, gate: &Gate, came: u64) -> Option<()> {
        gate.grow(&mut self.reserved, came, self.whole).await
    }

    /// Reserves of the disk what the room is for, of which `came` bytes have come. Files that do
    /// not fit together find the disk full at the same time. So the first of them waits a while for
    /// the others to be refused.
    pub(super) async fn grow_disk(&mut self, door: &Inside, came: u64) -> Result<(), Refusal> {
        let size = self.reserved.bytes;
        let bytes = self.promise(came, size);
        let gate = door.gate();
        if gate.try_grow_disk(&mut self.disk, bytes, size).is_ok() {
            return Ok(());
        }
        door.remove_idle_parts().await;
        if self.disk_turn.is_none() {
            self.disk_turn = gate.disk_turn();
        }
        let until = Instant::now() + door.limits.room_patience;
        loop {
            let Err(refusal) = gate.try_grow_disk(&mut self.disk, bytes, size) else {
                return Ok(());
            };
            let may_wait = self.disk_turn.is_some() && gate.is_disk_shared(&self.disk);
            if !may_wait || Instant::now() >= until {
                gate.note_full_disk(bytes, &refusal);
                return Err(refusal);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the file must be given up: it has the turn, and is too slow for those that wait.
    pub(super) fn is_too_slow(&self, gate: &Gate, came: u64, grace: Duration) -> bool {
        gate.is_too_slow(&self.reserved, came, grace)
    }

    /// Gives back what a file of so many bytes does not need, and counts it with that size.
    pub(super) fn fit(&mut self, gate: &Gate, bytes: u64) {
        self.reserved.room.counts_for(bytes);
        if bytes < self.reserved.bytes {
            gate.fit(&mut self.reserved.room, bytes);
            self.reserved.bytes = bytes;
        }
    }

    /// What the file holds until it has left the queue, and until it is in the journal. What it
    /// held to be read is given back.
    pub(super) fn read(self) -> (Room, DiskReservation) {
        (self.reserved.room, self.disk)
    }

    /// Bytes of the disk for a file of which the first `size` bytes are to be taken.
    fn promise(&self, came: u64, size: u64) -> u64 {
        let behind = came.saturating_sub(self.there).min(BEHIND);
        let to_come = size.saturating_sub(came);
        to_come.saturating_add(behind).saturating_add(OVERHEAD)
    }
}
