//! What an operator does not want delivered any more, wherever it waits.
//!
//! A file that is with a server, or in doubt at one, ends at once as well: when the server says
//! that it has it, it is told to remove its copy, as it is when another server has the file. Where
//! nobody can remove it, the order is refused. Neither the operator nor a client hears of an end
//! before it is lasting: a restart would deliver the file all the same.

use super::{After, Hub, millis};
use crate::balancer::dispatch::{Cancel, Queued};
use crate::balancer::events::{Kind, Level};
use crate::balancer::hub::thaw::Read;
use crate::balancer::messages::Reply;
use crate::protocol::query::Answer;
use crate::queue::DeadLetter;
use crate::queue::Op;
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::{End, Ended, History, Meta};
use std::sync::Arc;

/// Why a file that waited ended.
const CANCELLED: &str = "cancelled by an operator while it waited";

impl Hub {
    /// Throws a dead letter away, or a file that waits. `looked` is what was read back of it, if
    /// that was needed.
    pub(super) fn throw_away(&mut self, number: u64, looked: Vec<(u64, ReadBack)>) -> Answer {
        if let Some(DeadLetter {
            meta,
            history,
            death,
            ..
        }) = self.ledger.remove_dead(number)
        {
            return self.thrown_away(number, meta, history, &death.reason, Vec::new());
        }
        match self.dispatcher.cancel(number) {
            Cancel::Unknown => self.cancel_cold(number, looked),
            Cancel::StaysWith(server) => Answer::Failed {
                reason: format!(
                    "file {number} is with {server}, which cannot remove what it has stored: \
                     it can be dropped if it comes back"
                ),
            },
            Cancel::Taken(file) => {
                let Queued { meta, history, tag } = *file;
                self.release(&tag.tag.content);
                self.thrown_away(number, meta, history, CANCELLED, tag.tag.replies)
            }
        }
    }

    /// Throws a file away whose turn is not near.
    fn cancel_cold(&mut self, number: u64, looked: Vec<(u64, ReadBack)>) -> Answer {
        let failed = |reason| Answer::Failed { reason };
        if self.accepting.contains_key(&number) {
            return failed(format!(
                "file {number} is just being written to the journal: try again"
            ));
        }
        let back = looked
            .into_iter()
            .find(|(other, _)| *other == number)
            .map(|(_, back)| back);
        let (true, Some(back)) = (self.cold.contains(number), back) else {
            let is_ended = self.ledger.ended(number).is_some();
            let why = if is_ended {
                "it waits no longer"
            } else {
                "it is not known"
            };
            return failed(format!(
                "file {number} cannot be dropped: {why}; see `bilico queue show {number}`"
            ));
        };
        if let ReadBack::NotNow(reason) = back {
            return failed(format!(
                "file {number} cannot be read from the journal now: {reason}; try again"
            ));
        }
        if self.cold.claimed().any(|claimed| claimed == number) {
            return failed(format!("file {number} turns out to be delivered"));
        }
        let Some(location) = self.cold.location(number) else {
            return failed(format!(
                "the segment of file {number} is not at hand: it can be dropped after a restart"
            ));
        };
        let Some(thawed) = self.cold.remove(number) else {
            return failed(format!("file {number} is not known"));
        };
        let Read { meta, history, .. } = Read::of(back, &thawed.brief, location);
        self.thrown_away(
            number,
            meta,
            thawed.history.unwrap_or(history),
            CANCELLED,
            thawed.replies,
        )
    }

    fn thrown_away(
        &mut self,
        number: u64,
        meta: Arc<Meta>,
        history: History,
        reason: &str,
        replies: Vec<Reply>,
    ) -> Answer {
        tracing::warn!(number, title = &*meta.title, reason, "thrown away");
        self.with
            .notices
            .tell(Level::Warn, Kind::Dropped, None, Some(number), &*meta.title);
        let end = End::Dropped {
            reason: reason.into(),
        };
        let ended = Ended {
            number,
            at_ms: millis(self.now()),
            end,
            meta,
            history,
        };
        self.ledger.end(Arc::new(ended.clone()));
        let after = After::Dead(number, replies, format!("thrown away; {reason}").into());
        self.submit(Op::End(Box::new(ended)), after);
        Answer::Done { files: 1 }
    }
}
