//! Which server gets the next file, and what happens to a file that goes nowhere.

use std::time::Duration;

use super::action::{Action, Note};
use super::delivery::Delivery;
use super::dispatcher::Dispatcher;
use crate::file::{Attempt, cut};
use crate::schedule::Slot;

/// The first wait of a file that every server refused, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A file that a server refused or lost.
pub(super) struct Returned<'a> {
    pub(super) slot: Slot,
    pub(super) number: u64,
    pub(super) reason: &'a str,
    /// Whether that is the file's own fault.
    pub(super) is_failure: bool,
}

impl<T> Dispatcher<T> {
    /// Sends files until none is ready or no server is eligible.
    pub(super) fn dispatch(&mut self, now: Duration) {
        while self.scheduler.eligible_count() > 0 {
            let Some(number) = self.queue.take_below(self.next_to_come) else {
                return;
            };
            match self.choose(number) {
                Some(slot) => self.send(slot, number, now),
                None => self.delay(number, now),
            }
        }
    }

    /// The server whose turn it is, among those that can take this file.
    fn choose(&mut self, number: u64) -> Option<Slot> {
        if let Some(slot) = self.reserved_for(number) {
            return Some(slot);
        }
        let file = self.queue.get(number)?;
        let delivery = &file.tag;
        let is_native_only = self.old_style > 0 && delivery.why_native_only(&file.meta).is_some();
        if delivery.is_unrefused() && !is_native_only {
            return self.scheduler.pick();
        }
        let servers = &self.servers;
        let can_read = |slot| {
            let server = servers.get(slot);
            !is_native_only || server.is_some_and(|server| !server.is_old_style())
        };
        self.scheduler
            .pick_where(|slot| !delivery.is_refused_by(slot) && can_read(slot))
    }

    fn send(&mut self, slot: Slot, number: u64, now: Duration) {
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        file.tag.waits = None;
        let own = server.window(self.config.window, self.heaviest);
        server.put_in_flight(number, file.meta.size, now, own);
        self.actions.push(Action::Send { slot, number });
        self.refresh(slot);
    }

    /// Makes a file wait that none of the eligible servers can take; or a dead letter, if the server
    /// that might have taken it is no longer to get files.
    fn delay(&mut self, number: u64, now: Duration) {
        if let Some(reason) = self.last_refusal(number) {
            self.bury_if_hopeless(number, &reason);
        }
        let reason = self.why_nobody_takes(number);
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let delivery = &mut file.tag;
        let wait = backoff(number, delivery.delays);
        delivery.tried.clear();
        delivery.record.waits();
        delivery.delays = delivery.delays.saturating_add(1);
        if delivery.delays == 1 {
            self.actions.push(Action::Log(Note::Waits {
                number,
                meta: file.meta.clone(),
                attempts: file.history.attempts,
                reason: reason.clone(),
            }));
        }
        delivery.waits = Some(reason);
        self.queue.delay(number, now + wait);
    }

    /// What the last server said that refused the file for good.
    fn last_refusal(&self, number: u64) -> Option<String> {
        let slot = *self.queue.get(number)?.tag.refused_by.last()?;
        let server = self.servers.get(slot)?;
        Some(server.standing.reason().to_owned())
    }

    /// Why none of the eligible servers can take the file.
    fn why_nobody_takes(&self, number: u64) -> String {
        let file = self.queue.get(number);
        let unfit = file.and_then(|file| file.tag.why_native_only(&file.meta));
        let delivery = file.map(|file| &file.tag);
        if let (Some(why), true) = (unfit, delivery.is_some_and(Delivery::is_unrefused)) {
            return why.to_string();
        }
        let last = delivery.and_then(|it| it.tried.last().or(it.refused_by.last()));
        match last.and_then(|slot| self.servers.get(*slot)) {
            Some(last) => format!(
                "every eligible server has refused it; {}: {}",
                last.name,
                last.standing.reason()
            ),
            None => "every eligible server has refused it".to_owned(),
        }
    }

    /// Puts a file back that a server refused or lost, and has the attempt recorded.
    pub(super) fn send_back(&mut self, returned: &Returned<'_>, now: Duration) {
        let server = self.name_of(returned.slot);
        let number = returned.number;
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let attempt = Attempt {
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            server: cut(&server).into(),
            reason: cut(returned.reason).into(),
        };
        let kept = file.history.first.len();
        file.history.add(attempt.clone(), returned.is_failure);
        self.actions.push(Action::CameBack {
            number,
            meta: file.meta.clone(),
            attempt,
            attempts: file.history.attempts,
            is_failure: returned.is_failure,
            is_kept: file.history.first.len() > kept,
        });
        self.queue.put_back(number);
    }
}

/// How long a file waits after so many delays: doubling, and spread by up to a half, so that files
/// that came back together do not leave together.
pub(super) fn backoff(number: u64, delays: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let wait = first.saturating_mul(1 << delays.min(16)).min(longest);
    // The finaliser of SplitMix64: neighbouring numbers spread over the whole range.
    let mut mixed = number
        .wrapping_add(u64::from(delays))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let spread = u32::try_from((mixed >> 33) % 512).unwrap_or(0);
    wait.saturating_sub(wait * spread / 1024)
}
