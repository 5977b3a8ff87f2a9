//! The store's thread: does all that may wait for the disk, in the order in which it was asked for.
//!
//! What queued up while it synced is its next batch. Files of a batch are written without their
//! names and announced in the index; both are synced; they are named, the directory is synced, the
//! index told, and only then is any of them acknowledged. Many files so share the cost of a sync.
//!
//! A server that dies has so, for each file, either no copy under a final name, or one that its
//! index can find again. A batch whose announcement cannot be written or synced is refused before
//! anything is published; the files then leave nothing behind.
//!
//! The directory must stay what it is: before a batch, after its syncs, and about once a second
//! while there is none, it is looked whether it and its index still are what lies under the path.
//! If not, nothing is acknowledged any more, and the server ends.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::directory::Opened;
use super::index::{Index, IndexEntry, Key, Settled};
use super::job::{
    Done, Incoming, IncomingBody, Job, Origin, Outcome, Place, Removed, StoreError, Told, copy,
};
use super::name::stored_name;
use super::staged::{Published, Staged};
use super::unlink::unlink;
use crate::durability::Durability;
use crate::protocol::Expected;

/// How many jobs are done together at most, and how many bytes of content they may have.
const BATCH: (usize, usize) = (512, 32 * 1024 * 1024);

/// How often it is looked whether the directory is still there while there is nothing to do.
const LOOK: Duration = Duration::from_secs(1);

/// From how many files on one sync of the file system costs less than one for each file, all at the
/// same time.
const SYNC_ALL: usize = 4;

/// Jobs of kinds that can be done together.
#[derive(Default)]
struct Batch {
    files: Vec<(Incoming, Done)>,
    /// Done after the files: a number that is confirmed and comes again must be found.
    confirmed: Vec<(Arc<str>, Vec<u64>, Option<OwnedSemaphorePermit>)>,
    removals: Vec<Removal>,
}

/// Which file must go, what it must be, and who is told.
type Removal = (Key, Option<Expected>, Removed);

/// A file of the batch in hand.
struct Pending {
    number: u64,
    name: String,
    staged: Staged,
    /// What the index is to say of it.
    claim: Option<(Key, IndexEntry)>,
    done: Done,
    /// Of the same file, come again in the same batch.
    again: Vec<Done>,
}

impl Pending {
    fn end(self, result: Result<Outcome, StoreError>) {
        for done in self.again {
            done(match &result {
                Ok(_) => Ok(Outcome::Known),
                Err(error) => Err(error.copy()),
            });
        }
        (self.done)(result);
    }
}

/// What the thread has.
pub(super) struct Keeper {
    place: Arc<Place>,
    index: Option<Index>,
}

impl Keeper {
    /// Opens the index, if that can be.
    pub(super) fn new(place: Arc<Place>) -> Self {
        let mut keeper = Self { place, index: None };
        if let Err(error) = keeper.index() {
            tracing::error!(error = %error, "cannot open the index: files of balancers that reconcile are refused");
        }
        keeper
    }

    /// Does what it is asked to until no one can ask any more. If the directory is lost, `lost` is
    /// cancelled, and whatever is still asked for is refused.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Job>, lost: &CancellationToken) {
        loop {
            match queue.recv_timeout(LOOK) {
                Ok(first) => self.work_off(first, queue),
                // What cannot be told now will be when it matters.
                Err(RecvTimeoutError::Timeout) => drop(self.look()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(what) = self.place.dir.lost().filter(|_| !lost.is_cancelled()) {
                tracing::error!("{what}: the server stops");
                self.place.set_identity(None);
                lost.cancel();
            }
        }
    }

    fn work_off(&mut self, first: Job, queue: &mpsc::Receiver<Job>) {
        let mut batch = Batch::default();
        for job in collect(first, queue, most_files()) {
            self.take(&mut batch, job);
        }
        self.carry_out(&mut batch);
        if let Some(index) = &mut self.index {
            index.tidy();
            index.rest();
        }
    }

    /// Adds a job to the batch; what cannot be done together with it is done first.
    fn take(&mut self, batch: &mut Batch, job: Job) {
        match job {
            Job::File(..) | Job::Confirmed(..) if !batch.removals.is_empty() => {
                self.carry_out(batch)
            }
            Job::Remove(..) if !(batch.files.is_empty() && batch.confirmed.is_empty()) => {
                self.carry_out(batch)
            }
            Job::Holding(..) => self.carry_out(batch),
            _ => {}
        }
        match job {
            Job::File(file, done) => batch.files.push((file, done)),
            Job::Confirmed(journal, numbers, room) => {
                batch.confirmed.push((journal, numbers, room))
            }
            Job::Remove(key, expected, done) => batch.removals.push((key, expected, done)),
            Job::Holding(journal, answer) => {
                let told = self.index().map(|index| Told {
                    held: index.holding(&journal),
                    seen: index.seen(&journal),
                });
                let _ = answer.send(told);
            }
            Job::Open => drop(self.index()),
        }
    }

    fn carry_out(&mut self, batch: &mut Batch) {
        let Batch {
            files,
            confirmed,
            removals,
        } = std::mem::take(batch);
        if !files.is_empty() {
            self.store(files);
        }
        for (journal, numbers, _room) in confirmed {
            let written = self
                .index()
                .and_then(|index| index.confirm(&journal, numbers));
            if let Err(error) = written {
                tracing::warn!(error = %error, "cannot write down what is confirmed: it will be listed again");
            }
        }
        if !removals.is_empty() {
            self.remove(removals);
        }
    }

    /// The directory, if it and its index are still what lies under the path.
    fn look(&self) -> io::Result<Arc<Opened>> {
        let dir = self.place.dir.now()?;
        let is_in_place = self.index.as_ref().map_or(Ok(true), Index::is_in_place)?;
        let lost = || {
            self.place
                .dir
                .lose("lost its .bilico-index, which was removed or replaced,")
        };
        if is_in_place { Ok(dir) } else { Err(lost()) }
    }

    /// The index, opened if need be.
    fn index(&mut self) -> io::Result<&mut Index> {
        let dir = self.look()?;
        self.index_in(&dir)
    }

    fn index_in(&mut self, dir: &Arc<Opened>) -> io::Result<&mut Index> {
        if self.index.is_none() {
            let index = Index::open(dir)?;
            self.place.set_identity(Some(index.identity().clone()));
            self.index = Some(index);
        }
        self.index
            .as_mut()
            .ok_or_else(|| io::Error::other("no index"))
    }

    /// Stores files, and says of each what became of it.
    fn store(&mut self, files: Vec<(Incoming, Done)>) {
        let dir = match self.look() {
            Ok(dir) => dir,
            Err(error) => {
                return files
                    .into_iter()
                    .for_each(|(_, done)| done(Err(copy(&error).into())));
            }
        };
        let mut pending = self.sort_out(files, &dir);
        self.announce(&mut pending);
        if let Err(error) = self.sync(&mut pending, &dir) {
            self.give_up(&pending);
            return refuse(pending, &error);
        }
        let published = self.publish(pending, &dir);
        if published.is_empty() {
            return;
        }
        let synced = if self.place.durability == Durability::Os {
            Ok(())
        } else {
            dir.sync_names()
        };
        // Files in a directory that was moved meanwhile are not where anybody looks for them.
        match synced.and_then(|()| self.look()) {
            Ok(_) => self.acknowledge(published),
            Err(error) => self.take_back(published, &dir, &error),
        }
    }

    /// Writes the new files of a batch, and answers for those that are none.
    fn sort_out(&mut self, files: Vec<(Incoming, Done)>, dir: &Arc<Opened>) -> Vec<Pending> {
        let needs_index = files.iter().any(|(file, _)| file.claim.is_some());
        let unusable = needs_index.then(|| self.index_in(dir).err()).flatten();
        let mut pending = Vec::with_capacity(files.len());
        let mut places = HashMap::new();
        for (file, done) in files {
            match (&file.claim, &unusable) {
                (None, _) => stage(file, None, done, dir, &mut pending),
                (Some(_), Some(error)) => done(Err(copy(error).into())),
                (Some(claim), None) => {
                    let claim = claim_of(&file, claim);
                    self.admit(file, claim, done, dir, &mut pending, &mut places);
                }
            }
        }
        pending
    }

    /// Decides whether a file is a new one. `places` says where in the batch a number is already.
    fn admit(
        &self,
        file: Incoming,
        (key, entry): (Key, IndexEntry),
        done: Done,
        dir: &Arc<Opened>,
        pending: &mut Vec<Pending>,
        places: &mut HashMap<Key, usize>,
    ) {
        if let Some(known) = self.index.as_ref().and_then(|index| index.get(&key)) {
            return done(check_same(file.number, known, &entry).map(|()| Outcome::Known));
        }
        let twin = places.get(&key).and_then(|place| pending.get_mut(*place));
        if let Some(Pending {
            claim: Some((_, known)),
            again,
            ..
        }) = twin
        {
            return match check_same(file.number, known, &entry) {
                Ok(()) => again.push(done),
                Err(conflict) => done(Err(conflict)),
            };
        }
        let place = pending.len();
        stage(file, Some((key.clone(), entry)), done, dir, pending);
        if place < pending.len() {
            places.insert(key, place);
        }
    }

    /// Writes down which files are about to be published. Those for which that fails are refused;
    /// what balancers without an identity sent goes on.
    fn announce(&mut self, pending: &mut Vec<Pending>) {
        let Some(index) = self
            .index
            .as_mut()
            .filter(|_| pending.iter().any(|file| file.claim.is_some()))
        else {
            return;
        };
        let claims = pending.iter().filter_map(|file| file.claim.as_ref());
        if let Err(error) = index.announce(claims.map(|(key, entry)| (key, entry))) {
            tracing::error!(error = %error, "the index cannot be written: files are refused");
            refuse(pending.extract_if(.., |file| file.claim.is_some()), &error);
        }
    }

    /// Syncs the content of all files, and what was announced of them: at the same time, for a disk
    /// makes little difference between one sync and several. Where only the announcement fails,
    /// only what it is about is refused.
    fn sync(&mut self, pending: &mut Vec<Pending>, dir: &Opened) -> io::Result<()> {
        if self.place.durability == Durability::Os {
            return Ok(());
        }
        let is_announced = pending.iter().any(|file| file.claim.is_some());
        let index = self.index.as_mut().filter(|_| is_announced);
        if pending.len() >= SYNC_ALL {
            return dir
                .sync_all()
                .inspect_err(|_| index.into_iter().for_each(Index::distrust));
        }
        let (files, announced) = thread::scope(|scope| {
            let spawn =
                |staged| thread::Builder::new().spawn_scoped(scope, move || Staged::sync(staged));
            let syncing: Vec<_> = pending
                .iter()
                .map(|file| (file, spawn(&file.staged)))
                .collect();
            let announced = index.map_or(Ok(()), Index::sync);
            let ended = syncing.into_iter().map(|(file, syncing)| match syncing {
                Ok(syncing) => syncing
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread has failed"))),
                // No more threads are to be had: here, then.
                Err(_) => file.staged.sync(),
            });
            (ended.fold(Ok(()), io::Result::and), announced)
        });
        if let Err(error) = announced {
            tracing::error!(error = %error, "the index cannot be synced: files are refused");
            refuse(pending.extract_if(.., |file| file.claim.is_some()), &error);
        }
        files
    }

    /// Gives files their final names.
    fn publish(&mut self, pending: Vec<Pending>, dir: &Opened) -> Vec<(Pending, Published)> {
        let mut all = Vec::with_capacity(pending.len());
        for mut file in pending {
            let may_share = |name: &str| {
                let others = self
                    .index
                    .as_ref()
                    .is_some_and(|index| index.is_claimed(file.number, name));
                file.claim.is_none() || !others
            };
            match file.staged.publish(dir, &file.name, may_share) {
                Ok(published) => all.push((file, published)),
                Err(error) => {
                    self.give_up(std::slice::from_ref(&file));
                    file.end(Err(error.into()));
                }
            }
        }
        all
    }

    /// Says that files are stored, to the index and to their senders.
    fn acknowledge(&mut self, published: Vec<(Pending, Published)>) {
        if let Some(index) = &mut self.index {
            for (file, published) in &published {
                // A file that is also somebody's who gives no identity must not be removed on
                // another's word.
                if let (None, Published::Found(name)) = (&file.claim, published) {
                    index.share(file.number, name);
                }
            }
            index.settle(
                published
                    .iter()
                    .filter_map(|(file, published)| settled(file, published))
                    .collect(),
            );
            let without_journal = published.iter().filter(|(file, _)| file.claim.is_none());
            without_journal
                .map(|(file, _)| file.number)
                .max()
                .into_iter()
                .for_each(|number| index.note(number));
        }
        for (file, _) in published {
            self.place.count(file.staged.size());
            file.end(Ok(Outcome::Stored));
        }
    }

    /// Removes what was published in a directory that then could not be synced, and refuses it.
    /// What cannot be removed stays in the index, so that its balancer hears of it.
    fn take_back(&mut self, published: Vec<(Pending, Published)>, dir: &Opened, error: &io::Error) {
        let mut remain = Vec::new();
        for (file, published) in &published {
            let Some(settled) = settled(file, published) else {
                continue;
            };
            let gone = settled.entry.shared || dir.remove(&settled.entry.name).is_ok();
            if gone {
                self.give_up(std::slice::from_ref(file));
            } else {
                remain.push(settled);
            }
        }
        if let Some(index) = &mut self.index {
            index.settle(remain);
        }
        refuse(published.into_iter().map(|(file, _)| file), error);
    }

    /// Takes back what was announced of files that are not published.
    fn give_up(&mut self, files: &[Pending]) {
        let keys: Vec<Key> = files
            .iter()
            .filter_map(|file| Some(file.claim.as_ref()?.0.clone()))
            .collect();
        if let Some(index) = &mut self.index {
            index.give_up(&keys);
        }
    }

    /// Removes copies of which there is another elsewhere. What the index does not know is none.
    fn remove(&mut self, removals: Vec<Removal>) {
        let index = match self.index() {
            Ok(index) => index,
            Err(error) => {
                return removals
                    .into_iter()
                    .for_each(|(.., done)| done(Err(copy(&error))));
            }
        };
        let (mut gone, mut answers) = (Vec::new(), Vec::new());
        for (key, expected, done) in removals {
            match index.get(&key).map_or(Ok(false), |entry| {
                unlink(index.dir(), key.number, entry, expected)
            }) {
                Ok(is_gone) => {
                    gone.extend(is_gone.then_some(key));
                    answers.push(done);
                }
                Err(error) => done(Err(error)),
            }
        }
        let removed = self.forget(&gone);
        for done in answers {
            done(removed.as_ref().copied().map_err(copy));
        }
    }

    /// Makes removals durable: first in the directory, so that the index never misses a copy that
    /// is there.
    fn forget(&mut self, gone: &[Key]) -> io::Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        self.place.dir.now()?.sync_names()?;
        // What is removed from a directory that was moved meanwhile may lie under the path still.
        self.look()?;
        self.index
            .as_mut()
            .map_or(Ok(()), |index| index.remove(gone))
    }
}

/// How many files may be done together: each is open until it is published, and half of the
/// descriptors are for others.
pub fn most_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2)
        .unwrap_or(usize::MAX)
        .clamp(1, BATCH.0)
}

/// The jobs that wait, up to a batch of them.
fn collect(first: Job, queue: &mpsc::Receiver<Job>, most: usize) -> Vec<Job> {
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        if let Job::File(
            Incoming {
                body: IncomingBody::Whole(content),
                ..
            },
            _,
        ) = &job
        {
            bytes += content.len();
        }
        jobs.push(job);
        let more = jobs.len() < most && bytes < BATCH.1;
        next = if more { queue.try_recv().ok() } else { None };
    }
    jobs
}

/// Makes sure that the content of a file is on its way to the disk.
fn stage(
    file: Incoming,
    claim: Option<(Key, IndexEntry)>,
    done: Done,
    dir: &Arc<Opened>,
    pending: &mut Vec<Pending>,
) {
    let Incoming {
        number,
        title,
        body,
        ..
    } = file;
    let staged = match body {
        IncomingBody::Staged(staged) => Ok(staged),
        IncomingBody::Whole(content) => dir.begin(number).and_then(|mut staged| {
            staged.write(&content)?;
            Ok(staged)
        }),
    };
    match staged {
        Ok(staged) => {
            let name = stored_name(number, &title);
            pending.push(Pending {
                number,
                name,
                staged,
                claim,
                done,
                again: Vec::new(),
            });
        }
        Err(error) => done(Err(error.into())),
    }
}

/// What the index is to say of a published file.
fn settled(file: &Pending, published: &Published) -> Option<Settled> {
    let (key, announced) = file.claim.as_ref()?;
    let (name, shared) = match published {
        Published::As(name) => (name, false),
        Published::Found(name) => (name, true),
    };
    let renamed = **name != *announced.name;
    let entry = IndexEntry {
        name: name.as_str().into(),
        shared,
        ..*announced
    };
    Some(Settled {
        key: key.clone(),
        entry,
        renamed,
    })
}

/// What the index is to say of a file, under the name that it will have if that is free.
fn claim_of(file: &Incoming, claim: &Origin) -> (Key, IndexEntry) {
    let name = stored_name(file.number, &file.title).into();
    let entry = IndexEntry {
        size: file.body.size(),
        crc32c: claim.crc32c,
        name,
        shared: false,
    };
    (Key::new(claim.journal.clone(), file.number), entry)
}

fn check_same(number: u64, known: &IndexEntry, new: &IndexEntry) -> Result<(), StoreError> {
    if (known.size, known.crc32c) == (new.size, new.crc32c) {
        return Ok(());
    }
    let sums = [known, new].map(|entry| (entry.size, entry.crc32c));
    Err(StoreError::Conflict {
        number,
        known: sums[0],
        new: sums[1],
    })
}

fn refuse(files: impl IntoIterator<Item = Pending>, error: &io::Error) {
    for file in files {
        file.end(Err(copy(error).into()));
    }
}
