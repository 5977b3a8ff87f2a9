//! Admission control: reserves room before a file is read, and hands every file to the hub.
//!
//! Invariant: files that are accepted or coming in never take more than the queue's limits, nor
//! more of the disk than the journal can spare; and peers that stall in the middle of large files
//! hold at most half of the queue's bytes.
//!
//! The order in which a doorway asks for the reservations stands in [`super::ingress`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

use super::disk_space::{DiskSpace, needed};
use super::events::Events;
use super::messages::{Admission, ToHub};
use super::room::{DiskReservation, QueueLimits, Room, Rooms, UNIT, cost, max_file, units};
use super::shortage::Shortage;
use crate::protocol::limits::SMALL_CONTENT;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::units::ByteSize;

/// Bytes that large objects at the JSON doorway may hold in memory: at least two of the largest.
const JSON_MEMORY: u64 = 256 * 1024 * 1024;

/// Bytes of small files that may be in memory, read whole and not yet in the journal: enough for a
/// few group commits. When the disk is slower than the clients, this slows the clients down.
const UNWRITTEN: u64 = 16 * 1024 * 1024;

/// The time between two looks at a full disk by a doorway that cannot refuse.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The time between two looks whether a shortage is over.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// Admission control of one queue.
pub struct Gate {
    limits: Mutex<QueueLimits>,
    /// The limits again, for readers on the path of a file, who must not lock.
    max_files: AtomicUsize,
    max_bytes: AtomicU64,
    rooms: Arc<Rooms>,
    /// Units that large files may take while they are read: half of the queue's.
    incoming: Arc<Semaphore>,
    /// Units that large objects at the JSON doorway may hold in memory, and their number in bytes.
    json_memory: Arc<Semaphore>,
    json_memory_bytes: Mutex<u64>,
    /// Units of small files in memory that are not in the journal yet.
    unwritten: Arc<Semaphore>,
    disk: DiskSpace,
    events: Events,
    queue_shortage: Shortage,
    disk_shortage: Shortage,
    hub: mpsc::UnboundedSender<ToHub>,
}

/// What a doorway must have before it reads a file: its room in the queue, and, for a large file,
/// its part of what stalled peers may hold.
pub(super) type Reserved = (Room, Option<OwnedSemaphorePermit>);

impl Gate {
    /// A gate to an empty queue. The journal needs `reserve` bytes of the disk for itself.
    pub fn new(
        limits: QueueLimits,
        max_json: u64,
        disk: Arc<dyn Disk>,
        reserve: u64,
        hub: mpsc::UnboundedSender<ToHub>,
    ) -> Self {
        let semaphore = |bytes: u64| Semaphore::new(units(bytes) as usize);
        let json_memory_bytes = json_memory(max_json);
        Self {
            limits: Mutex::new(limits),
            max_files: AtomicUsize::new(limits.files),
            max_bytes: AtomicU64::new(limits.bytes),
            rooms: Arc::new(Rooms {
                files: Semaphore::new(file_permits(limits.files)),
                bytes: semaphore(limits.bytes),
            }),
            incoming: Arc::new(semaphore(limits.bytes / 2)),
            json_memory: Arc::new(semaphore(json_memory_bytes)),
            json_memory_bytes: Mutex::new(json_memory_bytes),
            unwritten: Arc::new(semaphore(UNWRITTEN)),
            disk: DiskSpace::new(disk, reserve),
            events: Events::default(),
            queue_shortage: Shortage::of_queue(),
            disk_shortage: Shortage::of_disk(),
            hub,
        }
    }

    /// Reports shortages as these events, and calls the disk by this directory.
    #[must_use]
    pub fn reporting(mut self, events: Events, dir: PathBuf) -> Self {
        self.events = events;
        self.disk.set_dir(dir);
        self
    }

    /// Looks every second whether a shortage is over. Never returns.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_FOR_ROOM).await;
            let now = Instant::now();
            let has_room = |bytes| self.disk.has_room_for(bytes, self.waiting());
            let figures = || self.disk.figures(self.waiting());
            self.disk_shortage
                .look(now, &self.events, has_room, figures);
            let has_room = |bytes| {
                let rooms = &self.rooms;
                rooms.files.available_permits() > 0
                    && rooms.bytes.available_permits() >= cost(bytes) as usize
            };
            self.queue_shortage
                .look(now, &self.events, has_room, || self.queue_figures());
        }
    }

    /// The largest file that the queue can ever take, in bytes.
    pub fn max_file(&self) -> u64 {
        max_file(self.max_bytes.load(Ordering::Relaxed))
    }

    /// How much the queue may hold.
    pub fn limits(&self) -> QueueLimits {
        *lock(&self.limits)
    }

    /// Lets the queue hold more, or less. Files that are in it stay; nothing is let in while they
    /// are too many.
    pub fn set_limits(&self, limits: QueueLimits, max_json: u64) {
        let permits = |bytes: u64| units(bytes) as usize;
        let mut now = lock(&self.limits);
        let files = (file_permits(now.files), file_permits(limits.files));
        resize(self.rooms.clone(), |rooms| &rooms.files, files);
        let bytes = (permits(now.bytes), permits(limits.bytes));
        resize(self.rooms.clone(), |rooms| &rooms.bytes, bytes);
        let halves = (permits(now.bytes / 2), permits(limits.bytes / 2));
        resize(self.incoming.clone(), |incoming| incoming, halves);
        self.max_files.store(limits.files, Ordering::Relaxed);
        self.max_bytes.store(limits.bytes, Ordering::Relaxed);
        *now = limits;
        let mut memory = lock(&self.json_memory_bytes);
        let wanted = json_memory(max_json);
        let bytes = (permits(*memory), permits(wanted));
        resize(self.json_memory.clone(), |memory| memory, bytes);
        *memory = wanted;
    }

    /// Refuses a file that the queue can never take.
    pub fn check(&self, size: u64) -> Result<(), Refusal> {
        let max = self.max_file();
        if size <= max {
            return Ok(());
        }
        let size = ByteSize(size);
        let max = ByteSize(max);
        let reason = format!(
            "a file of {size}: this balancer takes at most {max}, half of its queue (--queue-bytes)"
        );
        Err(Refusal::new(RefusalCode::TooLarge, reason))
    }

    /// Reserves bytes of the disk for a file of `size` bytes of which `there` are written already.
    /// A refusal names the sizes, and begins or prolongs a shortage.
    pub fn reserve_disk(&self, size: u64, there: u64) -> Result<DiskReservation, Refusal> {
        self.try_reserve_disk(size, there).inspect_err(|refusal| {
            let bytes = needed(size, there);
            let now = Instant::now();
            self.disk_shortage.refused(bytes, now, &self.events, || {
                let waiting = self.waiting();
                let figures = self.disk.figures(waiting);
                format!(
                    "{}; {figures}. Remedy: free room on that disk, or see that servers take the \
                     {waiting} files that wait",
                    refusal.reason
                )
            });
        })
    }

    /// The same for a caller that can make room and try again: a refusal is no shortage yet.
    pub fn try_reserve_disk(&self, size: u64, there: u64) -> Result<DiskReservation, Refusal> {
        self.disk.try_reserve(size, there, self.waiting())
    }

    /// Waits for bytes of the disk, for a client that cannot be told of a refusal.
    pub async fn wait_for_disk(&self, size: u64) -> DiskReservation {
        loop {
            match self.reserve_disk(size, 0) {
                Ok(reservation) => return reservation,
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Waits for the budget of content in memory but not yet in the journal. Call it after the
    /// content was read, so that a stalled client holds none of it.
    pub async fn wait_for_memory(&self, reservation: &mut DiskReservation, size: u64) {
        let permit = self.unwritten.clone().acquire_many_owned(cost(size)).await;
        reservation.memory_permit = permit.ok();
    }

    /// Why not even the smallest file would be let in now, if so.
    pub fn trouble(&self) -> Option<String> {
        if self.rooms.files.available_permits() == 0 || self.rooms.bytes.available_permits() == 0 {
            return Some(self.full_reason());
        }
        self.disk.trouble(self.waiting())
    }

    /// Leave to read a file of `size` bytes, and room for it, without waiting.
    pub(super) fn try_reserve(&self, size: u64) -> Option<Reserved> {
        let incoming = if size <= SMALL_CONTENT {
            None
        } else {
            let incoming = self.incoming.clone();
            Some(incoming.try_acquire_many_owned(units(size)).ok()?)
        };
        Some((self.try_room(size)?, incoming))
    }

    /// Waits for leave to read a file of `size` bytes, then for room. `None` once the balancer is
    /// gone.
    pub(super) async fn reserve(&self, size: u64) -> Option<Reserved> {
        let incoming = self.incoming(size).await;
        Some((self.room(size).await?, incoming))
    }

    /// Makes a reservation large enough for a file of `size` bytes, without waiting; false if the
    /// queue has too little room.
    pub(super) fn try_grow(
        &self,
        room: &mut Room,
        incoming: &mut Option<OwnedSemaphorePermit>,
        size: u64,
    ) -> bool {
        let had = incoming
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = if size <= SMALL_CONTENT {
            0
        } else {
            units(size).saturating_sub(u32::try_from(had).unwrap_or(0))
        };
        let Ok(more) = self.incoming.clone().try_acquire_many_owned(more) else {
            return false;
        };
        match incoming {
            Some(incoming) => incoming.merge(more),
            None => *incoming = Some(more),
        }
        room.resize(cost(size))
    }

    /// Gives back the room that a file of `size` bytes does not need.
    pub fn fit(&self, room: &mut Room, size: u64) {
        room.resize(cost(size));
    }

    /// Waits for leave to hold a JSON object of up to `size` bytes in memory.
    pub async fn json_memory(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let memory = self.json_memory.clone();
        memory.acquire_many_owned(units(size)).await.ok()
    }

    /// Waits for leave to read a file of `size` bytes; a small one needs none.
    pub async fn incoming(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        if size <= SMALL_CONTENT {
            return None;
        }
        let incoming = self.incoming.clone();
        incoming.acquire_many_owned(units(size)).await.ok()
    }

    /// Room for a file of `size` bytes, without waiting.
    pub fn try_room(&self, size: u64) -> Option<Room> {
        let file = self.rooms.files.try_acquire().ok()?;
        let bytes = self.rooms.bytes.try_acquire_many(cost(size)).ok()?;
        self.room_of(file, bytes, size)
    }

    /// Waits for room for a file of `size` bytes. `None` once the balancer is gone.
    pub async fn room(&self, size: u64) -> Option<Room> {
        self.note_full_queue(size);
        let file = self.rooms.files.acquire().await.ok()?;
        let bytes = self.rooms.bytes.acquire_many(cost(size)).await.ok()?;
        self.room_of(file, bytes, size)
    }

    fn room_of(
        &self,
        file: SemaphorePermit<'_>,
        bytes: SemaphorePermit<'_>,
        size: u64,
    ) -> Option<Room> {
        file.forget();
        bytes.forget();
        self.rooms.room(cost(size))
    }

    /// The queue's room that is not taken.
    pub(super) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Begins or prolongs a shortage: the queue has no room for a file of `size` bytes.
    pub fn note_full_queue(&self, size: u64) {
        let now = Instant::now();
        self.queue_shortage.refused(size, now, &self.events, || {
            let reason = self.full_reason();
            format!(
                "{reason}. Remedy: see that servers take files, or let more wait \
                 (--queue-files, --queue-bytes)"
            )
        });
    }

    /// What a client is told while it waits for room.
    pub fn full_reason(&self) -> String {
        format!("the queue is full: {}", self.queue_figures())
    }

    fn queue_figures(&self) -> String {
        let files = self.waiting();
        let limits = self.limits();
        let free = ByteSize(self.rooms.bytes.available_permits() as u64 * UNIT);
        let max = ByteSize(limits.bytes);
        format!(
            "{files} of {} files wait, {free} of {max} are free",
            limits.files
        )
    }

    /// Files that have room in the queue.
    fn waiting(&self) -> usize {
        self.max_files
            .load(Ordering::Relaxed)
            .saturating_sub(self.rooms.files.available_permits())
    }

    /// Hands a file to the hub; its receipts follow. A balancer that has stopped takes none. Then
    /// no receipt comes, and the log is all that the owner of an old-style client has.
    pub fn admit(&self, admission: Admission) {
        let admission = ToHub::Admit(Box::new(admission), Instant::now());
        if let Err(mpsc::error::SendError(ToHub::Admit(admission, _))) = self.hub.send(admission) {
            let Admission { title, from, .. } = *admission;
            tracing::error!(
                title = &*title,
                from = &*from,
                "not accepted: the balancer has stopped"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a semaphore more permits, or takes some away. Permits that are in use are taken away as
/// they come back, before anybody else gets them.
fn resize<T: Send + Sync + 'static>(
    owner: Arc<T>,
    of: fn(&T) -> &Semaphore,
    (from, to): (usize, usize),
) {
    if to >= from {
        return of(&owner).add_permits(to - from);
    }
    let rest = (from - to) - of(&owner).forget_permits(from - to);
    if rest > 0 {
        tokio::spawn(async move {
            let mut rest = rest;
            while rest > 0 {
                let some = u32::try_from(rest).unwrap_or(u32::MAX);
                match of(&owner).acquire_many(some).await {
                    Ok(permits) => permits.forget(),
                    Err(_) => return,
                }
                rest -= some as usize;
            }
        });
    }
}

fn file_permits(files: usize) -> usize {
    files.min(Semaphore::MAX_PERMITS)
}

fn json_memory(max_json: u64) -> u64 {
    JSON_MEMORY.max(2 * max_json)
}

#[cfg(test)]
mod tests;
