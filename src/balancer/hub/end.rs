//! Files that leave the queue: delivered ones, dead letters and their replay, and what is
//! forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::commits::After;
use super::files::Tag;
use super::state::{Hub, millis};
use super::told::Telling;
use crate::balancer::dispatch::{Delivery, Queued};
use crate::balancer::happening::Happening;
use crate::protocol::{CANCELLED, Message};
use crate::queue::record::{Death, End, Ended};
use crate::queue::{DeadLetter, Op};
use crate::schedule::Slot;

impl Hub {
    /// A server has the file: its clients hear of that at once, for it is durable there. The server
    /// is told to forget the file when the journal has the delivery, too.
    pub(super) fn end_delivered(&mut self, ended: Ended, slot: Slot) {
        let number = ended.number;
        self.waiters
            .tell_last(number, |id| last_receipt(id, &ended));
        let after = match self.servers.link(slot) {
            Some(link) => After::Confirm(link, number),
            None => After::Nothing,
        };
        self.end(ended, after);
    }

    /// Records that the file ended.
    pub(super) fn end(&mut self, ended: Ended, after: After) {
        self.files.ledger.end(Arc::new(ended.clone()));
        self.commits.submit(Op::End(Box::new(ended)), after);
    }

    /// Makes a file a dead letter. Its clients hear of it when that is durable.
    pub(super) fn bury(
        &mut self,
        number: u64,
        reason: &str,
        file: Queued<Delivery<Tag>>,
        now: Duration,
    ) {
        let content = file.tag.tag.content;
        self.release(&content);
        self.report(&Happening::Dead {
            number,
            title: &file.meta.title,
            reason,
        });
        let death = Death {
            at_ms: millis(now),
            reason: reason.into(),
        };
        let letter = DeadLetter {
            meta: file.meta,
            content: content.without_memory(),
            history: file.history,
            death: death.clone(),
        };
        self.files.ledger.bury(number, letter);
        // Taken out now: whoever waits for a replay of the file must not hear of this death.
        let after = After::Dead {
            number,
            reason: death.reason.clone(),
            waiters: self.waiters.take(number),
        };
        self.commits.submit(Op::Bury { number, death }, after);
    }

    /// Makes a dead letter wait again; false if no dead letter has this number.
    pub(super) fn replay(&mut self, number: u64, told: Telling) -> bool {
        let Some(letter) = self.files.ledger.remove_dead(number) else {
            return false;
        };
        let happening = Happening::Replayed {
            number,
            title: &letter.meta.title,
        };
        match told {
            Telling::Each => self.report(&happening),
            Telling::Together => happening.log(),
        }
        self.commits.submit(Op::Replay { number }, After::Nothing);
        let DeadLetter {
            meta,
            content,
            mut history,
            death,
        } = letter;
        history.replayed(death.at_ms, &death.reason);
        let tag = Delivery::new(Tag {
            content,
            head_start: None,
            _room: None,
        });
        let file = Queued { meta, history, tag };
        self.files.dispatcher.replay(number, file);
        true
    }

    /// Forgets files that ended long ago, unless a copy of them may still turn up.
    pub(super) fn sweep(&mut self, now: Duration) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + self.deps.config.limits.sweep;
        let dispatcher = &mut self.files.dispatcher;
        let has_settled = dispatcher.take_settled();
        let is_doubtful = |number| dispatcher.is_doubtful(number);
        let mut forgotten = self.files.ledger.forget(millis(now), is_doubtful);
        if has_settled {
            forgotten.extend(self.files.ledger.unpin(is_doubtful));
        }
        if !forgotten.is_empty() {
            self.commits.submit(Op::Forget(forgotten), After::Nothing);
        }
        self.tell_bounds();
    }
}

/// The last receipt of a file that ended.
pub(super) fn last_receipt(id: u64, ended: &Ended) -> Message {
    let number = ended.number;
    match &ended.end {
        End::Delivered {
            server, confirmed, ..
        } => Message::Delivered {
            id,
            number,
            server: server.clone(),
            confirmed: *confirmed,
        },
        End::Dropped { reason } => Message::Dead {
            id,
            number,
            reason: dropped(reason),
        },
    }
}

/// What clients are told of a file that was dropped.
pub(super) fn dropped(reason: &str) -> String {
    if reason == CANCELLED {
        reason.to_owned()
    } else {
        format!("thrown away; {reason}")
    }
}
