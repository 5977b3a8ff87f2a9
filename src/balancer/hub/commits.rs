//! Operations that the journal's writer was given, and what follows each one when it is durable.
//!
//! The protocol:
//! 1. The hub changes what it knows, then submits the operation that records the change together
//!    with an [`After`]. Operations and afters have the same order.
//! 2. The writer commits operations in that order, many with one sync, and counts them in
//!    [`Progress::Committed`](crate::queue::Progress).
//! 3. For each counted operation the hub takes one after from the front and carries it out.
//!
//! So clients and servers hear of a change only when it would survive a restart. What depends on
//! earlier operations and has none of its own goes behind a [`Commits::barrier`].

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::balancer::dispatch::LinkId;
use crate::balancer::messages::Reply;
use crate::balancer::query::Answer;
use crate::protocol::Expected;
use crate::queue::{Op, Writer};
use crate::schedule::Slot;

/// Takes operations to be recorded, in order.
pub(in crate::balancer) trait Submit: Send {
    /// Hands an operation over. It is durable once a commit counts it.
    fn submit(&self, op: Op);
}

impl Submit for Writer {
    fn submit(&self, op: Op) {
        Self::submit(self, op);
    }
}

/// What follows when an operation is durable.
#[derive(Debug)]
pub(super) enum After {
    /// The file gets its receipt and can go to a server.
    Accepted(u64),
    /// These clients hear that the file is a dead letter, or was dropped.
    Dead {
        number: u64,
        reason: Box<str>,
        waiters: Vec<Reply>,
    },
    /// The server is told to forget the file.
    Confirm(LinkId, u64),
    /// The server is told to remove the file, if size and checksum are these.
    Remove(LinkId, u64, Expected),
    /// Whoever gave an order hears that it is done.
    Answer(oneshot::Sender<Answer>, Answer),
    /// The first errand goes on.
    GoOn,
    Nothing,
}

/// The operations that are not known to be durable, by what follows them.
pub(super) struct Commits {
    writer: Box<dyn Submit>,
    afters: VecDeque<After>,
}

impl Commits {
    pub(super) fn new(writer: Box<dyn Submit>) -> Self {
        Self {
            writer,
            afters: VecDeque::new(),
        }
    }

    /// Has `op` recorded; `after` follows.
    pub(super) fn submit(&mut self, op: Op, after: After) {
        self.afters.push_back(after);
        self.writer.submit(op);
    }

    /// Has `after` follow when everything that was submitted before is durable.
    pub(super) fn barrier(&mut self, after: After) {
        // An operation that changes nothing: the journal writes no record for it.
        self.submit(Op::Forget(Vec::new()), after);
    }

    /// The next `ops` operations are durable: gives what follows, in order.
    pub(super) fn take(&mut self, ops: usize) -> Vec<After> {
        let counted = ops.min(self.afters.len());
        self.afters.drain(..counted).collect()
    }

    /// Whether everything that was submitted is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.afters.is_empty()
    }

    /// Whether the server in `slot` will be told something.
    pub(super) fn concern(&self, slot: Slot) -> bool {
        self.afters.iter().any(|after| match after {
            After::Confirm(link, _) | After::Remove(link, ..) => link.slot == slot,
            _ => false,
        })
    }
}
