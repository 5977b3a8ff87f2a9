//! What concerns so many files that the hub would be held for long: searches by title, and the
//! replay of all dead letters. Both go in slices.
//!
//! Between two slices the hub handles what has arrived meanwhile: after each slice it sends itself
//! a message, which waits its turn behind the others. One errand goes on at a time, the next waits,
//! and at most [`MOST_ERRANDS`] are kept.
//!
//! Invariant: an errand passes each number once, so that a file that moves meanwhile, say to a
//! server, is in its result once at most.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::ops::Bound::{Excluded, Unbounded};

use tokio::sync::oneshot;

use super::commits::After;
use super::files::Files;
use super::queries::Files as Reports;
use super::state::Hub;
use crate::balancer::messages::ToHub;
use crate::balancer::query::{Answer, MAX_LISTED};
use crate::queue::record::Meta;

/// The most errands that are under way or wait.
pub(super) const MOST_ERRANDS: usize = 16;

/// The most files that one slice looks at.
pub(super) const SLICE_FILES: usize = 512;

/// The most dead letters that one slice replays: each is logged and recorded.
const SLICE_REPLAYS: usize = 64;

/// A slice ends, too, when the titles that it has looked at have this many bytes: one title may
/// have thousands.
const SLICE_BYTES: usize = 128 * 1024;

/// What is done in slices.
pub(super) enum Errand {
    /// A search by title.
    Search(Search),
    /// All files that were dead letters in the beginning go to the servers again.
    ReplayAll(ReplayAll),
}

/// A search by title, from the newest file to the oldest.
pub(super) struct Search {
    /// What the titles contain, in lower case.
    wanted: String,
    limit: usize,
    /// Only files with lower numbers are still to be looked at.
    below: u64,
    /// The numbers of those that match, newest first.
    found: Vec<u64>,
    /// Whether the titles of all files were in memory all the time.
    is_complete: bool,
    to: oneshot::Sender<Answer>,
}

/// A replay of all dead letters, from the oldest to the newest.
pub(super) struct ReplayAll {
    /// Only dead letters with higher numbers are still to be replayed,
    after: u64,
    /// up to this one.
    last: u64,
    files: usize,
    to: oneshot::Sender<Answer>,
}

/// The errands, in the order in which they came. The first one is under way.
#[derive(Default)]
pub(super) struct Errands(VecDeque<Errand>);

impl Errand {
    /// A search for files whose titles contain `title`, in any case.
    pub(super) fn search(title: &str, limit: usize, to: oneshot::Sender<Answer>) -> Self {
        Self::Search(Search {
            wanted: title.to_lowercase(),
            limit: limit.min(MAX_LISTED),
            below: u64::MAX,
            found: Vec::new(),
            is_complete: true,
            to,
        })
    }

    /// Whether nobody needs it any more. An order is carried out even if whoever gave it has gone.
    fn is_idle(&self) -> bool {
        match self {
            Self::Search(search) => search.to.is_closed(),
            Self::ReplayAll(_) => false,
        }
    }

    fn into_asker(self) -> oneshot::Sender<Answer> {
        match self {
            Self::Search(Search { to, .. }) | Self::ReplayAll(ReplayAll { to, .. }) => to,
        }
    }
}

impl Hub {
    /// Begins an errand, or answers that there are too many.
    pub(super) fn begin(&mut self, errand: Errand) {
        let errands = &mut self.errands.0;
        let was_empty = errands.is_empty();
        errands.retain(|errand| !errand.is_idle());
        if errands.len() >= MOST_ERRANDS {
            // Who asked may have gone meanwhile.
            let _ = errand.into_asker().send(Answer::Busy);
            return;
        }
        errands.push_back(errand);
        // Otherwise the message for those before is on its way.
        if was_empty {
            self.come_back();
        }
    }

    /// Begins to replay all files that are dead letters now.
    pub(super) fn replay_all(&mut self, to: oneshot::Sender<Answer>) {
        let newest = self.files.ledger.dead().last_key_value();
        let last = newest.map_or(0, |(number, _)| *number);
        self.begin(Errand::ReplayAll(ReplayAll {
            after: 0,
            last,
            files: 0,
            to,
        }));
    }

    /// Does one slice of the first errand.
    pub(super) fn go_on(&mut self) {
        self.errands.0.retain(|errand| !errand.is_idle());
        match self.errands.0.pop_front() {
            Some(Errand::Search(search)) => self.search_on(search),
            Some(Errand::ReplayAll(replay)) => self.replay_on(replay),
            None => {}
        }
        if !self.errands.0.is_empty() {
            self.come_back();
        }
    }

    fn come_back(&self) {
        let _ = self.deps.to_self.send(ToHub::GoOn);
    }

    fn search_on(&mut self, mut search: Search) {
        if search.slice(&self.files) {
            let reports = Reports {
                files: &self.files,
                looked: &BTreeMap::new(),
            };
            let answer = reports.found(&search.found, search.is_complete);
            // Who asked may have gone meanwhile.
            let _ = search.to.send(answer);
        } else {
            self.errands.0.push_front(Errand::Search(search));
        }
    }

    fn replay_on(&mut self, mut replay: ReplayAll) {
        let dead = self.files.ledger.dead();
        let numbers: Vec<u64> = dead
            .range((Excluded(replay.after), Unbounded))
            .map(|(number, _)| *number)
            .take_while(|number| *number <= replay.last)
            .take(SLICE_REPLAYS)
            .collect();
        for number in &numbers {
            replay.after = *number;
            replay.files += usize::from(self.replay(*number));
        }
        if numbers.len() == SLICE_REPLAYS {
            return self.errands.0.push_front(Errand::ReplayAll(replay));
        }
        let files = replay.files;
        let answered = After::Answer(replay.to, Answer::Done { files });
        self.commits.barrier(answered);
    }
}

impl Search {
    /// Looks at the next files; true once there is nothing more to look for.
    fn slice(&mut self, files: &Files) -> bool {
        self.is_complete &= files.backlog.len() == 0;
        let mut bytes = 0;
        for (seen, (number, meta)) in newest_first(files, self.below).enumerate() {
            if self.found.len() >= self.limit {
                return true;
            }
            if seen >= SLICE_FILES || bytes >= SLICE_BYTES {
                return false;
            }
            self.below = number;
            bytes += meta.title.len();
            if meta.title.to_lowercase().contains(&self.wanted) {
                self.found.push(number);
            }
        }
        true
    }
}

/// The files below this number whose titles are in memory.
fn newest_first(files: &Files, below: u64) -> impl Iterator<Item = (u64, &Meta)> {
    let waiting = files.dispatcher.queue().before(below);
    let waiting = waiting.map(|(number, file)| (number, &*file.meta));
    let dead = files.ledger.dead().range(..below).rev();
    let dead = dead.map(|(number, letter)| (*number, &*letter.meta));
    let ended = files.ledger.ended_before(below);
    let ended = ended.map(|ended| (ended.number, &*ended.meta));
    merged(waiting, merged(dead, ended))
}

/// Two sequences from the highest number to the lowest, as one.
fn merged<T>(
    one: impl Iterator<Item = (u64, T)>,
    other: impl Iterator<Item = (u64, T)>,
) -> impl Iterator<Item = (u64, T)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((first, _)), Some((second, _))) if second > first => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
