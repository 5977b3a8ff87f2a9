//! What concerns so many files that the hub would be held for long: searches by title, and orders
//! about many dead letters or waiting files ([`super::bulk`]). They go in slices.
//!
//! Between two slices the hub handles what has arrived meanwhile: after each slice it sends itself
//! a message, which waits its turn behind the others. One errand goes on at a time, the next waits,
//! and at most [`MOST_ERRANDS`] are kept.
//!
//! Invariant: an errand passes each number once, so that a file that moves meanwhile, say to a
//! server, is in its result once at most.

use std::collections::VecDeque;
use std::iter;

use tokio::sync::oneshot;

use super::files::Files;
use crate::balancer::query::{Answer, Bulk, BulkDone, MAX_LISTED, Matcher};
use crate::queue::record::Meta;

/// The most errands that are under way or wait.
pub(super) const MOST_ERRANDS: usize = 16;

/// The most files that one slice looks at.
pub(super) const SLICE_FILES: usize = 512;

/// The most dead letters that one slice replays or drops: each is logged and recorded.
pub(super) const SLICE_REPLAYS: usize = 64;

/// The most waiting files that one slice cancels.
pub(super) const SLICE_CANCELS: usize = 512;

/// A slice ends, too, when the titles that it has looked at have this many bytes: one title may
/// have thousands.
const SLICE_BYTES: usize = 128 * 1024;

/// What is done in slices.
pub(super) enum Errand {
    /// A search by title.
    Search(Search),
    /// An order about many files.
    Bulk(Box<BulkErrand>),
}

/// A search by title, from the newest file to the oldest.
pub(super) struct Search {
    /// What the titles contain, in lower case.
    wanted: String,
    limit: usize,
    /// Only files with lower numbers are still to be looked at.
    below: u64,
    /// The numbers of those that match, newest first.
    pub(super) found: Vec<u64>,
    /// Whether the titles of all files were in memory all the time.
    pub(super) is_complete: bool,
    pub(super) to: oneshot::Sender<Answer>,
}

/// An order about many files, and how far it got.
pub(super) struct BulkErrand {
    pub(super) what: Bulk,
    pub(super) which: Matcher,
    /// Only files with higher numbers are still to be looked at,
    pub(super) after: u64,
    /// up to this one.
    pub(super) last: u64,
    /// How many files it may still be carried out on.
    pub(super) limit: usize,
    pub(super) done: BulkDone,
    /// The files of this slice, while their records are read.
    pub(super) slice: Vec<u64>,
    pub(super) to: oneshot::Sender<Answer>,
}

/// The errands, in the order in which they came. The first one is under way.
#[derive(Default)]
pub(super) struct Errands(pub(super) VecDeque<Errand>);

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
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Search(search) => search.to.is_closed(),
            Self::Bulk(_) => false,
        }
    }

    pub(super) fn into_asker(self) -> oneshot::Sender<Answer> {
        match self {
            Self::Search(search) => search.to,
            Self::Bulk(bulk) => bulk.to,
        }
    }
}

impl Search {
    /// Looks at the next files; true once there is nothing more to look for.
    pub(super) fn slice(&mut self, files: &Files) -> bool {
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
