//! Admission control: reserves room before a file is read, and hands every file to the hub.
//!
//! Invariant: files that are accepted or coming in never take more than the queue's limits, nor
//! more of the disk than the journal can spare; and large files that come in hold little more than
//! what came of them, and at most a quarter of the queue's bytes together, but for one that has the
//! turn and must keep up.
//!
//! The order in which a doorway asks for the reservations stands in [`super::ingress`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

use super::disk_space::{DiskSpace, needed};
use super::events::Events;
use super::messages::{Admission, Queued, ToHub};
use super::room::{DiskReservation, QueueLimits, Room, Rooms, cost, max_file};
use super::shortage::Shortage;
use crate::pool::{Grown, Pool, Share, UNIT, resize, units};
use crate::protocol::limits::{LEAST_PACE, SMALL_CONTENT};
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::units::ByteSize;

/// Bytes that large objects at the JSON doorway may hold in memory: at least two of the largest.
const JSON_MEMORY: u64 = 256 * 1024 * 1024;

/// Bytes of small files that may be in memory, read whole and not yet in the journal: enough for a
/// few group commits. When the disk is slower than the clients, this slows the clients down.
const UNWRITTEN: u64 = 16 * 1024 * 1024;

/// The most offers and refusals that the hub has not looked at yet: more than it takes in one go.
const UNTOLD: usize = 4096;

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
    /// What large files may take of the queue while they are read: a quarter. The one that has the
    /// turn may take half, as much as the largest file.
    incoming: Pool,
    /// What large objects at the JSON doorway may hold in memory. The largest is set aside for the
    /// one that has the turn.
    json_memory: Pool,
    /// For one of the files that find the disk full while they come in.
    disk_turn: Arc<Semaphore>,
    /// Units of small files in memory that are not in the journal yet.
    unwritten: Arc<Semaphore>,
    /// For what clients tell the hub that takes no room in the queue.
    untold: Arc<Semaphore>,
    disk: DiskSpace,
    events: Events,
    queue_shortage: Shortage,
    disk_shortage: Shortage,
    hub: mpsc::UnboundedSender<ToHub>,
}

/// What a doorway must have before it reads a file, or the next part of a large one.
pub(super) struct Reserved {
    pub(super) room: Room,
    /// A large file's part of what those that come in may hold together.
    pub(super) share: Share,
    /// Bytes that the room is for, with the title.
    pub(super) bytes: u64,
}

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
        Self {
            limits: Mutex::new(limits),
            max_files: AtomicUsize::new(limits.files),
            max_bytes: AtomicU64::new(limits.bytes),
            rooms: Arc::new(Rooms {
                files: Semaphore::new(file_permits(limits.files)),
                bytes: semaphore(limits.bytes),
            }),
            incoming: Pool::new(limits.bytes / 4),
            json_memory: Pool::new(json_memory(max_json)),
            disk_turn: Arc::new(Semaphore::new(1)),
            unwritten: Arc::new(semaphore(UNWRITTEN)),
            untold: Arc::new(Semaphore::new(UNTOLD)),
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
        self.incoming.resize(limits.bytes / 4);
        self.json_memory.resize(json_memory(max_json));
        self.max_files.store(limits.files, Ordering::Relaxed);
        self.max_bytes.store(limits.bytes, Ordering::Relaxed);
        *now = limits;
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
        self.try_reserve_disk(size, there)
            .inspect_err(|refusal| self.note_full_disk(needed(size, there), refusal))
    }

    /// Begins or prolongs a shortage: the disk has no room for so many bytes.
    pub(super) fn note_full_disk(&self, bytes: u64, refusal: &Refusal) {
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
    }

    /// Makes a reservation of the disk so many bytes, for the next part of a file of which the
    /// first `size` bytes are to be taken.
    pub(super) fn try_grow_disk(
        &self,
        reservation: &mut DiskReservation,
        bytes: u64,
        size: u64,
    ) -> Result<(), Refusal> {
        self.disk.try_grow(reservation, bytes, size, self.waiting())
    }

    /// The right to wait for the disk in the middle of a file, which one file has at a time.
    pub(super) fn disk_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.disk_turn.clone().try_acquire_owned().ok()
    }

    /// Whether bytes of the disk are promised to other files than the one with this reservation.
    pub(super) fn is_disk_shared(&self, reservation: &DiskReservation) -> bool {
        self.disk.promised() > reservation.bytes()
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

    /// Waits until the hub has looked at enough of what clients told it that takes no room in the
    /// queue.
    pub(super) async fn queued(&self) -> Queued {
        self.untold.clone().acquire_owned().await.ok()
    }

    /// Why not even the smallest file would be let in now, if so.
    pub fn trouble(&self) -> Option<String> {
        if self.rooms.files.available_permits() == 0 || self.rooms.bytes.available_permits() == 0 {
            return Some(self.full_reason());
        }
        self.disk.trouble(self.waiting())
    }

    /// The bytes that a file reserves before it is read, of `whole` bytes of which `there` came
    /// with an earlier upload. A small one needs all, a large one more as it comes.
    pub(super) fn first_step(&self, there: u64, whole: u64) -> u64 {
        if whole <= SMALL_CONTENT {
            return whole;
        }
        self.incoming.first_step(there, whole)
    }

    /// Leave to read the first `size` bytes of a file of `whole`, and room for them, without
    /// waiting.
    pub(super) fn try_reserve(&self, size: u64, whole: u64) -> Option<Reserved> {
        let share = if whole <= SMALL_CONTENT {
            Share::default()
        } else {
            self.incoming.try_share(size)?
        };
        Some(Reserved {
            room: self.try_room(size)?,
            share,
            bytes: size,
        })
    }

    /// Waits for leave to read the first `size` bytes of a file of `whole`, then for room. `None`
    /// once the balancer is gone.
    pub(super) async fn reserve(&self, size: u64, whole: u64) -> Option<Reserved> {
        let mut share = Share::default();
        let mut bytes = size;
        if whole > SMALL_CONTENT {
            if self.incoming.can_have(size) {
                share = self.incoming.share(size).await?;
            } else {
                // So much of it came before. Only the turn is enough for it.
                self.incoming.grow(&mut share, size, size).await?;
                bytes = whole;
            }
        }
        Some(Reserved {
            room: self.room(bytes).await?,
            share,
            bytes,
        })
    }

    /// Reserves more of a file of which `came` bytes have come, without waiting; false if there is
    /// too little.
    pub(super) fn try_grow(&self, reserved: &mut Reserved, came: u64, whole: u64) -> bool {
        let bytes = self.incoming.next_step(came, whole);
        let is_small = bytes <= SMALL_CONTENT;
        let has_grown = (is_small || self.incoming.try_grow(&mut reserved.share, bytes))
            && reserved.room.resize(cost(bytes));
        if has_grown {
            reserved.bytes = bytes;
        }
        has_grown
    }

    /// Waits until more of a file is reserved, of which `came` bytes have come. With the turn it
    /// gets room for all of the file, so that it need not wait again. `None` once the balancer is
    /// gone.
    pub(super) async fn grow(&self, reserved: &mut Reserved, came: u64, whole: u64) -> Option<()> {
        let mut bytes = self.incoming.first_step(came, whole);
        let share = &mut reserved.share;
        if self.incoming.grow(share, bytes, came).await? == Grown::Turn {
            bytes = whole;
        }
        if !reserved.room.resize(cost(bytes)) {
            self.note_full_queue(bytes.saturating_sub(reserved.bytes));
            reserved.room.grow(cost(bytes)).await?;
        }
        if share.has_turn() {
            share.lean_on_turn();
        }
        reserved.bytes = bytes;
        Some(())
    }

    /// Whether a file must be given up that has the turn, for too little comes while others wait.
    pub(super) fn is_too_slow(&self, reserved: &Reserved, came: u64, grace: Duration) -> bool {
        self.incoming.is_too_slow(&reserved.share, came, grace)
    }

    /// The refusal of such a file whose client cannot go on with it.
    pub(super) fn too_slow(&self) -> Refusal {
        let pace = ByteSize(LEAST_PACE);
        let reason = format!(
            "{}, others wait, and this file comes with less than {pace} a second: send it again",
            self.queue_figures()
        );
        Refusal::new(RefusalCode::Busy, reason)
    }

    /// Gives back the room that a file of `size` bytes does not need.
    pub fn fit(&self, room: &mut Room, size: u64) {
        room.resize(cost(size));
    }

    /// What large objects at the JSON doorway may hold in memory.
    pub(super) fn json_memory(&self) -> &Pool {
        &self.json_memory
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
            let Admission { title, allowed, .. } = *admission;
            tracing::error!(
                title = &*title,
                from = &**allowed.pass().from(),
                "not accepted: the balancer has stopped"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_permits(files: usize) -> usize {
    files.min(Semaphore::MAX_PERMITS)
}

/// What is shared of the memory for large objects: all but the largest of them.
fn json_memory(max_json: u64) -> u64 {
    JSON_MEMORY.saturating_sub(max_json).max(max_json)
}

#[cfg(test)]
mod tests;
