//! How a batch of files is stored: sort, announce, sync, publish, acknowledge.

use std::io;
use std::sync::Arc;
use std::thread;

use super::super::index::{Index, Key};
use super::super::job::{Done, Incoming, Outcome, copy};
use super::super::opened::Opened;
use super::super::staged::{Published, Staged};
use super::pending::{Pending, refuse};
use super::sorting::Sorting;
use super::thread::Keeper;
use crate::durability::Durability;

/// From how many files on one sync of the file system costs less than a sync of each file, all at
/// the same time.
const SYNC_ALL: usize = 4;

impl Keeper {
    /// Stores files, and tells the sender of each what became of it.
    pub(super) fn store(&mut self, files: Vec<(Incoming, Done)>) {
        let dir = match self.check_in_place() {
            Ok(dir) => dir,
            Err(error) => {
                let refuse = |(_, done): (Incoming, Done)| done(Err(copy(&error).into()));
                return files.into_iter().for_each(refuse);
            }
        };
        let mut pending = self.sort(files, &dir);
        self.announce(&mut pending);
        if let Err(error) = self.sync(&mut pending, &dir) {
            self.give_up(&pending);
            return refuse(pending, &error);
        }
        let published = self.publish(pending, &dir);
        if published.is_empty() {
            return;
        }
        let synced = match self.place.durability {
            Durability::Os => Ok(()),
            Durability::Disk => dir.sync_names(),
        };
        // A directory that was moved meanwhile is not where readers look for these files.
        match synced.and_then(|()| self.check_in_place()) {
            Ok(_) => self.acknowledge(published),
            Err(error) => self.take_back(published, &dir, &error),
        }
    }

    /// Writes the new files of a batch without their final names, and answers the senders of the
    /// others.
    fn sort(&mut self, files: Vec<(Incoming, Done)>, dir: &Arc<Opened>) -> Vec<Pending> {
        let needs_index = files.iter().any(|(file, _)| file.origin.is_some());
        let unusable = needs_index.then(|| self.index_in(dir).err()).flatten();
        let mut sorting = Sorting::new(dir, self.index.as_ref(), files.len());
        for (mut file, done) in files {
            match (file.origin.take(), &unusable) {
                (None, _) => sorting.add_unowned(file, done),
                (Some(_), Some(error)) => done(Err(copy(error).into())),
                (Some(origin), None) => sorting.add(file, &origin, done),
            }
        }
        sorting.finish()
    }

    /// Writes to the index which files are about to be published. If that fails, the files of
    /// journals are refused; the others go on.
    fn announce(&mut self, pending: &mut Vec<Pending>) {
        let Some(index) = self.index.as_mut() else {
            return;
        };
        let mut announced = pending
            .iter()
            .filter_map(|file| file.announced.as_ref())
            .map(|announced| (&announced.key, &announced.entry))
            .peekable();
        if announced.peek().is_none() {
            return;
        }
        if let Err(error) = index.announce(announced) {
            tracing::error!(error = %error, "cannot write the index: files are refused");
            refuse_announced(pending, &error);
        }
    }

    /// Syncs the content of all files and their announcements, all at the same time: a disk takes
    /// little longer for several syncs than for one. If only the sync of the index fails, only the
    /// announced files are refused.
    fn sync(&mut self, pending: &mut Vec<Pending>, dir: &Opened) -> io::Result<()> {
        if self.place.durability == Durability::Os {
            return Ok(());
        }
        let is_announced = pending.iter().any(|file| file.announced.is_some());
        let index = self.index.as_mut().filter(|_| is_announced);
        if pending.len() >= SYNC_ALL {
            return dir
                .sync_all()
                .inspect_err(|_| index.into_iter().for_each(Index::distrust));
        }
        let (files, announced) = sync_each(pending, index);
        if let Err(error) = announced {
            tracing::error!(error = %error, "cannot sync the index: files are refused");
            refuse_announced(pending, &error);
        }
        files
    }

    /// Gives files their final names, and refuses those for which that fails.
    fn publish(&mut self, pending: Vec<Pending>, dir: &Opened) -> Vec<(Pending, Published)> {
        let mut all = Vec::with_capacity(pending.len());
        for mut file in pending {
            let number = file.number;
            let is_owned = file.announced.is_some();
            let index = self.index.as_ref();
            let may_share = |name: &str| {
                !is_owned || !index.is_some_and(|index| index.is_claimed(number, name))
            };
            let taken = &mut self.taken;
            match file.staged.publish(dir, &file.name, may_share, taken) {
                Ok(published) => all.push((file, published)),
                Err(error) => {
                    self.give_up(std::slice::from_ref(&file));
                    file.end(Err(error.into()));
                }
            }
        }
        all
    }

    /// Records in the index that files are stored, and tells their senders.
    fn acknowledge(&mut self, published: Vec<(Pending, Published)>) {
        if let Some(index) = &mut self.index {
            record(index, &published);
        }
        for (file, _) in published {
            self.place.count(file.staged.size());
            file.end(Ok(Outcome::Stored));
        }
    }

    /// Removes published files whose directory could not be synced, and refuses them. A file that
    /// cannot be removed stays in the index, so that its balancer hears of it.
    fn take_back(&mut self, published: Vec<(Pending, Published)>, dir: &Opened, error: &io::Error) {
        let mut remain = Vec::new();
        for (file, published) in &published {
            let Some(settled) = file.settled(published) else {
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

    /// Takes back the announcements of files that are not published.
    fn give_up(&mut self, files: &[Pending]) {
        let keys: Vec<Key> = files
            .iter()
            .filter_map(|file| Some(file.announced.as_ref()?.key.clone()))
            .collect();
        if let Some(index) = &mut self.index {
            index.give_up(&keys);
        }
    }
}

fn refuse_announced(pending: &mut Vec<Pending>, error: &io::Error) {
    refuse(
        pending.extract_if(.., |file| file.announced.is_some()),
        error,
    );
}

/// Syncs each file in a thread of its own, and the index in this one. Returns how the files fared,
/// and how the index did.
fn sync_each(pending: &[Pending], index: Option<&mut Index>) -> (io::Result<()>, io::Result<()>) {
    thread::scope(|scope| {
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
                .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs it has failed"))),
            // The system has no thread to spare: sync the file in this one.
            Err(_) => file.staged.sync(),
        });
        (ended.fold(Ok(()), io::Result::and), announced)
    })
}

/// Records published files in the index.
fn record(index: &mut Index, published: &[(Pending, Published)]) {
    for (file, published) in published {
        // A file that a balancer without a journal counts on, too, must not be removed on another
        // balancer's word.
        if let (None, Published::Found(name)) = (&file.announced, published) {
            index.share(file.number, name);
        }
    }
    let settled = published
        .iter()
        .filter_map(|(file, published)| file.settled(published));
    index.settle(settled.collect());
    let unowned = published
        .iter()
        .filter(|(file, _)| file.announced.is_none());
    if let Some(highest) = unowned.map(|(file, _)| file.number).max() {
        index.note(highest);
    }
}
