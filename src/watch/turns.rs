//! The core's other half: whose turn it is to be handed over.

use std::collections::VecDeque;
use std::time::Instant;

use super::entry::{Entry, Stage};
use super::folder::{Folder, Fresh, Lot};

/// Files in a batch at most.
const BATCH: usize = 1000;

/// Bytes in a batch at most, if it has more than one file.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;

impl Folder {
    /// The next files to hand over for the first time; `large` says whether they may be large.
    pub(super) fn take(
        &mut self,
        large: bool,
        (prefix, state): (&str, &str),
        at: u64,
    ) -> Option<(Lot, Vec<u64>)> {
        let is_fit = |lot: &Lot| large || !lot.is_large;
        let lots = self
            .ready
            .iter()
            .filter(|(lot, queue)| is_fit(lot) && !queue.is_empty());
        // Small ones first: they do not hold others up.
        let lot = *lots
            .min_by_key(|(lot, _)| (lot.is_large, lot.is_delivered))?
            .0;
        let most = if lot.is_large { 1 } else { BATCH };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < most && bytes < BATCH_BYTES {
            let Some(path) = self.ready.get_mut(&lot).and_then(VecDeque::pop_front) else {
                break;
            };
            let is_current = |fresh: &&Fresh| fresh.is_ready && fresh.lot == lot;
            if !self.fresh.get(&path).as_ref().is_some_and(is_current) {
                continue;
            }
            let Some(fresh) = self.fresh.remove(&path) else {
                continue;
            };
            bytes += fresh.found.ident.size;
            // Another name of a file that is under way: it waits for that one.
            if self.by_file.contains_key(&fresh.found.ident) {
                continue;
            }
            self.next += 1;
            let key = fresh.found.key(prefix, state);
            let entry = Entry::fresh(
                self.next,
                key,
                fresh.found,
                (fresh.rule, lot.is_delivered),
                at,
            );
            self.by_file.insert(entry.found.ident, entry.n);
            taken.push(entry.n);
            self.open.insert(entry.n, entry);
        }
        Some((lot, taken))
    }

    /// The entries that are to be handed over again now: at most a batch, all of one kind.
    pub(super) fn take_again<K: PartialEq>(
        &mut self,
        now: Instant,
        kind: impl Fn(&Entry) -> K,
    ) -> Option<(K, Vec<u64>)> {
        let due = |n: &u64| {
            let entry = self.open.get(n);
            entry.filter(|entry| entry.not_before.is_none_or(|at| at <= now))
        };
        let first = self.again.iter().find_map(due).map(&kind)?;
        let of_kind = self
            .again
            .iter()
            .filter_map(due)
            .filter(|entry| kind(entry) == first);
        let taken: Vec<u64> = of_kind.take(BATCH).map(|entry| entry.n).collect();
        for n in &taken {
            self.again.remove(n);
            if let Some(entry) = self.open.get_mut(n) {
                entry.stage = Stage::Sending;
            }
        }
        Some((first, taken))
    }

    /// An entry is to be handed over again, not before this time.
    pub(super) fn again(&mut self, n: u64, not_before: Option<Instant>) {
        if let Some(entry) = self.open.get_mut(&n) {
            entry.stage = Stage::Queued;
            entry.not_before = not_before;
            self.again.insert(n);
        }
    }

    /// When the first of the entries that were put off is due.
    pub(super) fn next_again(&self) -> Option<Instant> {
        let times = self
            .again
            .iter()
            .filter_map(|n| self.open.get(n)?.not_before);
        times.min()
    }

    /// The file of an entry is not where it was. It is where it was seen meanwhile, or the next look
    /// at the whole folder finds it. Says whether its place is known.
    pub(super) fn missed(&mut self, n: u64) -> bool {
        let scan = self.scan;
        let Some(entry) = self.open.get_mut(&n) else {
            return false;
        };
        if let Some(other) = entry.other.take() {
            entry.place = other;
            return true;
        }
        entry.is_here = false;
        entry.scan = scan;
        self.again.remove(&n);
        false
    }
}
