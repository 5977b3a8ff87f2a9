//! What probes and links report of their servers.

use std::time::Duration;

use super::state::Hub;
use crate::balancer::BalancerError;
use crate::balancer::dispatch::{LinkEvent, LinkId, Probed, Speaker};
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
        self.settle_moved();
        self.tell_fleet(slot);
    }

    /// A link reports something.
    pub(super) fn link(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        now: Duration,
    ) -> Result<(), BalancerError> {
        match &event {
            LinkEvent::Opened {
                speaker,
                holding,
                seen,
            } => {
                let listed = holding.as_deref().unwrap_or_default();
                match self.check_opened(link, speaker, listed, *seen, now)? {
                    Opened::Valid => {
                        self.files.dispatcher.link_event(link, event, now);
                        self.settle_moved();
                    }
                    Opened::Refused(reason) => {
                        let closed = LinkEvent::Closed(reason);
                        self.files.dispatcher.link_event(link, closed, now);
                    }
                    Opened::Late => {}
                }
            }
            LinkEvent::Stored { numbers, .. } => {
                self.note_acknowledged(link, numbers);
                self.files.dispatcher.link_event(link, event, now);
            }
            _ => self.files.dispatcher.link_event(link, event, now),
        }
        // Now, because the next message may open another link in place of this one, or make the
        // ledger forget what these actions need.
        self.act(now);
        Ok(())
    }

    /// A link opened: the server has said who it is, and listed the files that it holds.
    fn check_opened(
        &mut self,
        link: LinkId,
        speaker: &Speaker,
        listed: &[lists::StoredFile],
        seen: Option<u64>,
        now: Duration,
    ) -> Result<Opened, BalancerError> {
        let slot = link.slot;
        // A late report of an older link must not give the directory of the present one its
        // identity: copies are removed by identity.
        if self.servers.link(slot) != Some(link) {
            return Ok(Opened::Late);
        }
        if let Err(reason) = self.speaks_alone(slot, speaker, now) {
            return Ok(Opened::Refused(reason));
        }
        self.check_journal(slot, seen, listed)?;
        if let (Some(identity), Some(seen)) = (&speaker.identity, seen) {
            self.check_directory(slot, identity, seen);
        }
        let server = self.servers.get_mut(slot);
        if let Some(link) = server.and_then(|server| server.link.as_mut()) {
            link.identity.clone_from(&speaker.identity);
            link.acknowledged = seen.map(|_| 0);
        }
        Ok(Opened::Valid)
    }
}

/// What becomes of a link that has opened.
enum Opened {
    /// It carries files.
    Valid,
    /// It is closed, for this reason.
    Refused(String),
    /// It is not the server's present link any more.
    Late,
}
