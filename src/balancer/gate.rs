//! The one way into the queue: room is reserved here before a file is read, and every doorway ends
//! in [`Gate::admit`].
//!
//! Invariant: what is accepted or being read never takes more than the queue's bounds, nor more
//! than the disk has besides what the journal needs to go on delivering; and peers that stall in
//! the middle of large files can hold at most half of the queue's bytes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

use super::events::Events;
use super::messages::{Admission, Declined, Offer, Room, Rooms, Share, ToClient, ToHub};
use super::refusing::Turning;
use crate::protocol::limits::SMALL_CONTENT;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::units::ByteSize;

/// Bytes are reserved in units, so that a terabyte can still be counted in 32 bits.
const UNIT: u64 = 256;

/// What a waiting file costs beside its content and title, rounded up.
const OVERHEAD: u64 = 512;

/// What large objects at the JSON doorway may hold in memory, in bytes: at least two of the
/// largest.
const JSON_MEMORY: u64 = 256 * 1024 * 1024;

/// What files may hold in memory that are read whole and not written to the journal yet, in bytes:
/// enough for a few of its syncs. When a disk is slower than clients are, they are not read from so
/// fast.
const UNWRITTEN: u64 = 16 * 1024 * 1024;

/// How long the disk's room, once asked for, is believed.
const BELIEVED: Duration = Duration::from_millis(10);

/// The time between two looks at a full disk by those who wait for room on it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The time between two looks at whether there is room again after files were turned away.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// What the end of a waiting file takes in the journal, rounded up.
const END_OF_FILE: u64 = 512;

/// How much the queue may hold.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Files.
    pub files: usize,
    /// Bytes of content, and of what each file costs beside it.
    pub bytes: u64,
}

/// The way into the queue.
pub struct Gate {
    limits: Mutex<QueueLimits>,
    /// The same, to be looked at in passing.
    max_files: AtomicUsize,
    max_bytes: AtomicU64,
    rooms: Arc<Rooms>,
    /// What large files may hold while they are still being read.
    incoming: Arc<Semaphore>,
    /// What large objects at the JSON doorway may hold in memory.
    memory: Arc<Semaphore>,
    /// How large that is.
    memory_bytes: Mutex<u64>,
    /// What small files may hold in memory that are not written yet.
    unwritten: Arc<Semaphore>,
    disk: Arc<dyn Disk>,
    /// The directory that the disk is.
    dir: PathBuf,
    notices: Events,
    /// What is turned away for want of room in the queue, and on the disk.
    queue_full: Turning,
    disk_full: Turning,
    /// What the journal needs besides the files.
    reserve: u64,
    /// What is promised to files that are not written yet.
    promised: Arc<AtomicU64>,
    /// What the disk had when it was asked last, and when that was, in milliseconds since the
    /// start.
    available: AtomicU64,
    asked_ms: AtomicU64,
    started: Instant,
    hub: mpsc::UnboundedSender<ToHub>,
}

impl Gate {
    /// A gate to an empty queue with these limits, on a disk of which the journal itself needs
    /// `reserve` bytes.
    pub fn new(
        limits: QueueLimits,
        max_json: u64,
        disk: Arc<dyn Disk>,
        reserve: u64,
        hub: mpsc::UnboundedSender<ToHub>,
    ) -> Self {
        let units = |bytes: u64| Semaphore::new(permits(bytes) as usize);
        let files = Semaphore::new(of_files(limits.files));
        Self {
            limits: Mutex::new(limits),
            max_files: AtomicUsize::new(limits.files),
            max_bytes: AtomicU64::new(limits.bytes),
            rooms: Arc::new(Rooms {
                files,
                bytes: units(limits.bytes),
            }),
            incoming: Arc::new(units(limits.bytes / 2)),
            memory: Arc::new(units(JSON_MEMORY.max(2 * max_json))),
            memory_bytes: Mutex::new(JSON_MEMORY.max(2 * max_json)),
            unwritten: Arc::new(units(UNWRITTEN)),
            disk,
            dir: PathBuf::from("."),
            notices: Events::default(),
            queue_full: Turning::in_queue(),
            disk_full: Turning::on_disk(),
            reserve,
            promised: Arc::default(),
            available: AtomicU64::new(0),
            asked_ms: AtomicU64::new(u64::MAX),
            started: Instant::now(),
            hub,
        }
    }

    /// Tells by these notices when files are turned away, and names the disk by this directory.
    #[must_use]
    pub fn telling(self, notices: Events, dir: PathBuf) -> Self {
        Self {
            dir,
            notices,
            ..self
        }
    }

    /// Looks, time and again, whether there is room once more after files were turned away.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_FOR_ROOM).await;
            let now = Instant::now();
            let has_room = |bytes| {
                self.promised.load(Ordering::Relaxed).saturating_add(bytes) <= self.usable().0
            };
            self.disk_full
                .look(now, &self.notices, has_room, || self.disk_figures());
            let has_room = |bytes| {
                let rooms = &self.rooms;
                rooms.files.available_permits() > 0
                    && rooms.bytes.available_permits() >= cost(bytes) as usize
            };
            self.queue_full
                .look(now, &self.notices, has_room, || self.queue_figures());
        }
    }

    /// The largest file that can ever pass, in bytes.
    pub fn max_file(&self) -> u64 {
        Self::max_file_of(self.max_bytes.load(Ordering::Relaxed))
    }

    /// The largest file that can ever pass through a queue of so many bytes.
    pub fn max_file_of(bytes: u64) -> u64 {
        (bytes / 2).saturating_sub(OVERHEAD + UNIT)
    }

    /// How much the queue may hold.
    pub fn limits(&self) -> QueueLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the queue hold more, or less. What is there stays; while it is too much, nothing is let
    /// in.
    pub fn set_limits(&self, limits: QueueLimits, max_json: u64) {
        let mut now = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |bytes: u64| permits(bytes) as usize;
        let rooms = self.rooms.clone();
        resize(
            rooms,
            |rooms| &rooms.files,
            of_files(now.files),
            of_files(limits.files),
        );
        resize(
            self.rooms.clone(),
            |rooms| &rooms.bytes,
            of(now.bytes),
            of(limits.bytes),
        );
        resize(
            self.incoming.clone(),
            |incoming| incoming,
            of(now.bytes / 2),
            of(limits.bytes / 2),
        );
        self.max_files.store(limits.files, Ordering::Relaxed);
        self.max_bytes.store(limits.bytes, Ordering::Relaxed);
        *now = limits;
        let mut memory = self
            .memory_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wanted = JSON_MEMORY.max(2 * max_json);
        resize(
            self.memory.clone(),
            |memory| memory,
            of(*memory),
            of(wanted),
        );
        *memory = wanted;
    }

    /// Refuses a file that can never pass.
    pub fn check(&self, size: u64) -> Result<(), Refusal> {
        if size <= self.max_file() {
            return Ok(());
        }
        let (size, most) = (ByteSize(size), ByteSize(self.max_file()));
        let reason = format!(
            "a file of {size}: this balancer takes at most {most}, half of its queue (--queue-bytes)"
        );
        Err(Refusal::new(RefusalCode::TooLarge, reason))
    }

    /// Room on the disk for a file of `size` bytes of which `there` are written already; a refusal
    /// that names the sizes when there is none.
    pub fn share(&self, size: u64, there: u64) -> Result<Share, Refusal> {
        self.try_share(size, there).inspect_err(|refusal| {
            self.disk_full.turned_away(needed(size, there), Instant::now(), &self.notices, || {
                let (figures, waiting) = (self.disk_figures(), self.waiting());
                format!(
                    "{}; {figures}. Remedy: free room on that disk, or see that servers take the {waiting} files that wait",
                    refusal.reason
                )
            });
        })
    }

    /// The same for whoever can make room first: nobody is told of the refusal.
    pub fn try_share(&self, size: u64, there: u64) -> Result<Share, Refusal> {
        let bytes = needed(size, there);
        let promised = self
            .promised
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let share = Share {
            bytes,
            promised: self.promised.clone(),
            turn: None,
        };
        let (usable, kept) = self.usable();
        if promised <= usable {
            return Ok(share);
        }
        drop(share);
        let free = ByteSize(usable.saturating_sub(promised - bytes));
        let (size, kept) = (ByteSize(size), ByteSize(kept));
        let reason = format!(
            "the journal's disk is full: a file of {size} does not fit into {free} ({kept} more are kept for deliveries)"
        );
        Err(Refusal::new(RefusalCode::Full, reason))
    }

    /// What the disk has, for people.
    fn disk_figures(&self) -> String {
        let (available, (usable, kept)) = (ByteSize(self.available()), self.usable());
        let free = ByteSize(usable.saturating_sub(self.promised.load(Ordering::Relaxed)));
        let dir = self.dir.display();
        format!(
            "{dir} is on a disk with {available} free, of which {} are kept and {free} are for files",
            ByteSize(kept)
        )
    }

    /// How much of the disk is free for files, and how much is kept for what the journal needs to
    /// go on delivering.
    fn usable(&self) -> (u64, u64) {
        let kept = self
            .reserve
            .saturating_add((self.waiting() as u64).saturating_mul(END_OF_FILE));
        (self.available().saturating_sub(kept), kept)
    }

    /// Why not even the smallest file would be let in now, if that is so.
    pub fn trouble(&self) -> Option<String> {
        if self.rooms.files.available_permits() == 0 || self.rooms.bytes.available_permits() == 0 {
            return Some(self.full_reason());
        }
        let (usable, kept) = self.usable();
        let is_full = self
            .promised
            .load(Ordering::Relaxed)
            .saturating_add(OVERHEAD)
            > usable;
        is_full.then(|| {
            format!(
                "the journal's disk is full: what is left, {}, is kept for deliveries",
                ByteSize(kept)
            )
        })
    }

    /// Waits until the journal has caught up with what was read, before one more file is given to
    /// it whose `size` bytes are in memory. To be asked once they are: a client that stalls must
    /// not hold up others.
    pub async fn take_turn(&self, share: &mut Share, size: u64) {
        share.turn = self
            .unwritten
            .clone()
            .acquire_many_owned(cost(size))
            .await
            .ok();
    }

    /// Waits until there is room on the disk, for clients that cannot be told.
    pub async fn wait_for_share(&self, size: u64) -> Share {
        loop {
            match self.share(size, 0) {
                Ok(share) => return share,
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// What the disk has left, asked for now or a moment ago.
    fn available(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let asked = self.asked_ms.load(Ordering::Relaxed);
        let believed = u64::try_from(BELIEVED.as_millis()).unwrap_or(0);
        if asked == u64::MAX || now.saturating_sub(asked) > believed {
            // A disk that cannot say is found out when it is written to.
            let available = self.disk.space().map_or(u64::MAX, |space| space.available);
            self.available.store(available, Ordering::Relaxed);
            self.asked_ms.store(now, Ordering::Relaxed);
        }
        self.available.load(Ordering::Relaxed)
    }

    /// Room for a file of `size` bytes and leave to read it, if there is some now.
    pub fn try_reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        let incoming = match size {
            0..=SMALL_CONTENT => None,
            _ => Some(
                self.incoming
                    .clone()
                    .try_acquire_many_owned(permits(size))
                    .ok()?,
            ),
        };
        Some((self.try_room(size)?, incoming))
    }

    /// Makes what was reserved enough for a file of `size` bytes, without waiting; false if there
    /// is not so much.
    pub fn try_grow(
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
            permits(size).saturating_sub(u32::try_from(had).unwrap_or(0))
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

    /// Gives back what a file of `size` bytes does not need of its room.
    pub fn fit(&self, room: &mut Room, size: u64) {
        room.resize(cost(size));
    }

    /// Waits for leave to read a file of `size` bytes, then for room for it. `None` once the
    /// balancer is gone.
    pub async fn reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        let incoming = self.incoming(size).await;
        Some((self.room(size).await?, incoming))
    }

    /// Waits for leave to hold a JSON object of up to `size` bytes in memory.
    pub async fn memory(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        self.memory
            .clone()
            .acquire_many_owned(permits(size))
            .await
            .ok()
    }

    /// Waits for leave to read a message of up to `size` bytes; small ones need none.
    pub async fn incoming(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        if size <= SMALL_CONTENT {
            return None;
        }
        self.incoming
            .clone()
            .acquire_many_owned(permits(size))
            .await
            .ok()
    }

    /// Room for a file of `size` bytes, if there is some now.
    pub fn try_room(&self, size: u64) -> Option<Room> {
        let file = self.rooms.files.try_acquire().ok()?;
        let bytes = self.rooms.bytes.try_acquire_many(cost(size)).ok()?;
        self.taken(file, bytes, size)
    }

    /// The queue's room.
    pub(super) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Makes one of two permits.
    fn taken(
        &self,
        file: SemaphorePermit<'_>,
        bytes: SemaphorePermit<'_>,
        size: u64,
    ) -> Option<Room> {
        file.forget();
        bytes.forget();
        self.rooms.room(cost(size))
    }

    /// Waits until the queue has room for a file of `size` bytes. `None` once the balancer is gone.
    pub async fn room(&self, size: u64) -> Option<Room> {
        self.turned_away(size);
        let file = self.rooms.files.acquire().await.ok()?;
        let bytes = self.rooms.bytes.acquire_many(cost(size)).await.ok()?;
        self.taken(file, bytes, size)
    }

    /// Tells that the queue has no room for a file of `size` bytes, if there is none indeed.
    pub fn turned_away(&self, size: u64) {
        self.queue_full.turned_away(size, Instant::now(), &self.notices, || {
            let reason = self.full_reason();
            format!("{reason}. Remedy: see that servers take files, or let more wait (--queue-files, --queue-bytes)")
        });
    }

    /// What a client is told while it waits.
    pub fn full_reason(&self) -> String {
        format!("the queue is full: {}", self.queue_figures())
    }

    fn queue_figures(&self) -> String {
        let (files, limits) = (self.waiting(), self.limits());
        let free = ByteSize(self.rooms.bytes.available_permits() as u64 * UNIT);
        let most = ByteSize(limits.bytes);
        format!(
            "{files} of {} files wait, {free} of {most} are free",
            limits.files
        )
    }

    /// How many files have room in the queue.
    fn waiting(&self) -> usize {
        self.max_files
            .load(Ordering::Relaxed)
            .saturating_sub(self.rooms.files.available_permits())
    }

    /// Lets a file into the queue; its receipts follow. A balancer that has stopped takes none:
    /// there will be no receipt, and the log is all that an old-style client's owner has.
    pub fn admit(&self, admission: Admission) {
        if let Err(mpsc::error::SendError(ToHub::Admit(admission, _))) = self
            .hub
            .send(ToHub::Admit(Box::new(admission), Instant::now()))
        {
            let Admission { title, from, .. } = *admission;
            tracing::error!(
                title = &*title,
                from = &*from,
                "not accepted: the balancer has stopped"
            );
        }
    }

    /// Asks whether a file is wanted; the answer goes to the client.
    pub fn offer(&self, offer: Offer) {
        let _ = self.hub.send(ToHub::Offer(offer));
    }

    /// Has a file refused, unless it came before; the answer goes to the client.
    pub fn refuse(&self, declined: Declined) {
        let _ = self.hub.send(ToHub::Refuse(declined));
    }

    /// Asks for the balancer's status on behalf of a client.
    pub fn ask_status(&self, to: mpsc::UnboundedSender<ToClient>) {
        let _ = self.hub.send(ToHub::Status(to));
    }
}

/// Gives a semaphore more permits, or takes some away: those that are in use when they come back,
/// before anybody else gets them.
fn resize<T: Send + Sync + 'static>(
    owner: Arc<T>,
    of: fn(&T) -> &Semaphore,
    from: usize,
    to: usize,
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

/// What a file of `size` bytes takes on the disk besides what is `there`.
fn needed(size: u64, there: u64) -> u64 {
    size.saturating_sub(there).saturating_add(OVERHEAD)
}

fn of_files(files: usize) -> usize {
    files.min(Semaphore::MAX_PERMITS)
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
    use crate::queue::sim::SimDisk;

    fn gate(files: usize, bytes: u64) -> Gate {
        Gate::new(
            QueueLimits { files, bytes },
            1024,
            Arc::new(SimDisk::new()),
            0,
            mpsc::unbounded_channel().0,
        )
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
    async fn a_queue_that_becomes_smaller_takes_nothing_until_it_fits_and_larger_again_takes_more()
    {
        let gate = gate(4, 1 << 20);
        let mut rooms: Vec<Room> = (0..4).map(|_| gate.try_room(10).unwrap()).collect();
        gate.set_limits(
            QueueLimits {
                files: 2,
                bytes: 1 << 19,
            },
            1024,
        );
        assert_eq!(gate.max_file(), Gate::max_file_of(1 << 19));
        tokio::task::yield_now().await;
        for _ in 0..2 {
            rooms.pop();
            tokio::task::yield_now().await;
            assert!(
                gate.try_room(10).is_none(),
                "{} of 2 files are there",
                rooms.len()
            );
        }
        rooms.pop();
        rooms.push(gate.try_room(10).unwrap());
        assert!(gate.try_room(10).is_none());
        gate.set_limits(
            QueueLimits {
                files: 3,
                bytes: 1 << 20,
            },
            1024,
        );
        rooms.push(gate.try_room(10).unwrap());
        assert!(gate.try_room(10).is_none());
        assert!(gate.trouble().unwrap().contains("3 of 3 files wait"));
        drop(rooms);
        assert_eq!(gate.trouble(), None);
        let most = gate.try_room(1 << 19).unwrap();
        assert!(gate.try_room(1 << 19).is_none());
        drop(most);
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
    async fn a_full_disk_refuses_with_the_sizes_and_takes_files_again_when_it_has_room() {
        let disk = SimDisk::new();
        disk.set_capacity(Some(100_000));
        let limits = QueueLimits {
            files: 10,
            bytes: 1 << 30,
        };
        let gate = Gate::new(
            limits,
            1024,
            Arc::new(disk.clone()),
            50_000,
            mpsc::unbounded_channel().0,
        );
        let shares = [
            gate.share(20_000, 0).unwrap(),
            gate.share(20_000, 0).unwrap(),
        ];
        let refusal = gate.share(20_000, 0).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Full);
        assert_eq!(gate.trouble(), None, "a smaller one fits");
        let rest = gate.share(8_000, 0).unwrap();
        assert!(gate.trouble().unwrap().contains("disk is full"));
        drop(rest);
        assert!(
            refusal.reason.contains("19.5 KiB") && refusal.reason.contains("8.8 KiB"),
            "{}",
            refusal.reason
        );
        assert!(
            gate.share(20_000, 19_000).is_ok(),
            "most of it is there already"
        );
        drop(shares);
        assert!(gate.share(20_000, 0).is_ok());
    }

    #[tokio::test]
    async fn what_is_read_waits_for_the_journal_and_goes_on_when_it_has_written() {
        use std::time::Duration;
        let gate = gate(1000, 1 << 30);
        let take = async || {
            let mut share = gate.share(60_000, 0).unwrap();
            gate.take_turn(&mut share, 60_000).await;
            share
        };
        let mut unwritten = Vec::new();
        while let Ok(share) = tokio::time::timeout(Duration::from_millis(20), take()).await {
            unwritten.push(share);
        }
        assert_eq!(
            unwritten.len() as u64,
            UNWRITTEN / (u64::from(cost(60_000)) * UNIT)
        );
        unwritten.pop();
        tokio::time::timeout(Duration::from_secs(10), take())
            .await
            .unwrap();
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
