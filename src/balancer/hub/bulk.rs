//! Orders about many files: dead letters are replayed or dropped, waiting files are cancelled.
//!
//! They go in slices, from the oldest file to the newest, as all errands do. The records of waiting
//! files that are not in memory are read beside the hub first. The next slice of a cancellation
//! begins when the last one is durable, so that the journal's writer never has more than one to
//! write: what clients send meanwhile goes between two slices.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use tokio::sync::oneshot;

use super::commits::After;
use super::errands::{BulkErrand, Errand, SLICE_CANCELS, SLICE_FILES, SLICE_REPLAYS};
use super::files::Where;
use super::files::being_written;
use super::queries::Reports;
use super::state::Hub;
use super::told::Telling;
use crate::balancer::happening::Happening;
use crate::balancer::messages::ToHub;
use crate::balancer::query::{Answer, Bulk, BulkDone, Left, MAX_LEFT, Selection};
use crate::queue::backlog_entry::{ReadBack, read_back};
use crate::queue::record::Meta;

/// How an errand goes on.
enum Next {
    Ended,
    /// Its next slice comes when other messages had their turn.
    Slice,
    /// It waits for something that it has begun.
    Waits,
}

impl Hub {
    /// Begins an order about many files.
    pub(super) fn bulk(&mut self, what: Bulk, which: &Selection, to: oneshot::Sender<Answer>) {
        let newest = self.next_number.saturating_sub(1);
        let last = which.up_to.map_or(newest, |up_to| up_to.min(newest));
        self.begin(Errand::Bulk(Box::new(BulkErrand {
            what,
            which: which.matcher(),
            after: which.after,
            last,
            limit: which.limit,
            done: BulkDone {
                up_to: last,
                ..BulkDone::default()
            },
            slice: Vec::new(),
            to,
        })));
    }

    /// Does one slice of an order about many files. Whether the errand goes on at once.
    pub(super) fn bulk_on(&mut self, mut bulk: Box<BulkErrand>, now: Duration) -> bool {
        let next = match bulk.what {
            Bulk::Replay | Bulk::Drop => self.slice_of_dead(&mut bulk, now),
            Bulk::Cancel => self.slice_of_waiting(&mut bulk, now),
        };
        match next {
            Next::Ended => {
                self.end_bulk(*bulk);
                true
            }
            Next::Slice => {
                self.errands.0.push_front(Errand::Bulk(bulk));
                true
            }
            Next::Waits => {
                self.errands.0.push_front(Errand::Bulk(bulk));
                false
            }
        }
    }

    fn end_bulk(&mut self, bulk: BulkErrand) {
        let BulkErrand {
            what,
            which,
            done,
            to,
            ..
        } = bulk;
        if done.files > 0 {
            self.report(&Happening::Bulk {
                what,
                files: done.files,
                which: &which.to_string(),
            });
        }
        // Who gave the order hears of it when it is durable.
        let answered = After::Answer(to, Answer::Bulk(Box::new(done)));
        self.commits.barrier(answered);
    }

    fn slice_of_dead(&mut self, bulk: &mut BulkErrand, now: Duration) -> Next {
        let dead = self.files.ledger.dead();
        let mut chosen = Vec::new();
        let mut seen = 0;
        let most = bulk.limit.min(SLICE_REPLAYS);
        let range = dead.range((Excluded(bulk.after), Unbounded));
        for (number, letter) in range.take_while(|(number, _)| **number <= bulk.last) {
            if seen == SLICE_FILES || chosen.len() == most {
                break;
            }
            seen += 1;
            bulk.after = *number;
            if bulk.which.takes(&letter.meta, Some(&letter.death.reason)) {
                chosen.push(*number);
            }
        }
        for number in &chosen {
            let is_done = match bulk.what {
                Bulk::Replay => self.replay(*number, Telling::Together),
                Bulk::Drop | Bulk::Cancel => self.drop_letter(*number, Telling::Together, now),
            };
            bulk.done.files += usize::from(is_done);
        }
        bulk.limit -= chosen.len();
        if seen == 0 {
            return Next::Ended;
        }
        stop_at_limit(bulk)
    }

    /// Begins a slice of a cancellation: what is needed of it is read first.
    fn slice_of_waiting(&mut self, bulk: &mut BulkErrand, now: Duration) -> Next {
        let reports = Reports {
            files: &self.files,
            looked: &BTreeMap::new(),
            disk: &self.deps.disk,
        };
        let most = bulk.limit.min(SLICE_CANCELS);
        let mut bytes = 0;
        let mut cold = Vec::new();
        bulk.slice = reports
            .listed(bulk.after, most)
            .take_while(|number| *number <= bulk.last)
            .take_while(|number| {
                let had = bytes;
                if let Some(entry) = self.files.backlog.get(*number) {
                    cold.push(*number);
                    bytes += u64::from(entry.spot.record_len());
                }
                had < self.deps.limits.read_back_bytes
            })
            .collect();
        if bulk.slice.is_empty() {
            self.leave_accepting(bulk);
            return Next::Ended;
        }
        let place = |number| Some((number, self.files.backlog.location(number)?));
        let places: Vec<_> = cold.into_iter().filter_map(place).collect();
        if places.is_empty() {
            return self.cancel_slice(bulk, Vec::new(), now);
        }
        let journal = self.deps.journal;
        let hub = self.deps.to_self.clone();
        self.deps.outside.block(Box::new(move || {
            // A hub that has ended cancels nothing.
            let _ = hub.send(ToHub::BulkRead(read_back(&journal, places, false)));
        }));
        Next::Waits
    }

    /// The records of a slice were read: it is carried out.
    pub(super) fn bulk_read(&mut self, looked: Vec<(u64, ReadBack)>, now: Duration) {
        let Some(Errand::Bulk(mut bulk)) = self.errands.0.pop_front() else {
            return;
        };
        let next = self.cancel_slice(&mut bulk, looked, now);
        if let Next::Ended = next {
            self.end_bulk(*bulk);
            return self.come_back();
        }
        self.errands.0.push_front(Errand::Bulk(bulk));
    }

    fn cancel_slice(
        &mut self,
        bulk: &mut BulkErrand,
        looked: Vec<(u64, ReadBack)>,
        now: Duration,
    ) -> Next {
        let mut looked: BTreeMap<u64, ReadBack> = looked.into_iter().collect();
        let slice = std::mem::take(&mut bulk.slice);
        for number in slice {
            bulk.after = number;
            let back = looked.remove(&number);
            let takes = match self.meta(number, back.as_ref()) {
                Some(meta) => bulk.which.takes(meta, None),
                // It can only be chosen by what is in its record.
                None => bulk.which.takes_all(),
            };
            if !takes {
                continue;
            }
            match self.cancel_file(number, back, Telling::Together, now) {
                Answer::Done { .. } => bulk.done.files += 1,
                Answer::Failed { reason } | Answer::Conflict { reason } => {
                    leave(&mut bulk.done, number, reason);
                }
                _ => {}
            }
            bulk.limit -= 1;
        }
        if let Next::Ended = stop_at_limit(bulk) {
            return Next::Ended;
        }
        self.commits.barrier(After::GoOn);
        Next::Waits
    }

    /// What a waiting file's client said about it, as far as that is at hand.
    fn meta<'a>(&'a self, number: u64, back: Option<&'a ReadBack>) -> Option<&'a Meta> {
        match (self.files.whereabouts(number), back) {
            (Where::Queued(file), _) => Some(&file.meta),
            (_, Some(ReadBack::File(accepted))) => Some(&accepted.meta),
            (_, Some(ReadBack::Unreadable { meta, .. })) => meta.as_deref(),
            _ => None,
        }
    }

    /// Files that came before the order and are not durable yet were not cancelled.
    fn leave_accepting(&self, bulk: &mut BulkErrand) {
        let range = self.files.accepting.range(..=bulk.last);
        let left: BTreeSet<u64> = range
            .filter(|(number, file)| **number > bulk.after && bulk.which.takes(&file.meta, None))
            .map(|(number, _)| *number)
            .collect();
        for number in left {
            leave(&mut bulk.done, number, being_written(number));
        }
    }
}

/// Ends the errand once it was carried out on as many files as it may be.
fn stop_at_limit(bulk: &mut BulkErrand) -> Next {
    if bulk.limit > 0 {
        return Next::Slice;
    }
    bulk.done.after = Some(bulk.after);
    Next::Ended
}

/// Notes that the order left a file alone.
fn leave(done: &mut BulkDone, number: u64, reason: String) {
    done.left_files += 1;
    if done.left.len() < MAX_LEFT {
        done.left.push(Left { number, reason });
    }
}
