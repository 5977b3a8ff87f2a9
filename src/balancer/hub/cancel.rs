//! Drops files for an operator, wherever they wait.
//!
//! A file that is with a server, or in doubt at one, ends at once, too: when the server reports
//! that it has the file, it is told to remove its copy. A server that cannot remove files keeps
//! the order from being carried out. Operator and clients hear of the end when it is durable,
//! because before that a restart would deliver the file all the same.

use std::sync::Arc;
use std::time::Duration;

use super::commits::After;
use super::end::dropped;
use super::files::Where;
use super::state::{Hub, millis};
use super::thaw::Read;
use crate::balancer::dispatch::{Cancel, Queued};
use crate::balancer::happening::Happening;
use crate::balancer::query::Answer;
use crate::queue::DeadLetter;
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::{End, Ended, History, Meta};

/// Why a file that waited was dropped.
const CANCELLED: &str = "cancelled by an operator while it waited";

impl Hub {
    /// Drops a dead letter or a file that waits. `back` is its record, if that had to be read.
    pub(super) fn drop_file(
        &mut self,
        number: u64,
        back: Option<ReadBack>,
        now: Duration,
    ) -> Answer {
        let cannot = |why: &str| {
            failed(format!(
                "file {number} cannot be dropped: {why}; see `bilico queue show {number}`"
            ))
        };
        match self.files.whereabouts(number) {
            Where::Accepting(_) => failed(format!(
                "file {number} is just being written to the journal: try again"
            )),
            Where::Queued(_) => self.cancel_queued(number, now),
            Where::Backlog(_) => match back {
                Some(back) => self.cancel_backlog(number, back, now),
                None => failed(without_segment(number)),
            },
            Where::Dead(_) => self.drop_letter(number, now),
            Where::Ended(_) => cannot("it waits no longer"),
            Where::Unknown => cannot("it is not known"),
        }
    }

    fn drop_letter(&mut self, number: u64, now: Duration) -> Answer {
        let Some(letter) = self.files.ledger.remove_dead(number) else {
            return failed(format!("file {number} is not known"));
        };
        let DeadLetter {
            meta,
            history,
            death,
            ..
        } = letter;
        self.end_dropped(number, meta, history, &death.reason, now)
    }

    fn cancel_queued(&mut self, number: u64, now: Duration) -> Answer {
        match self.files.dispatcher.cancel(number) {
            Cancel::Unknown => failed(format!("file {number} is not known")),
            Cancel::StaysWith(server) => failed(format!(
                "file {number} is with {server}, which cannot remove what it has stored: \
                 it can be dropped if it comes back"
            )),
            Cancel::Taken(file) => {
                let Queued { meta, history, tag } = *file;
                self.release(&tag.tag.content);
                self.end_dropped(number, meta, history, CANCELLED, now)
            }
        }
    }

    fn cancel_backlog(&mut self, number: u64, back: ReadBack, now: Duration) -> Answer {
        if let ReadBack::NotNow(reason) = back {
            return failed(format!(
                "file {number} cannot be read from the journal now: {reason}; try again"
            ));
        }
        if self.files.backlog.is_claimed(number) {
            return failed(format!("file {number} turns out to be delivered"));
        }
        let Some(location) = self.files.backlog.location(number) else {
            return failed(without_segment(number));
        };
        let Some(thawed) = self.files.backlog.remove(number) else {
            return failed(format!("file {number} is not known"));
        };
        let read = Read::of(back, &thawed.brief, location);
        let history = thawed.history.unwrap_or(read.history);
        self.end_dropped(number, read.meta, history, CANCELLED, now)
    }

    fn end_dropped(
        &mut self,
        number: u64,
        meta: Arc<Meta>,
        history: History,
        reason: &str,
        now: Duration,
    ) -> Answer {
        self.report(&Happening::Dropped {
            number,
            title: &meta.title,
            reason,
        });
        let ended = Ended {
            number,
            at_ms: millis(now),
            end: End::Dropped {
                reason: reason.into(),
            },
            meta,
            history,
        };
        let after = After::Dead {
            number,
            reason: dropped(reason).into(),
            waiters: self.waiters.take(number),
        };
        self.end(ended, after);
        Answer::Done { files: 1 }
    }
}

/// Each file in the backlog keeps its segment open, so nobody should ever read this.
fn without_segment(number: u64) -> String {
    format!("the segment of file {number} is not at hand: it can be dropped after a restart")
}

fn failed(reason: String) -> Answer {
    Answer::Failed { reason }
}
