//! The store: files in a directory, each whole or not at all, and at most once for each number of a
//! journal.
//!
//! [`Store`] is the way to the one thread that does all that may wait for the disk, the keeper. It
//! bounds what may wait, and begins files that are too large to be held in memory.
//!
//! Invariant: a final name never shows half a file, and no file is ever overwritten. Files that a
//! crash left under temporary names are removed when the store opens; stored files are removed only
//! when their balancer says that another server has them, or the caller asks for it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, is_regular, open_directory};
use super::index::Key;
pub use super::job::{Done, Incoming, IncomingBody, Origin, Outcome, StoreError, Told};
use super::job::{Job, Place, Removed};
use super::keeper::Keeper;
use super::name::is_part;
pub use super::staged::Staged;
use crate::durability::Durability;
use crate::protocol::Expected;
use crate::rolling_sync::RollingSync;

/// How many bytes of content may wait for the disk at most, in units of [`UNIT`].
const WAITING: u32 = 256 * 1024;

/// What waits is counted in units of this many bytes. Everything takes one at least, so that what
/// is small is bounded, too.
const UNIT: u64 = 1024;

/// The way to the store's thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    place: Arc<Place>,
    room: Arc<Semaphore>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing, and removes what a crash left half
    /// written. A directory that cannot be used is told in the log, and every file will be refused
    /// until it can; one that another server uses is an error. `ended` is cancelled when the thread
    /// ends, for whatever reason, and when the directory is not there any more: then the thread
    /// goes on to refuse what comes.
    pub fn open(
        dir: &Path,
        clean: bool,
        durability: Durability,
        ended: CancellationToken,
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let lock = match prepare(dir, clean) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                tracing::error!(dir = %dir.display(), error = %error, "cannot use the directory: files are refused");
                None
            }
        };
        let (jobs, queue) = mpsc::channel();
        let (dir, identity, stored) = (Directory::new(dir), Mutex::new(None), Default::default());
        let instance = format!("{:032x}", rand::random::<u128>()).into();
        let place = Arc::new(Place {
            dir,
            durability,
            identity,
            stored,
            instance,
            _lock: lock,
        });
        let room = Arc::new(Semaphore::new(WAITING as usize));
        let store = Self {
            jobs,
            place: place.clone(),
            room,
        };
        // Here, not on the thread: whoever is greeted first is to hear the directory's identity.
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
            // For the next one who asks.
            let _ = self.jobs.send(Job::Open);
        }
        identity
    }

    /// Which process this is of all that ever have the directory's identity: 32 hex digits.
    pub fn instance(&self) -> Arc<str> {
        self.place.instance.clone()
    }

    /// What it has counted, and whether it can be used.
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }

    /// Waits for room to hold `size` bytes of content until they are stored: peers that are faster
    /// than the disk are not read from meanwhile. More than there is at all counts as all.
    pub async fn room(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size.div_ceil(UNIT))
            .unwrap_or(WAITING)
            .clamp(1, WAITING);
        self.room.clone().acquire_many_owned(units).await.ok()
    }

    /// Begins a file that is too large to be held in memory.
    pub fn stage(&self, number: u64) -> io::Result<Staged> {
        self.place.dir.now()?.begin(number)
    }

    /// Has the disk work on a file that is being written, so that the others of its batch do not
    /// wait for all of it.
    pub fn sync_behind(
        &self,
        staged: &Staged,
        written: usize,
        behind: &mut RollingSync,
    ) -> io::Result<()> {
        if self.place.durability == Durability::Disk && behind.wrote(written) {
            let file = staged.file().try_clone()?;
            behind.start(move || file.sync_data())?;
        }
        Ok(())
    }

    /// Stores a file; `done` is called once it is under its final name and in the index, as durable
    /// as it is to be, or cannot be.
    pub fn submit(&self, file: Incoming, done: Done) {
        if let Err(mpsc::SendError(Job::File(_, done))) = self.jobs.send(Job::File(file, done)) {
            done(Err(ended().into()));
        }
    }

    /// What is stored for a journal and not confirmed, when all that was submitted before is done.
    pub async fn holding(&self, journal: Arc<str>) -> io::Result<Told> {
        let (answer, told) = oneshot::channel();
        let _ = self.jobs.send(Job::Holding(journal, answer));
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Forgets files of a journal that their balancer has recorded as delivered. `room` is what the
    /// list takes.
    pub fn confirm(
        &self,
        journal: Arc<str>,
        numbers: Vec<u64>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        let _ = self.jobs.send(Job::Confirmed(journal, numbers, room));
    }

    /// Removes the copy of a file that another server has, if it is what is `expected`; `done` is
    /// called once that is durable, or cannot be.
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

/// Makes the directory, locks it and removes unfinished files; with `clean` also what the first
/// system removed at its start: all `.json` files.
fn prepare(dir: &Path, clean: bool) -> io::Result<File> {
    fs::create_dir_all(dir)?;
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
