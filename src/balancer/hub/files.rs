//! All files that the balancer knows, and where each of them is.
//!
//! Invariant: a number is in at most one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balancer::cold::Cold;
use crate::balancer::dispatch::{Delivery, Dispatcher, Queued};
use crate::balancer::head_start::HeadStart;
use crate::balancer::messages::Arrived;
use crate::balancer::room::{DiskReservation, Room};
use crate::queue::backlog_entry::BacklogEntry;
use crate::queue::record::{End, Ended, Meta};
use crate::queue::{DeadLetter, FileBody, Ledger};

/// What the hub keeps beside a file in the dispatcher's queue.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) content: FileBody,
    /// Kept until the file leaves the queue.
    pub(super) head_start: Option<HeadStart>,
    /// Taken for as long as the file waits. `None` for a file of an earlier run that no longer fits
    /// into the queue's bounds, and for a replayed dead letter.
    pub(super) _room: Option<Room>,
}

/// A file that is being written to the journal.
pub(super) struct Accepting {
    pub(super) meta: Arc<Meta>,
    pub(super) content: Arrived,
    pub(super) head_start: Option<HeadStart>,
    pub(super) room: Room,
    /// When all of it had been read.
    pub(super) read: Duration,
    pub(super) _disk: DiskReservation,
}

/// All files.
pub(super) struct Files {
    pub(super) accepting: BTreeMap<u64, Accepting>,
    /// Decides about the files that are ready, delayed, or with a server.
    pub(super) dispatcher: Dispatcher<Tag>,
    /// The files that the dispatcher gets later.
    pub(super) backlog: Cold,
    /// Dead letters and files that ended.
    pub(super) ledger: Ledger,
}

/// Where a file is.
pub(super) enum Where<'a> {
    /// Being written to the journal: not durable yet.
    Accepting(&'a Accepting),
    /// In the dispatcher's queue: it waits in memory or is with a server.
    Queued(&'a Queued<Delivery<Tag>>),
    /// Too far back in the queue to be kept in memory.
    Backlog(&'a BacklogEntry),
    Dead(&'a DeadLetter),
    /// Delivered or dropped, and still remembered.
    Ended(&'a Arc<Ended>),
    /// Never accepted, or forgotten.
    Unknown,
}

impl Files {
    /// Where the file with this number is.
    pub(super) fn whereabouts(&self, number: u64) -> Where<'_> {
        let accepting = || self.accepting.get(&number).map(Where::Accepting);
        let queued = || self.dispatcher.queue().get(number).map(Where::Queued);
        let backlog = || self.backlog.get(number).map(Where::Backlog);
        let dead = || self.ledger.dead().get(&number).map(Where::Dead);
        let ended = || self.ledger.ended(number).map(Where::Ended);
        accepting()
            .or_else(queued)
            .or_else(backlog)
            .or_else(dead)
            .or_else(ended)
            .unwrap_or(Where::Unknown)
    }

    /// How many accepted files are not delivered and not dead letters.
    pub(super) fn undelivered(&self) -> usize {
        self.dispatcher.undelivered() + self.backlog.len() + self.accepting.len()
    }

    /// In how many places the file is. For tests of the invariant.
    #[cfg(test)]
    pub(super) fn places(&self, number: u64) -> usize {
        let is_there = [
            self.accepting.contains_key(&number),
            self.dispatcher.queue().get(number).is_some(),
            self.backlog.contains(number),
            self.ledger.dead().contains_key(&number),
            self.ledger.ended(number).is_some(),
        ];
        is_there.into_iter().filter(|is_there| *is_there).count()
    }
}

impl Where<'_> {
    /// Whether the file will reach no server, unless an operator sees to it.
    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Dead(_) => true,
            Self::Ended(ended) => matches!(ended.end, End::Dropped { .. }),
            _ => false,
        }
    }

    /// Size and CRC32C of the file's content, if the file is known.
    pub(super) fn content(&self) -> Option<(u64, u32)> {
        let of = |meta: &Meta| Some((meta.size, meta.crc32c));
        match self {
            Self::Accepting(file) => of(&file.meta),
            Self::Queued(file) => of(&file.meta),
            Self::Backlog(entry) => Some((entry.size(), entry.crc32c)),
            Self::Dead(letter) => of(&letter.meta),
            Self::Ended(ended) => of(&ended.meta),
            Self::Unknown => None,
        }
    }
}

/// Why nothing is done with a file that is not durable yet.
pub(super) fn being_written(number: u64) -> String {
    format!("file {number} is just being written to the journal: try again")
}
