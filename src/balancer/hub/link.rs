//! What probes and links report of their servers.

use std::time::Duration;

use super::servers::LinkId;
use super::state::Hub;
use crate::balancer::BalancerError;
use crate::balancer::dispatch::{Probed, Speaker};
use crate::balancer::messages::LinkEvent;
use crate::protocol::lists;
use crate::schedule::Slot;

impl Hub {
    /// A probe ended.
    pub(super) fn probed(
        &mut self,
        slot: Slot,
        generation: u64,
        probed: Probed,
        took: Duration,
        now: Duration,
    ) {
        // The probe may be of an earlier server that had this slot.
        let server = self.servers.get(slot);
        if server.is_none_or(|server| server.generation != generation) {
            return;
        }
        if let Probed::Answered { who, .. } = &probed {
            // Before a link is opened: at a server with two names it would end the other's link.
            _ = self.speaks_alone(slot, &who.speaker, now);
        }
        self.files.dispatcher.probed(slot, probed, took, now);
        if !self.files.dispatcher.answers(slot) {
            self.directories.release(slot);
        }
    }

    /// A link reports something.
    pub(super) fn link(
        &mut self,
        slot: Slot,
        epoch: u64,
        event: LinkEvent,
        now: Duration,
    ) -> Result<(), BalancerError> {
        let link = LinkId { slot, epoch };
        let dispatcher = &mut self.files.dispatcher;
        match event {
            LinkEvent::Opened {
                speaker,
                holding,
                seen,
            } => self.link_opened(link, speaker, holding, seen, now)?,
            LinkEvent::Stored { numbers, confirmed } => {
                self.stored(link, &numbers, confirmed, now);
            }
            LinkEvent::NotStored { number, refusal } => {
                dispatcher.not_stored(slot, epoch, number, &refusal, now);
            }
            LinkEvent::Dropped { number } => dispatcher.dropped(slot, epoch, number),
            LinkEvent::Lost { number, reason } => {
                dispatcher.lost(slot, epoch, number, &reason, now);
            }
            LinkEvent::Unreadable { number, reason } => {
                dispatcher.unreadable(slot, epoch, number, &reason);
            }
            LinkEvent::NotNow { number, reason } => {
                dispatcher.not_now(slot, epoch, number, &reason, now);
            }
            LinkEvent::Closed(reason) => dispatcher.link_closed(slot, epoch, &reason, now),
            LinkEvent::Silent(reason) => dispatcher.link_silent(slot, epoch, &reason, now),
        }
        // Now, because the next message may open another link in place of this one, or make the
        // ledger forget what these actions need.
        self.act(now);
        Ok(())
    }

    /// A link opened: the server has said who it is, and listed the files that it holds.
    fn link_opened(
        &mut self,
        link: LinkId,
        speaker: Speaker,
        holding: Option<Vec<lists::StoredFile>>,
        seen: Option<u64>,
        now: Duration,
    ) -> Result<(), BalancerError> {
        let LinkId { slot, epoch } = link;
        // A late report of an older link must not give the directory of the present one its
        // identity: copies are removed by identity.
        if self.servers.link(slot) != Some(link) {
            return Ok(());
        }
        if let Err(reason) = self.speaks_alone(slot, &speaker, now) {
            let dispatcher = &mut self.files.dispatcher;
            dispatcher.link_closed(slot, epoch, &reason, now);
            return Ok(());
        }
        self.check_journal(slot, seen, holding.as_deref().unwrap_or_default())?;
        if let (Some(identity), Some(seen)) = (&speaker.identity, seen) {
            self.check_directory(slot, identity, seen);
        }
        let server = self.servers.get_mut(slot);
        if let Some(link) = server.and_then(|server| server.link.as_mut()) {
            link.identity = speaker.identity;
            link.acknowledged = seen.map(|_| 0);
        }
        self.files.dispatcher.link_opened(slot, epoch, holding, now);
        Ok(())
    }

    /// The server has stored these files.
    fn stored(&mut self, link: LinkId, numbers: &[u64], confirmed: bool, now: Duration) {
        let LinkId { slot, epoch } = link;
        self.note_acknowledged(link, numbers);
        for number in numbers {
            let dispatcher = &mut self.files.dispatcher;
            dispatcher.stored(slot, epoch, *number, confirmed, now);
        }
    }
}
