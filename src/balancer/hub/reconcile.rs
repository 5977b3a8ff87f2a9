//! Decides about a file that a server has though it is not in flight to this server: either this
//! copy is the one that counts, or it is removed, or it is left alone.
//!
//! A copy is removed only if the journal says that another directory has the file, or that an
//! operator dropped the file, and only if its size and checksum are the file's. Everything that is
//! not known is left alone: a copy too many is better than none.

use std::sync::Arc;
use std::time::Duration;

use super::act::log;
use super::commits::After;
use super::files::Where;
use super::state::{Hub, millis};
use crate::balancer::cold::ColdReport;
use crate::balancer::dispatch::{LinkId, Note};
use crate::protocol::Expected;
use crate::protocol::lists::StoredFile;
use crate::queue::DeadLetter;
use crate::queue::record::{End, Ended};
use crate::schedule::Slot;

/// What to do with a copy.
enum Verdict {
    /// The journal has the delivery to this server, or needs none: the server may forget the file.
    Confirm,
    /// Another copy counts.
    Remove(Expected),
    /// The file turns out to be delivered.
    Delivered,
    /// Decided when the file's record was read back.
    Later(ColdReport),
    LeaveAlone,
}

impl Hub {
    /// A server has a file that is not in flight to it. `held` is what it says of the file, if it
    /// listed it.
    pub(super) fn unexpected_copy(
        &mut self,
        slot: Slot,
        number: u64,
        held: Option<StoredFile>,
        now: Duration,
    ) {
        // A server without an identity keeps no index: it cannot be told anything.
        let Some(identity) = self.servers.identity(slot) else {
            return;
        };
        let Some(link) = self.servers.link(slot) else {
            return;
        };
        match self.judge(slot, number, held, &identity) {
            Verdict::Confirm => self.commits.barrier(After::Confirm(link, number)),
            Verdict::Remove(expected) => {
                // In doubt until the server says that the copy is gone.
                self.files.dispatcher.doubt(slot, number);
                let remove = After::Remove(link, number, expected);
                self.commits.barrier(remove);
            }
            Verdict::Delivered => self.revive(link, number, identity, now),
            Verdict::Later(report) => self.files.backlog.claim(number, report),
            Verdict::LeaveAlone => {}
        }
    }

    fn judge(
        &self,
        slot: Slot,
        number: u64,
        held: Option<StoredFile>,
        identity: &Arc<str>,
    ) -> Verdict {
        let file = self.files.whereabouts(number);
        let is_same =
            held.is_some_and(|StoredFile(_, size, crc32c)| file.content() == Some((size, crc32c)));
        match (file, held) {
            (Where::Ended(ended), _) => judge_ended(ended, identity),
            // Not listed, but acknowledged late; or not durable yet.
            (_, None) | (Where::Accepting(_), _) => Verdict::LeaveAlone,
            (Where::Backlog(_), Some(held)) if is_same => Verdict::Later(ColdReport {
                slot,
                held,
                identity: identity.clone(),
            }),
            (Where::Backlog(_), Some(_)) => {
                let server = self.servers.address(slot);
                log(&Note::OtherContent { number, server });
                Verdict::LeaveAlone
            }
            (Where::Dead(_), Some(_)) if is_same => Verdict::Delivered,
            (Where::Dead(_) | Where::Queued(_) | Where::Unknown, Some(_)) => Verdict::Confirm,
        }
    }

    /// A dead letter turns out to be delivered over this link.
    fn revive(&mut self, link: LinkId, number: u64, identity: Arc<str>, now: Duration) {
        let Some(letter) = self.files.ledger.remove_dead(number) else {
            return;
        };
        let DeadLetter { meta, history, .. } = letter;
        tracing::info!(
            number,
            title = &*meta.title,
            "a dead letter turns out to be delivered"
        );
        let end = End::Delivered {
            server: self.servers.address(link.slot),
            identity: Some(identity),
            confirmed: true,
        };
        let ended = Ended {
            number,
            at_ms: millis(now),
            end,
            meta,
            history,
        };
        self.end_delivered(ended, link.slot);
    }
}

/// The file ended: is this the copy that the journal has it recorded with?
fn judge_ended(ended: &Ended, identity: &Arc<str>) -> Verdict {
    let expected = Expected {
        size: ended.meta.size,
        crc32c: ended.meta.crc32c,
    };
    let number = ended.number;
    match &ended.end {
        End::Delivered {
            identity: Some(other),
            server,
            ..
        } if other != identity => {
            tracing::info!(number, stored_by = &**server, "a second copy is removed");
            Verdict::Remove(expected)
        }
        End::Delivered { .. } => Verdict::Confirm,
        // The operator was told that the file is not delivered.
        End::Dropped { .. } => {
            tracing::info!(number, "a copy of a file that was dropped is removed");
            Verdict::Remove(expected)
        }
    }
}
