//! The store: files in a directory, each whole or not at all.
//!
//! One thread does all that may wait for the disk. What queued up while it synced is its next batch: every file of
//! the batch is written under a temporary name, synced, renamed, then the directory is synced, and only then is any of
//! them acknowledged. Many files so share the cost of a sync.
//!
//! Invariant: a final name never shows half a file, and no file is ever overwritten. Files that a crash left under
//! temporary names are removed when the store opens; stored files never are, unless the caller asks for it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::name::{beside, is_part, part_name, stored_name};

/// How many files are synced together at most, and how many bytes of content.
const BATCH: (usize, usize) = (512, 32 * 1024 * 1024);

/// From how many files on one sync of the file system costs less than one for each file.
const SYNC_ALL: usize = 8;

/// How many bytes of content may wait for the disk at most, in units of [`UNIT`].
const WAITING: u32 = 256 * 1024;

/// What waits is counted in units of this many bytes.
const UNIT: u64 = 1024;

/// How many names are tried for a file whose name another file has.
const NAMES: u32 = 1000;

/// The content of a file that is to be stored.
#[derive(Debug)]
pub enum Body {
    /// In memory.
    Whole(Bytes),
    /// Already written under a temporary name.
    Staged(Staged),
}

/// A file that is written under a temporary name; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Staged {
    /// Creates an empty file under a temporary name.
    fn create(dir: &Path, number: u64, attempt: u64) -> io::Result<Self> {
        let path = dir.join(part_name(number, attempt));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, kept: false })
    }

    /// Appends to the file.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its final name, or the first one beside it that no other file has. A file that is there
    /// already with the same content is as good.
    fn publish(&mut self, dir: &Path, name: &str) -> io::Result<()> {
        for attempt in 1..=NAMES {
            let target = dir.join(if attempt == 1 { name.to_owned() } else { beside(name, attempt) });
            match rename_new(&self.path, &target) {
                Ok(()) => {
                    self.kept = true;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if same_content(&self.path, &target)? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{NAMES} other files are called like {name}")))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed when the store opens again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames, but never over another file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system cannot rename so; a link to a name that exists fails, too.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut buffers = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut buffers.0)?;
        let (a, b) = (buffers.0.get(..read).unwrap_or_default(), buffers.1.get_mut(..read).unwrap_or_default());
        other.read_exact(b)?;
        if a != b {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// What happens once a file is stored, or could not be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A file that is to be stored.
struct Job {
    number: u64,
    title: String,
    body: Body,
    done: Done,
}

/// The way to the store's thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    place: Arc<Place>,
    room: Arc<Semaphore>,
}

/// Where the files go.
struct Place {
    dir: PathBuf,
    /// Tells apart the temporary names of one number.
    attempts: AtomicU64,
    /// Keeps other servers out of the directory, if it could be opened.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing, and removes what a crash left half written. A
    /// directory that cannot be used is told in the log, and every file will be refused until it can; one that
    /// another server uses is an error. `ended` is cancelled when the thread ends, for whatever reason.
    pub fn open(dir: &Path, clean: bool, ended: CancellationToken) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let lock = match prepare(dir, clean) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                tracing::error!(dir = %dir.display(), error = %error, "cannot use the directory: files are refused");
                None
            }
        };
        let (jobs, queue) = mpsc::channel();
        let place = Arc::new(Place { dir: dir.to_owned(), attempts: AtomicU64::new(0), _lock: lock });
        let room = Arc::new(Semaphore::new(WAITING as usize));
        let store = Self { jobs, place: place.clone(), room };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let _ended = ended.drop_guard();
            work(&place, &queue);
        })?;
        Ok((store, thread))
    }

    /// Waits for room to hold `size` bytes of content until they are stored: peers that are faster than the disk are
    /// not read from meanwhile. More than there is at all counts as all.
    pub async fn room(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(WAITING).min(WAITING);
        self.room.clone().acquire_many_owned(units).await.ok()
    }

    /// Begins a file that is too large to be held in memory.
    pub fn stage(&self, number: u64) -> io::Result<Staged> {
        self.place.stage(number)
    }

    /// Stores a file; `done` is called once it is synced under its final name, or cannot be.
    pub fn submit(&self, number: u64, title: String, body: Body, done: Done) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(Job { number, title, body, done }) {
            (job.done)(Err(io::Error::other("the store has ended")));
        }
    }
}

impl Place {
    fn stage(&self, number: u64) -> io::Result<Staged> {
        Staged::create(&self.dir, number, self.attempts.fetch_add(1, Ordering::Relaxed))
    }
}

/// Makes the directory, locks it and removes unfinished files; with `clean` also what the first system removed at
/// its start: all `.json` files.
fn prepare(dir: &Path, clean: bool) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let lock = File::open(dir)?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another server uses this directory"));
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let unwanted = is_part(&name) || (clean && name.ends_with(".json"));
        if unwanted && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(lock)
}

fn work(place: &Place, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            bytes += if let Body::Whole(content) = &job.body { content.len() } else { 0 };
            batch.push(job);
            let more = batch.len() < BATCH.0 && bytes < BATCH.1;
            next = if more { queue.try_recv().ok() } else { None };
        }
        store(place, batch);
    }
}

/// Stores a batch, and says of each file what became of it.
fn store(place: &Place, batch: Vec<Job>) {
    let dir = &place.dir;
    let mut staged = Vec::with_capacity(batch.len());
    for Job { number, title, body, done } in batch {
        match stage(place, number, body) {
            Ok(file) => staged.push((file, stored_name(number, &title), done)),
            Err(error) => done(Err(error)),
        }
    }
    if let Err(error) = sync(dir, staged.iter().map(|(file, ..)| file)) {
        return refuse(staged, &error);
    }
    let mut published = Vec::with_capacity(staged.len());
    for (mut file, name, done) in staged {
        match file.publish(dir, &name) {
            Ok(()) => published.push((file, name, done)),
            Err(error) => done(Err(error)),
        }
    }
    if published.is_empty() {
        return;
    }
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Ok(()) => published.into_iter().for_each(|(_, _, done)| done(Ok(()))),
        Err(error) => refuse(published, &error),
    }
}

fn stage(place: &Place, number: u64, body: Body) -> io::Result<Staged> {
    match body {
        Body::Staged(file) => Ok(file),
        Body::Whole(content) => {
            let mut file = place.stage(number)?;
            file.write(&content)?;
            Ok(file)
        }
    }
}

fn sync<'a>(dir: &Path, files: impl ExactSizeIterator<Item = &'a Staged>) -> io::Result<()> {
    if files.len() < SYNC_ALL {
        return files.into_iter().try_for_each(|staged| staged.file.sync_data());
    }
    Ok(syncfs(File::open(dir)?)?)
}

fn refuse(files: Vec<(Staged, String, Done)>, error: &io::Error) {
    for (_, _, done) in files {
        done(Err(io::Error::new(error.kind(), error.to_string())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Stores files and waits for what became of each.
    fn store_all(dir: &Path, files: &[(u64, &str, &str)]) -> Vec<io::Result<()>> {
        let (store, thread) = Store::open(dir, false, CancellationToken::new()).unwrap();
        let (results, wait) = channel();
        for (place, (number, title, content)) in files.iter().enumerate() {
            let results = results.clone();
            let done = Box::new(move |result| drop(results.send((place, result))));
            store.submit(*number, (*title).to_owned(), Body::Whole(Bytes::from((*content).to_owned())), done);
        }
        drop((store, results));
        thread.join().unwrap();
        let mut results: Vec<_> = wait.into_iter().collect();
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn listing(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn many_files_are_stored_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = (1..=1000).map(|number| (number, "x.json", "perché\r\n\0")).collect();
        assert!(store_all(dir.path(), &files).iter().all(Result::is_ok));
        assert_eq!(listing(dir.path()).len(), 1000);
        assert_eq!(fs::read(dir.path().join("77_x.json")).unwrap(), "perché\r\n\0".as_bytes());
    }

    #[test]
    fn the_same_file_twice_is_stored_once_and_another_one_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = [(1, "x.json", "one"), (1, "x.json", "one"), (1, "x.json", "two"), (1, "x.json", "two")];
        assert!(store_all(dir.path(), &files).iter().all(Result::is_ok));
        assert_eq!(listing(dir.path()), ["1_x.json", "1_x~2.json"]);
        assert_eq!(fs::read(dir.path().join("1_x.json")).unwrap(), b"one");
        assert_eq!(fs::read(dir.path().join("1_x~2.json")).unwrap(), b"two");
    }

    #[test]
    fn what_a_crash_left_is_removed_and_stored_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in [&part_name(3, 1), "1_a.json", "2_b.txt", "notes.part"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        store_all(dir.path(), &[]);
        assert_eq!(listing(dir.path()), ["1_a.json", "2_b.txt", "notes.part"]);
        let (store, thread) = Store::open(dir.path(), true, CancellationToken::new()).unwrap();
        assert!(Store::open(dir.path(), false, CancellationToken::new()).is_err(), "one server a directory");
        drop(store);
        thread.join().unwrap();
        assert_eq!(listing(dir.path()), ["2_b.txt", "notes.part"]);
    }

    #[test]
    fn a_directory_that_is_missing_refuses_and_a_new_one_is_used() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        assert!(store_all(&dir, &[(1, "x", "")])[0].is_ok(), "it is made at the start");
        let (store, thread) = Store::open(&dir, false, CancellationToken::new()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let put = |number| {
            let (result, wait) = channel();
            let done = Box::new(move |stored| drop(result.send(stored)));
            store.submit(number, "x".to_owned(), Body::Whole(Bytes::new()), done);
            wait.recv().unwrap()
        };
        assert_eq!(put(1).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&dir).unwrap();
        assert!(put(2).is_ok());
        drop(store);
        thread.join().unwrap();
    }

    #[test]
    fn a_staged_file_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, thread) = Store::open(dir.path(), false, CancellationToken::new()).unwrap();
        let mut staged = store.stage(5).unwrap();
        staged.write(b"half").unwrap();
        assert_eq!(listing(dir.path()).len(), 1);
        drop((staged, store));
        thread.join().unwrap();
        assert!(listing(dir.path()).is_empty());
    }
}
