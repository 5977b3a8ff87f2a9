//! The store: files in a directory, each whole or not at all, and at most once for each number of a
//! journal.
//!
//! [`Store`] is the handle to the store's thread, the keeper, which does everything that may wait
//! for the disk. The handle bounds how much content waits for that thread, and begins files that
//! are too large to wait in memory.
//!
//! Invariant: no file has its final name before it is whole, and no file is ever overwritten. Files
//! that a crash left under temporary names are removed when the store opens. Stored files are
//! removed only when their balancer says that another server has them, or with `clean`.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::ReadableBy;
use super::directory::Directory;
use super::held::Held;
use super::index::Key;
pub use super::job::{
    Claimed, Done, Incoming, IncomingBody, Inventory, Origin, Outcome, StoreError,
};
use super::job::{Job, Removed};
use super::keeper::Keeper;
use super::name::is_part;
use super::opened::{is_regular, open_directory};
use super::place::Place;
pub use super::staged::Staged;
use crate::bulk::SyncJob;
use crate::durability::Durability;
use crate::protocol::Expected;

/// The most content that may wait for the disk, in units of [`UNIT`].
const WAITING: u32 = 256 * 1024;

/// Content that waits is counted in units of this many bytes. Every job takes at least one, so that
/// the number of small files is bounded, too.
const UNIT: u64 = 1024;

/// Handle to the store's thread. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    place: Arc<Place>,
    room: Arc<Semaphore>,
}

impl Store {
    /// Opens the store in `dir`, creates the directory if it is missing, and removes the files that
    /// a crash left unfinished. If the directory cannot be used, the log says so, and every file is
    /// refused until it can; if another server uses it, that is an error. `ended` is cancelled when
    /// the thread ends, for whatever reason, and when the directory was moved or removed: then the
    /// thread goes on and refuses all files.
    pub fn open(
        dir: &Path,
        clean: bool,
        durability: Durability,
        readable_by: ReadableBy,
        ended: CancellationToken,
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let lock = match prepare(dir, clean, readable_by) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                tracing::error!(
                    dir = %dir.display(),
                    error = %error,
                    "cannot use the directory: files are refused"
                );
                None
            }
        };
        let (jobs, queue) = mpsc::channel();
        let place = Arc::new(Place {
            dir: Directory::new(dir).readable_by(readable_by),
            durability,
            identity: Mutex::new(None),
            stored_files: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            held: Held::default(),
            instance: format!("{:032x}", rand::random::<u128>()).into(),
            _lock: lock,
        });
        let store = Self {
            jobs,
            place: place.clone(),
            room: Arc::new(Semaphore::new(WAITING as usize)),
        };
        // Here, not on the thread: the first greeting already has the directory's identity.
        let keeper = Keeper::new(place);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let lost = ended.clone();
                let _ended = ended.drop_guard();
                keeper.run(&queue, &lost);
            })?;
        Ok((store, thread))
    }

    /// The directory's identity, 32 hex digits; `None` while the directory cannot be used.
    pub fn identity(&self) -> Option<Arc<str>> {
        let identity = self.place.identity();
        if identity.is_none() {
            // For the next greeting.
            let _ = self.jobs.send(Job::Open);
        }
        identity
    }

    /// Tells this process from others with the directory's identity: 32 hex digits, drawn anew at
    /// each start.
    pub fn instance(&self) -> Arc<str> {
        self.place.instance.clone()
    }

    /// The directory, and its counters.
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }

    /// Waits for room for `size` bytes of content that wait for the disk. Peers that are faster
    /// than the disk are not read from meanwhile. A size beyond all the room takes all of it.
    pub async fn room(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size.div_ceil(UNIT))
            .unwrap_or(WAITING)
            .clamp(1, WAITING);
        self.room.clone().acquire_many_owned(units).await.ok()
    }

    /// Begins a file that is too large to wait in memory.
    pub fn stage(&self, number: u64) -> io::Result<Staged> {
        Staged::begin(&self.place.dir.now()?, number)
    }

    /// A sync of a large file, to run while it is being written, so that the other files of its
    /// batch do not wait for all of it at the end. `None` if files need not be durable.
    pub fn sync_of(&self, staged: &Staged) -> io::Result<Option<SyncJob>> {
        if self.place.durability != Durability::Disk {
            return Ok(None);
        }
        let file = staged.file().try_clone()?;
        Ok(Some(Box::new(move || file.sync_data())))
    }

    /// Stores a file. `done` is called once it has its final name and is in the index, both as
    /// durable as configured, or when it cannot be stored.
    pub fn submit(&self, file: Incoming, done: Done) {
        if let Err(mpsc::SendError(Job::File(_, done))) = self.jobs.send(Job::File(file, done)) {
            done(Err(ended().into()));
        }
    }

    /// Lists what is stored for a journal and not confirmed, once all earlier jobs are done.
    pub async fn inventory(&self, journal: Arc<str>) -> io::Result<Inventory> {
        let (answer, inventory) = oneshot::channel();
        let _ = self.jobs.send(Job::Inventory(journal, answer));
        inventory.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Gives a journal to a balancer, unless it belongs to another one that may still come. Gives the
    /// balancer that has it.
    pub async fn bind(&self, claimed: Claimed) -> io::Result<Arc<str>> {
        let (answer, owner) = oneshot::channel();
        let _ = self.jobs.send(Job::Bind(claimed, answer));
        owner.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Forgets files of a journal that their balancer has recorded as delivered. `room` is the room
    /// that the list takes.
    pub fn confirm(
        &self,
        journal: Arc<str>,
        numbers: Vec<u64>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        let _ = self.jobs.send(Job::Confirmed(journal, numbers, room));
    }

    /// Removes the copy of a file that another server has, if it is the `expected` one. `done` is
    /// called once that is durable, or when it cannot be done.
    pub fn remove(
        &self,
        journal: Arc<str>,
        number: u64,
        expected: Option<Expected>,
        done: Removed,
    ) {
        let job = Job::Remove(Key::new(journal, number), expected, done);
        if let Err(mpsc::SendError(Job::Remove(.., done))) = self.jobs.send(job) {
            done(Err(ended()));
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the store has ended")
}

/// Creates and locks the directory, and removes unfinished files. With `clean` also all `.json`
/// files, as the first system did at its start.
fn prepare(dir: &Path, clean: bool, readable_by: ReadableBy) -> io::Result<File> {
    let mut builder = DirBuilder::new();
    builder.mode(readable_by.directory_mode());
    builder.recursive(true).create(dir)?;
    let lock = open_directory(dir)?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another server uses this directory",
        ));
    }
    for entry in Dir::read_from(&lock)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let unwanted = is_part(&text) || (clean && text.ends_with(".json"));
        if unwanted && is_regular(&statat(&lock, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            unlinkat(&lock, name, AtFlags::empty())?;
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests;
