//! What probes and links say of servers, and when a link is opened or closed.
//!
//! Each link has an epoch. Its events are believed while it is the server's present link
//! ([`LinkId`]); once it was closed, what was in flight over it is in doubt there and has been put
//! back into the queue.

use std::time::Duration;

use super::action::{Action, Note};
use super::config::InDoubt;
use super::dispatcher::Dispatcher;
use super::event::{LinkEvent, LinkId, Probed};
use super::names::{self, Who};
use super::send::Returned;
use super::server::LinkState;
use crate::protocol::lists;
use crate::protocol::status::Dialect;
use crate::schedule::{Fact, Slot};

impl<T> Dispatcher<T> {
    /// A probe of the server ended, after so long.
    pub fn probed(&mut self, slot: Slot, probed: Probed, took: Duration, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        match probed {
            Probed::Answered {
                overloaded,
                dialect,
                memory,
                who,
            } => {
                server.memory = memory;
                server.probe = Some(took);
                self.answered(slot, overloaded, dialect, who, now);
            }
            Probed::Failed(reason) => {
                server.memory = None;
                server.probe = None;
                let flip = server.health.probe_failed(&reason, now);
                let is_down = !server.health.allows(Fact::Connection);
                // Each file of an old-style server has a connection of its own, which tells what
                // becomes of it also while the server answers no probe.
                let is_followed = server.is_old_style() && !server.in_flight.is_empty();
                self.flipped(slot, flip);
                if is_down && !is_followed {
                    self.close_link(slot, &reason, now);
                }
                if self.config.in_doubt == InDoubt::Redirect {
                    self.need_not_report(slot);
                }
            }
        }
        self.open_link(slot, now);
        self.refresh(slot);
    }

    fn answered(
        &mut self,
        slot: Slot,
        overloaded: bool,
        dialect: Dialect,
        who: Who,
        now: Duration,
    ) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.who = who;
        let is_new = server.dialect != Some(dialect);
        let flips = server.health.probe_answered(overloaded, now);
        if flips.iter().any(|flip| flip.fact == Fact::Connection) {
            server.returns();
        }
        self.flipped(slot, flips);
        if is_new {
            self.recognise(slot, dialect, now);
        }
        self.follow(slot, now);
    }

    /// Learns what the server speaks.
    fn recognise(&mut self, slot: Slot, dialect: Dialect, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let before = server.dialect.replace(dialect);
        self.actions.push(Action::Log(Note::Recognised {
            server: server.name.clone(),
            dialect,
        }));
        self.old_style -= usize::from(before == Some(Dialect::OldStyle));
        self.old_style += usize::from(dialect == Dialect::OldStyle);
        self.close_link(slot, "the server speaks another protocol now", now);
        if dialect == Dialect::OldStyle {
            // An old-style server can list nothing, so nothing waits for its list.
            self.reported(slot);
        }
    }

    /// The server's name may lead elsewhere by now than its link: the link follows once nothing is
    /// in flight.
    fn follow(&mut self, slot: Slot, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let (Some(linked), LinkState::Open(_)) = (&server.linked, server.link) else {
            return;
        };
        let reason = names::why_elsewhere(linked, &server.who);
        let is_idle = server.in_flight.is_empty();
        let flip = match &reason {
            None => server.health.link(true, "open", now),
            Some(reason) => {
                let reason = format!("{reason}: what is in flight finishes first");
                server.health.link(false, reason, now)
            }
        };
        self.flipped(slot, flip);
        if let Some(reason) = reason.filter(|_| is_idle) {
            self.close_link(slot, &reason, now);
        }
        self.refresh(slot);
    }

    /// Whether the server speaks for its directory alone: a server gets files under one name only,
    /// and the copy of a directory gets none. The error says why this one gets none.
    pub fn identified(&mut self, slot: Slot, verdict: Result<(), String>, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let is_its_own = verdict.is_ok();
        let reason = verdict.err().unwrap_or_else(|| "its own".to_owned());
        let flip = server.health.identity(is_its_own, reason, now);
        self.flipped(slot, flip);
        if !is_its_own {
            // Its list would be that of the other server, or is not to be believed.
            self.need_not_report(slot);
        }
        self.refresh(slot);
    }

    /// Something happened on a link. Events of a link that is not the server's present one are
    /// ignored.
    pub fn link_event(&mut self, link: LinkId, event: LinkEvent, now: Duration) {
        let slot = link.slot;
        if !self.is_present(link) {
            return;
        }
        match event {
            LinkEvent::Opened { holding, .. } => self.link_opened(link, holding, now),
            LinkEvent::TakesAhead => {
                if let Some(server) = self.servers.get_mut(slot) {
                    server.takes_ahead = true;
                }
            }
            LinkEvent::HeadStartOver(ticket) => self.end_head_start(ticket),
            LinkEvent::Closed(reason) => self.link_closed(slot, &reason, now),
            LinkEvent::Silent(reason) => self.link_silent(slot, &reason, now),
            LinkEvent::Stored { numbers, confirmed } => {
                for number in numbers {
                    self.stored(slot, number, confirmed, now);
                }
                self.refresh(slot);
            }
            LinkEvent::NotStored { number, refusal } => {
                self.not_stored(slot, number, &refusal, now);
            }
            LinkEvent::Dropped { number } => self.dropped(slot, number),
            LinkEvent::Lost { number, reason } => self.lost(slot, number, &reason, now),
            LinkEvent::Unfit { number, why } => self.unfit(slot, number, why),
            LinkEvent::Unreadable { number, reason } => self.unreadable(slot, number, reason),
            LinkEvent::NotNow { number, reason } => self.not_now(slot, number, reason, now),
        }
    }

    /// Whether this is the server's present link.
    fn is_present(&self, link: LinkId) -> bool {
        let server = self.servers.get(link.slot);
        let present = server.and_then(|server| server.link.epoch());
        present == Some(link.epoch)
    }

    /// The link opened: files can go. `holding` is what the server has and does not know to be
    /// confirmed. `None`: the server cannot list what it holds, so any file may be there.
    fn link_opened(
        &mut self,
        link: LinkId,
        holding: Option<Vec<lists::StoredFile>>,
        now: Duration,
    ) {
        let slot = link.slot;
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.link = LinkState::Open(link.epoch);
        server.keeps_account = holding.is_some();
        let is_native = server.dialect == Some(Dialect::Native);
        let flip = server.health.link(true, "open", now);
        self.flipped(slot, flip);
        match holding {
            Some(holding) => {
                // What it has is delivered before anything is taken for missing.
                for held in holding {
                    self.believe(slot, held, now);
                }
                self.reported(slot);
            }
            None if !is_native => self.reported(slot),
            // What may be there stays in doubt, but holds nothing up.
            None if self.config.in_doubt == InDoubt::Redirect => self.need_not_report(slot),
            None => {}
        }
        if is_native {
            // Files may wait for a server that can take them.
            self.queue.wake_all();
        }
        self.refresh(slot);
    }

    /// The link failed to open, or closed. What was in flight is in doubt, and goes to another
    /// server at once, unless it is to wait for this one.
    fn link_closed(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let retry = server.postpone_link(now);
        let flip = server.health.doubt(reason, now);
        self.flipped(slot, flip);
        self.timers.insert((retry, slot));
        self.close_link(slot, reason, now);
        if self.config.in_doubt == InDoubt::Redirect {
            self.need_not_report(slot);
        }
        self.actions.push(Action::Probe { slot });
    }

    /// The link was closed because the server acknowledges nothing: it is left alone for longer
    /// each time, and then tried with one file.
    fn link_silent(&mut self, slot: Slot, reason: &str, now: Duration) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.falls_silent();
            self.link_closed(slot, reason, now);
        }
    }

    /// Opens a link to a server that answers probes, if it has none and its time has come.
    pub(super) fn open_link(&mut self, slot: Slot, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let Some(dialect) = server.can_be_linked(now) else {
            return;
        };
        self.epochs += 1;
        let epoch = self.epochs;
        server.link_retry = None;
        server.link = LinkState::Opening(epoch);
        server.linked = Some(server.who.clone());
        self.actions.push(Action::OpenLink {
            link: LinkId { slot, epoch },
            dialect,
            at: server.who.address,
        });
    }

    /// Closes the server's link, if it has one, and puts back what was in flight over it.
    pub(super) fn close_link(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        if server.link == LinkState::Closed {
            return;
        }
        self.reserved
            .retain(|_, reservation| reservation.link.slot != slot);
        let is_native = server.dialect == Some(Dialect::Native);
        let numbers = server.unlink();
        if is_native {
            server.doubts.extend(&numbers);
        }
        let flip = server.health.link(false, reason.to_owned(), now);
        self.flipped(slot, flip);
        for number in numbers {
            let returned = Returned {
                slot,
                number,
                reason,
                is_failure: false,
            };
            self.send_back(&returned, now);
            if is_native && self.config.in_doubt == InDoubt::Wait {
                self.wait_for(slot, number);
            }
        }
        self.actions.push(Action::CloseLink { slot });
        self.refresh(slot);
    }

    /// Makes a file wait for the server that may have it.
    fn wait_for(&mut self, slot: Slot, number: u64) {
        let server = self.name_of(slot);
        if let Some(file) = self.queue.get_mut(number) {
            let reason = format!("{server} may have it and is away (--in-doubt wait)");
            file.tag.waits = Some(reason);
            self.queue.park(number);
        }
    }
}
