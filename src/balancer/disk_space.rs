//! How much of the journal's disk is free for files.
//!
//! The disk is asked for its free bytes at most once in [`BELIEVED`]. Of those, two parts are not
//! for new files: what the journal itself needs to go on delivering, and what is promised to files
//! that are not written yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::room::{DiskReservation, OVERHEAD};
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::units::ByteSize;

/// How long the disk's last answer is used before it is asked again.
const BELIEVED: Duration = Duration::from_millis(10);

/// Bytes that the end of a waiting file takes in the journal, rounded up.
const END_OF_FILE: u64 = 512;

/// The free bytes of the journal's disk, and who they are for.
pub(super) struct DiskSpace {
    disk: Arc<dyn Disk>,
    /// The journal's directory, as operators know it.
    dir: PathBuf,
    /// Bytes that the journal needs beside the files.
    reserve: u64,
    /// Bytes promised to files that are not written yet.
    promised: Arc<AtomicU64>,
    /// The disk's last answer, and when it was asked, in milliseconds since `started`.
    available: AtomicU64,
    asked_ms: AtomicU64,
    started: Instant,
}

/// The parts of the free bytes.
struct Parts {
    /// For files, those that have a reservation among them.
    usable: u64,
    /// For what the journal needs to go on delivering.
    kept: u64,
}

impl DiskSpace {
    /// The disk of a journal that needs `reserve` bytes beside the files.
    pub(super) fn new(disk: Arc<dyn Disk>, reserve: u64) -> Self {
        Self {
            disk,
            dir: PathBuf::from("."),
            reserve,
            promised: Arc::default(),
            available: AtomicU64::new(0),
            asked_ms: AtomicU64::new(u64::MAX),
            started: Instant::now(),
        }
    }

    /// Names the disk by this directory.
    pub(super) fn set_dir(&mut self, dir: PathBuf) {
        self.dir = dir;
    }

    /// Reserves bytes for a file of `size` bytes of which `there` are written already, beside
    /// `waiting` files in the queue. The refusal names the sizes.
    pub(super) fn try_reserve(
        &self,
        size: u64,
        there: u64,
        waiting: usize,
    ) -> Result<DiskReservation, Refusal> {
        let bytes = needed(size, there);
        let (reservation, promised) = DiskReservation::take(&self.promised, bytes);
        let Parts { usable, kept } = self.parts(waiting);
        if promised <= usable {
            return Ok(reservation);
        }
        drop(reservation);
        Err(refusal(size, usable.saturating_sub(promised - bytes), kept))
    }

    /// Makes a reservation so many bytes, of a file of which the first `size` bytes are to be
    /// taken. Nothing changes if the disk has too little.
    pub(super) fn try_grow(
        &self,
        reservation: &mut DiskReservation,
        bytes: u64,
        size: u64,
        waiting: usize,
    ) -> Result<(), Refusal> {
        let had = reservation.bytes();
        let promised = reservation.set(bytes);
        let Parts { usable, kept } = self.parts(waiting);
        if bytes <= had || promised <= usable {
            return Ok(());
        }
        let others = reservation.set(had).saturating_sub(had);
        Err(refusal(size, usable.saturating_sub(others), kept))
    }

    /// Whether so many bytes could be reserved now.
    pub(super) fn has_room_for(&self, bytes: u64, waiting: usize) -> bool {
        self.promised().saturating_add(bytes) <= self.parts(waiting).usable
    }

    /// Why not even the smallest file fits now, if so.
    pub(super) fn trouble(&self, waiting: usize) -> Option<String> {
        let Parts { usable, kept } = self.parts(waiting);
        let is_full = self.promised().saturating_add(OVERHEAD) > usable;
        is_full.then(|| {
            let kept = ByteSize(kept);
            format!("the journal's disk is full: the {kept} that are left are kept for deliveries")
        })
    }

    /// The disk's figures, for an operator.
    pub(super) fn figures(&self, waiting: usize) -> String {
        let available = ByteSize(self.available());
        let Parts { usable, kept } = self.parts(waiting);
        let free = ByteSize(usable.saturating_sub(self.promised()));
        let dir = self.dir.display();
        format!(
            "{dir} is on a disk with {available} free, of which {} are kept for deliveries and \
             {free} are for files",
            ByteSize(kept)
        )
    }

    /// Bytes that are promised to files.
    pub(super) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    fn parts(&self, waiting: usize) -> Parts {
        let ends = (waiting as u64).saturating_mul(END_OF_FILE);
        let kept = self.reserve.saturating_add(ends);
        Parts {
            usable: self.available().saturating_sub(kept),
            kept,
        }
    }

    /// The disk's free bytes, asked for now or a moment ago.
    fn available(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let asked = self.asked_ms.load(Ordering::Relaxed);
        let believed = u64::try_from(BELIEVED.as_millis()).unwrap_or(0);
        if asked == u64::MAX || now.saturating_sub(asked) > believed {
            // If the disk cannot say, writing to it will tell.
            let available = self.disk.space().map_or(u64::MAX, |space| space.available);
            self.available.store(available, Ordering::Relaxed);
            self.asked_ms.store(now, Ordering::Relaxed);
        }
        self.available.load(Ordering::Relaxed)
    }
}

/// The refusal of a file of `size` bytes, for which `free` are left beside the `kept`.
fn refusal(size: u64, free: u64, kept: u64) -> Refusal {
    let (size, free, kept) = (ByteSize(size), ByteSize(free), ByteSize(kept));
    let reason = format!(
        "the journal's disk is full: a file of {size} does not fit into {free} ({kept} more are \
         kept for deliveries)"
    );
    Refusal::new(RefusalCode::Full, reason)
}

/// Bytes that a file of `size` bytes takes on the disk beside the `there` that are written.
pub(super) fn needed(size: u64, there: u64) -> u64 {
    size.saturating_sub(there).saturating_add(OVERHEAD)
}
