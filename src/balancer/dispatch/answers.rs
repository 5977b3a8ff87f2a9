//! What servers answer for files, and when a file becomes a dead letter.

use std::time::Duration;

use super::action::{Action, Note};
use super::blame::Verdict;
use super::dispatcher::Dispatcher;
use super::send::Returned;
use super::server::{Intent, Member};
use crate::file::cut;
use crate::protocol::json::NotOldStyle;
use crate::protocol::{Refusal, RefusalCode};
use crate::schedule::{Fact, Slot};

/// How long a file waits that could not be read from the journal for want of descriptors or memory.
const SHORTAGE: Duration = Duration::from_secs(1);

impl<T> Dispatcher<T> {
    /// The server has the file.
    pub(super) fn stored(&mut self, slot: Slot, number: u64, confirmed: bool, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        match server.take_from_flight(number) {
            Some(sent) => {
                server.has_stored(&sent);
                self.blame_others(slot, number, now);
                self.deliver(slot, number, confirmed, sent.at);
            }
            None => self.actions.push(Action::UnexpectedCopy {
                slot,
                number,
                held: None,
            }),
        }
    }

    /// Takes a delivered file out of the queue.
    pub(super) fn deliver(&mut self, slot: Slot, number: u64, confirmed: bool, sent: Duration) {
        let Some(file) = self.queue.settle(number) else {
            return;
        };
        self.count_delivered(file.meta.size);
        self.actions.push(Action::Delivered {
            number,
            slot,
            server: self.name_of(slot),
            confirmed,
            sent,
            file,
        });
    }

    /// A file is stored: the servers that refused it, and have stored nothing since, are to blame.
    fn blame_others(&mut self, slot: Slot, number: u64, now: Duration) {
        let file = self.queue.get(number);
        let marks = file.map_or_else(Vec::new, |file| file.tag.record.marks().to_vec());
        for mark in marks {
            let other = self.servers.get(mark.slot).map(|server| &server.standing);
            let to_blame = other.filter(|other| mark.slot != slot && other.fails_since(&mark));
            if let Some(other) = to_blame {
                let reason = other.reason().to_owned();
                self.pause(mark.slot, &reason, now);
            }
        }
    }

    /// The server gets no file for a while, and is then tried with one.
    fn pause(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.standing.put_on_trial();
        let flip = server.health.refused(cut(reason), now);
        let until = server.health.paused_until();
        self.timers.extend(until.map(|until| (until, slot)));
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// The server has refused the file: it goes elsewhere.
    pub(super) fn not_stored(&mut self, slot: Slot, number: u64, refusal: &Refusal, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        if server.take_from_flight(number).is_none() {
            // It was cancelled, or another server turned out to have the file meanwhile. Now it is
            // known not to be here.
            self.has_settled |= server.doubts.remove(&number);
            return;
        }
        server.returned += 1;
        server.standing.refused_because(cut(&refusal.reason));
        if let Some(file) = self.queue.get_mut(number) {
            let delivery = &mut file.tag;
            let list = if refusal.code.is_lasting() {
                &mut delivery.refused_by
            } else {
                &mut delivery.tried
            };
            list.push(slot);
        }
        let is_failure = match refusal.code {
            RefusalCode::Stopping => {
                self.pause(slot, &refusal.reason, now);
                false
            }
            code if code.is_server_wide() => self.weigh(slot, number, &refusal.reason, now),
            _ => true,
        };
        let returned = Returned {
            slot,
            number,
            reason: &refusal.reason,
            is_failure,
        };
        self.send_back(&returned, now);
        self.bury_if_hopeless(number, cut(&refusal.reason));
        self.refresh(slot);
    }

    /// A server says that it cannot store: pauses it if it is to blame. True if the file is to
    /// blame, as far as all servers tell that can take files.
    fn weigh(&mut self, slot: Slot, number: u64, reason: &str, now: Duration) -> bool {
        let server = self.servers.get_mut(slot);
        let (Some(server), Some(file)) = (server, self.queue.get_mut(number)) else {
            return false;
        };
        let record = &mut file.tag.record;
        match record.refused(slot, number, &mut server.standing) {
            Verdict::Open => false,
            Verdict::Server => {
                self.pause(slot, reason, now);
                false
            }
            Verdict::File => record.is_condemned() && self.is_tried_by_all(number),
        }
    }

    /// Whether no server is left that may take the file now or soon.
    fn is_tried_by_all(&self, number: u64) -> bool {
        let Some(file) = self.queue.get(number) else {
            return false;
        };
        let is_native_only = file.tag.why_native_only(&file.meta).is_some();
        self.servers().all(|(slot, server)| {
            !server.is_there()
                || (is_native_only && server.is_old_style())
                || file.tag.is_refused_by(slot)
        })
    }

    /// No old-style server can read the file: it goes to a native one. That is no attempt, since
    /// nothing was sent.
    pub(super) fn unfit(&mut self, slot: Slot, number: u64, why: NotOldStyle) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        if server.take_from_flight(number).is_none() {
            return;
        }
        if let Some(file) = self.queue.get_mut(number) {
            file.tag.unfit = Some(why);
            self.actions.push(Action::Log(Note::Unfit {
                number,
                server: server.name.clone(),
                why,
            }));
            self.queue.put_back(number);
        }
        self.bury_if_hopeless(number, &why.to_string());
        self.refresh(slot);
    }

    /// The file's content is damaged or lost: there is nothing to send.
    pub(super) fn unreadable(&mut self, slot: Slot, number: u64, reason: String) {
        let server = self.servers.get_mut(slot);
        if server.is_some_and(|server| server.take_from_flight(number).is_some()) {
            self.bury(number, reason);
            self.refresh(slot);
        }
    }

    /// The file's content cannot be read just now: it goes a little later.
    pub(super) fn not_now(&mut self, slot: Slot, number: u64, reason: String, now: Duration) {
        if !self.comes_back(slot, number) {
            return;
        }
        let returned = Returned {
            slot,
            number,
            reason: &reason,
            is_failure: false,
        };
        self.send_back(&returned, now);
        if let Some(file) = self.queue.get_mut(number) {
            file.tag.waits = Some(reason);
        }
        self.queue.delay(number, now + SHORTAGE);
        self.refresh(slot);
    }

    /// The file's own connection failed: it may be stored there, which nobody can tell.
    pub(super) fn lost(&mut self, slot: Slot, number: u64, reason: &str, now: Duration) {
        if !self.comes_back(slot, number) {
            return;
        }
        if let Some(server) = self.servers.get_mut(slot) {
            let flip = server.health.doubt(reason, now);
            self.flipped(slot, flip);
        }
        let returned = Returned {
            slot,
            number,
            reason,
            is_failure: false,
        };
        self.send_back(&returned, now);
        self.actions.push(Action::Probe { slot });
        self.refresh(slot);
    }

    /// Takes the file out of flight, and counts it as returned. False if it is not in flight.
    fn comes_back(&mut self, slot: Slot, number: u64) -> bool {
        let Some(server) = self.servers.get_mut(slot) else {
            return false;
        };
        let was_in_flight = server.take_from_flight(number).is_some();
        server.returned += u64::from(was_in_flight);
        was_in_flight
    }

    /// Makes a file a dead letter that every server refuses, or that was refused too often.
    pub(super) fn bury_if_hopeless(&mut self, number: u64, reason: &str) {
        let Some(file) = self.queue.get(number) else {
            return;
        };
        let refused_by = &file.tag.refused_by;
        let failures = file.history.failures;
        let is_native_only = file.tag.why_native_only(&file.meta).is_some();
        let refuses = |(slot, server): (Slot, &Member)| {
            server.weight == 0
                || server.intent == Intent::Leave
                || !server.health.allows(Fact::Identity)
                || (is_native_only && server.is_old_style())
                || refused_by.contains(&slot)
        };
        // Servers that an operator keeps from working say nothing of the file.
        if !refused_by.is_empty() && self.servers.iter().all(refuses) {
            self.bury(number, format!("every server refuses it: {reason}"));
        } else if failures >= self.config.max_attempts {
            let reason = format!("refused {failures} times, the last time: {reason}");
            self.bury(number, reason);
        }
    }

    fn bury(&mut self, number: u64, reason: String) {
        if let Some(file) = self.queue.settle(number) {
            self.actions.push(Action::Dead {
                number,
                reason,
                file,
            });
        }
    }
}
