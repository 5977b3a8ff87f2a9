//! The parts: content that came in before its upload broke off, kept for its client to go on with.
//!
//! Invariant: a part is written, renamed or removed under its [`PartLease`], of which there is one
//! at a time. A newer upload with the same mark ends the older one and gets the lease after it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::queue::content;
use crate::queue::disk::Disk;

/// All parts of a disk, by their marks.
#[derive(Clone)]
pub(super) struct Parts {
    disk: Arc<dyn Disk>,
    entries: Arc<Mutex<Entries>>,
}

type Entries = HashMap<u128, PartEntry>;

/// A part that was begun.
struct PartEntry {
    /// Held by the part's lease.
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled to end the upload that has the lease.
    taken_over: CancellationToken,
    used: Instant,
}

impl PartEntry {
    fn new() -> Self {
        Self {
            lock: Arc::default(),
            taken_over: CancellationToken::new(),
            used: Instant::now(),
        }
    }
}

/// The sole right to a part.
pub(super) struct PartLease {
    pub(super) mark: u128,
    guard: OwnedMutexGuard<()>,
    /// Cancelled when a newer upload waits for the lease.
    pub(super) taken_over: CancellationToken,
    parts: Arc<Mutex<Entries>>,
    /// The part was renamed or removed: its entry goes with the lease.
    pub(super) is_gone: bool,
}

impl Drop for PartLease {
    fn drop(&mut self) {
        if self.is_gone {
            let mut parts = lock(&self.parts);
            // An upload that waits for the lease has the entry's lock already. A second entry would
            // let two uploads write a part of one name.
            if Arc::strong_count(OwnedMutexGuard::mutex(&self.guard)) == 2 {
                parts.remove(&self.mark);
            }
        }
    }
}

impl Parts {
    /// The parts that are on this disk.
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        let found = disk.list().unwrap_or_default();
        let entries = found
            .iter()
            .filter_map(|entry| content::parse_part_name(&entry.name))
            .map(|mark| (mark, PartEntry::new()))
            .collect();
        Self {
            disk,
            entries: Arc::new(Mutex::new(entries)),
        }
    }

    /// Bytes that came of the upload with this mark. An upload that is under way is ended first.
    pub(super) async fn len(&self, mark: u128) -> u64 {
        if !lock(&self.entries).contains_key(&mark) {
            return 0;
        }
        let mut lease = self.lease(mark).await;
        let part = self.disk.open(&content::part_name(mark));
        match part.and_then(|file| file.len()) {
            Ok(len) => len,
            Err(error) => {
                lease.is_gone = error.kind() == io::ErrorKind::NotFound;
                0
            }
        }
    }

    /// Waits for the lease of a part. The upload that has it is ended, unless all its content came.
    pub(super) async fn lease(&self, mark: u128) -> PartLease {
        let (part, taken_over) = {
            let mut entries = lock(&self.entries);
            let entry = entries.entry(mark).or_insert_with(PartEntry::new);
            entry.taken_over.cancel();
            entry.taken_over = CancellationToken::new();
            entry.used = Instant::now();
            (entry.lock.clone(), entry.taken_over.clone())
        };
        PartLease {
            mark,
            guard: part.lock_owned().await,
            taken_over,
            parts: self.entries.clone(),
            is_gone: false,
        }
    }

    /// The lease of a part, if nobody has it.
    fn lease_idle(&self, mark: u128, entry: &PartEntry) -> Option<PartLease> {
        Some(PartLease {
            mark,
            guard: entry.lock.clone().try_lock_owned().ok()?,
            taken_over: entry.taken_over.clone(),
            parts: self.entries.clone(),
            is_gone: false,
        })
    }

    /// Removes parts that no upload has gone on with for `age`, and of the rest all but the `most`
    /// youngest.
    pub(super) fn tidy(&self, age: Duration, most: usize) {
        let mut idle: Vec<(Instant, PartLease)> = lock(&self.entries)
            .iter()
            .filter_map(|(mark, entry)| Some((entry.used, self.lease_idle(*mark, entry)?)))
            .collect();
        idle.sort_unstable_by_key(|(used, _)| *used);
        let too_many = idle.len().saturating_sub(most);
        for (place, (used, mut lease)) in idle.into_iter().enumerate() {
            if place < too_many || used.elapsed() >= age {
                let removed = self.disk.remove(&content::part_name(lease.mark));
                lease.is_gone = removed.is_ok()
                    || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            }
        }
    }
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}
