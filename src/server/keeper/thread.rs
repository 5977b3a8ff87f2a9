//! The keeper's loop, and the jobs that are not about new files.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::index::{Index, Key};
use super::super::job::{Inventory, Job, copy};
use super::super::opened::Opened;
use super::super::place::Place;
use super::super::staged::Taken;
use super::super::unlink::{Unlinked, unlink};
use super::batch::{Batch, Confirmed, Removal, collect, most_files};

/// How often the directory is checked while there are no jobs.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The store's thread.
pub(in super::super) struct Keeper {
    pub(super) place: Arc<Place>,
    pub(super) index: Option<Index>,
    /// Names that need not be tried.
    pub(super) taken: Taken,
}

impl Keeper {
    /// Opens the index, if that is possible.
    pub(in super::super) fn new(place: Arc<Place>) -> Self {
        let mut keeper = Self {
            place,
            index: None,
            taken: Taken::default(),
        };
        if let Err(error) = keeper.index() {
            tracing::error!(
                error = %error,
                "cannot open the index: files of balancers that reconcile are refused"
            );
        }
        keeper
    }

    /// Does jobs until the last [`Store`] is dropped. If the directory is lost, `lost` is
    /// cancelled, and all later jobs are refused.
    ///
    /// [`Store`]: super::super::store::Store
    pub(in super::super) fn run(mut self, queue: &mpsc::Receiver<Job>, lost: &CancellationToken) {
        loop {
            match queue.recv_timeout(CHECK_INTERVAL) {
                Ok(first) => self.work_off(first, queue),
                // A loss is recorded in the directory; any other error comes again with a job.
                Err(RecvTimeoutError::Timeout) => drop(self.check_in_place()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(reason) = self.place.dir.lost().filter(|_| !lost.is_cancelled()) {
                tracing::error!("{reason}: the server stops");
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
            index.compact_if_worthwhile();
            index.close_writer();
        }
    }

    /// Adds a job to the batch, which is carried out first if the two do not go together.
    fn take(&mut self, batch: &mut Batch, job: Job) {
        if batch.must_precede(&job) {
            self.carry_out(batch);
        }
        match job {
            Job::File(file, done) => batch.files.push((file, done)),
            Job::Confirmed(journal, numbers, room) => batch.confirmed.push(Confirmed {
                journal,
                numbers,
                _room: room,
            }),
            Job::Remove(key, expected, done) => batch.removals.push(Removal {
                key,
                expected,
                done,
            }),
            Job::Inventory(journal, answer) => {
                let inventory = self.index().map(|index| Inventory {
                    files: index.files_of(&journal),
                    seen: index.seen(&journal),
                });
                let _ = answer.send(inventory);
            }
            Job::Bind(claimed, answer) => {
                let bound = self.index().and_then(|index| index.bind(&claimed));
                let _ = answer.send(bound);
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
        for confirmed in confirmed {
            self.confirm(confirmed);
        }
        if !removals.is_empty() {
            self.remove(removals);
        }
    }

    /// The directory, if the path still leads to it and to its index.
    pub(super) fn check_in_place(&self) -> io::Result<Arc<Opened>> {
        let dir = self.place.dir.now()?;
        let is_in_place = self.index.as_ref().map_or(Ok(true), Index::is_in_place)?;
        if is_in_place {
            Ok(dir)
        } else {
            let what = "lost its .bilico-index, which was removed or replaced,";
            Err(self.place.dir.lose(what))
        }
    }

    /// The index, opened if it is not open yet.
    fn index(&mut self) -> io::Result<&mut Index> {
        let dir = self.check_in_place()?;
        self.index_in(&dir)
    }

    /// The index of `dir`, opened if it is not open yet.
    pub(super) fn index_in(&mut self, dir: &Arc<Opened>) -> io::Result<&mut Index> {
        if self.index.is_none() {
            let index = Index::open(dir)?;
            self.place.set_identity(Some(index.identity().clone()));
            self.index = Some(index);
        }
        self.index
            .as_mut()
            .ok_or_else(|| io::Error::other("the index is not open"))
    }

    /// Forgets files whose balancer has recorded them as delivered.
    fn confirm(&mut self, confirmed: Confirmed) {
        let Confirmed {
            journal,
            numbers,
            _room,
        } = confirmed;
        let written = self
            .index()
            .and_then(|index| index.confirm(&journal, numbers));
        if let Err(error) = written {
            tracing::warn!(
                error = %error,
                "cannot record which files are confirmed: they will be listed again"
            );
        }
    }

    /// Removes copies that another server also has. A number that the index does not know counts as
    /// already removed.
    fn remove(&mut self, removals: Vec<Removal>) {
        let place = self.place.clone();
        let held = &place.held;
        let index = match self.index() {
            Ok(index) => index,
            Err(error) => {
                let refuse = |removal: Removal| (removal.done)(Err(copy(&error)));
                return removals.into_iter().for_each(refuse);
            }
        };
        let mut gone = Vec::new();
        let mut answers = Vec::new();
        for Removal {
            key,
            expected,
            done,
        } in removals
        {
            let unlinked = index.get(&key).map_or(Ok(Unlinked::Kept), |entry| {
                let unlinked = unlink(index.dir(), key.number, entry, expected);
                if let Ok(Unlinked::Removed) = unlinked {
                    held.remove(entry.size);
                }
                unlinked
            });
            match unlinked {
                Ok(unlinked) => {
                    gone.extend((unlinked != Unlinked::Kept).then_some(key));
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

    /// Makes removals durable: first in the directory, so that the index never lacks a copy that is
    /// there.
    fn forget(&mut self, gone: &[Key]) -> io::Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        self.place.dir.now()?.sync_names()?;
        // If the directory was moved meanwhile, the copies may still lie under the path.
        self.check_in_place()?;
        self.index
            .as_mut()
            .map_or(Ok(()), |index| index.remove(gone))
    }
}
