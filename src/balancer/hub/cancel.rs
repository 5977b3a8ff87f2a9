//! Drops files for an operator, wherever they wait, or cancels those that only wait.
//!
//! A file that is with a server, or in doubt at one, ends at once, too: when the server reports
//! that it has the file, it is told to remove its copy. A server that cannot remove files keeps
//! the order from being carried out. Cancelling is the careful half of that: it leaves a file alone
//! that a server has or may have. Operator and clients hear of the end when it is durable,
//! because before that a restart would deliver the file all the same.

use std::sync::Arc;
use std::time::Duration;

use super::commits::After;
use super::end::dropped;
use super::files::{Where, being_written};
use super::state::{Hub, millis};
use super::thaw::Read;
use super::told::Telling;
use crate::balancer::dispatch::{Cancel, Queued};
use crate::balancer::happening::Happening;
use crate::balancer::query::Answer;
use crate::protocol::CANCELLED;
use crate::queue::DeadLetter;
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::{End, Ended, History, Meta};

impl Hub {
    /// Drops a file that waits, and that no server has or may have. `back` is its record, if that
    /// had to be read.
    pub(super) fn cancel_file(
        &mut self,
        number: u64,
        back: Option<ReadBack>,
        told: Telling,
        now: Duration,
    ) -> Answer {
        let not = |why: String| Answer::Conflict {
            reason: format!("file {number} was not cancelled: {why}"),
        };
        let anyway = format!("`bilico queue drop {number}` throws it away all the same");
        match self.files.whereabouts(number) {
            Where::Accepting(_) => Answer::Conflict {
                reason: being_written(number),
            },
            Where::Queued(_) => {
                let dispatcher = &self.files.dispatcher;
                if dispatcher.queue().is_taken(number) {
                    let server = dispatcher.server_with(number);
                    let server = server.map_or("?", |server| server);
                    return not(format!(
                        "it is with {server}, which has not acknowledged it yet; {anyway}"
                    ));
                }
                if let Some(server) = dispatcher.doubted_at(number) {
                    return not(format!(
                        "it was sent to {server} before, which may have stored it; {anyway}"
                    ));
                }
                if number <= dispatcher.holds_back()
                    && let Some(why) = dispatcher.why_it_comes_later(number)
                {
                    return not(format!("{why}; {anyway}"));
                }
                self.cancel_queued(number, told, now)
            }
            Where::Backlog(_) => {
                let dispatcher = &self.files.dispatcher;
                if number <= dispatcher.holds_back()
                    && let Some(why) = dispatcher.why_it_comes_later(number)
                {
                    return not(format!("{why}; {anyway}"));
                }
                match back {
                    Some(back) => self.cancel_backlog(number, back, told, now),
                    None => failed(without_segment(number)),
                }
            }
            Where::Dead(_) => not(format!(
                "it waits no longer, it is a dead letter; `bilico queue drop {number}` throws it away"
            )),
            Where::Ended(_) => failed(format!(
                "file {number} was not cancelled: it waits no longer; see `bilico queue show {number}`"
            )),
            Where::Unknown => failed(format!("file {number} was not cancelled: it is not known")),
        }
    }

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
            Where::Accepting(_) => failed(being_written(number)),
            Where::Queued(_) => self.cancel_queued(number, Telling::Each, now),
            Where::Backlog(_) => match back {
                Some(back) => self.cancel_backlog(number, back, Telling::Each, now),
                None => failed(without_segment(number)),
            },
            Where::Dead(_) => {
                self.drop_letter(number, Telling::Each, now);
                Answer::Done { files: 1 }
            }
            Where::Ended(_) => cannot("it waits no longer"),
            Where::Unknown => cannot("it is not known"),
        }
    }

    /// Drops a dead letter; false if no dead letter has this number.
    pub(super) fn drop_letter(&mut self, number: u64, told: Telling, now: Duration) -> bool {
        let Some(letter) = self.files.ledger.remove_dead(number) else {
            return false;
        };
        let DeadLetter {
            meta,
            history,
            death,
            ..
        } = letter;
        self.end_dropped(number, meta, history, &death.reason, told, now);
        true
    }

    fn cancel_queued(&mut self, number: u64, told: Telling, now: Duration) -> Answer {
        match self.files.dispatcher.cancel(number) {
            Cancel::Unknown => failed(format!("file {number} is not known")),
            Cancel::StaysWith(server) => failed(format!(
                "file {number} is with {server}, which cannot remove what it has stored: \
                 it can be dropped if it comes back"
            )),
            Cancel::Taken(file) => {
                let Queued { meta, history, tag } = *file;
                self.release(&tag.tag.content);
                self.end_dropped(number, meta, history, CANCELLED, told, now);
                Answer::Done { files: 1 }
            }
        }
    }

    fn cancel_backlog(
        &mut self,
        number: u64,
        back: ReadBack,
        told: Telling,
        now: Duration,
    ) -> Answer {
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
        self.end_dropped(number, read.meta, history, CANCELLED, told, now);
        Answer::Done { files: 1 }
    }

    fn end_dropped(
        &mut self,
        number: u64,
        meta: Arc<Meta>,
        history: History,
        reason: &str,
        told: Telling,
        now: Duration,
    ) {
        let happening = Happening::Dropped {
            number,
            title: &meta.title,
            reason,
        };
        match told {
            Telling::Each => self.report(&happening),
            Telling::Together => happening.log(),
        }
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
    }
}

/// Each file in the backlog keeps its segment open, so nobody should ever read this.
fn without_segment(number: u64) -> String {
    format!("the segment of file {number} is not at hand: it can be dropped after a restart")
}

fn failed(reason: String) -> Answer {
    Answer::Failed { reason }
}
