//! What operators decide about servers while the balancer runs: weights, drains, removals, and
//! other settings.

use std::time::Duration;

use super::server::{Intent, LinkState, Member};
use super::{Cancel, DispatchConfig, Dispatcher, InDoubt};
use crate::protocol::status::Dialect;
use crate::schedule::Slot;

impl<T> Dispatcher<T> {
    /// Gives a server another weight. What is in flight to it is not touched.
    pub fn set_weight(&mut self, slot: Slot, weight: u32, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        server.weight = weight;
        let flip = server.apply_intent(now);
        self.scheduler.set_weight(slot, weight);
        self.flipped(slot, flip);
        self.resize();
    }

    /// Lets a server get nothing new, or files again. What is in flight to it goes on.
    pub fn drain(&mut self, slot: Slot, is_drained: bool, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        if server.wish != Intent::Leave {
            server.wish = if is_drained {
                Intent::Drain
            } else {
                Intent::Work
            };
        }
        let flip = server.apply_intent(now);
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// Lets a server get nothing new, for it is to be removed; or keeps it after all.
    pub fn leave(&mut self, slot: Slot, is_leaving: bool, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        server.wish = if is_leaving {
            Intent::Leave
        } else {
            Intent::Work
        };
        let flip = server.apply_intent(now);
        self.leaving.retain(|leaving| *leaving != slot);
        if is_leaving {
            self.leaving.push(slot);
        }
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// Whether the server is to be removed.
    pub fn is_leaving(&self, slot: Slot) -> bool {
        self.leaving.contains(&slot)
    }

    /// The servers that are to be removed and have nothing in flight.
    pub fn can_go(&self) -> Vec<Slot> {
        let is_idle = |server: &Member| server.in_flight.is_empty();
        let idle = |slot: &&Slot| {
            self.servers
                .get(slot.index())
                .and_then(Option::as_ref)
                .is_none_or(is_idle)
        };
        self.leaving.iter().filter(idle).copied().collect()
    }

    /// Takes a file out of the queue that is not to be delivered. If it is with a server, it is in
    /// doubt there from now on.
    pub fn cancel(&mut self, number: u64) -> Cancel<T> {
        let with = |server: &Member| server.in_flight.contains_key(&number);
        let place = self.order.iter().copied().find(|slot| {
            let server = self.servers.get(slot.index()).and_then(Option::as_ref);
            server.is_some_and(with)
        });
        if let Some(slot) = place
            && let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut)
        {
            if !server.keeps_account {
                return Cancel::StaysWith(server.name.clone());
            }
            server.take_from_flight(number);
            server.doubts.insert(number);
            self.refresh(slot);
        }
        self.queue
            .settle(number)
            .map_or(Cancel::Unknown, |file| Cancel::Taken(Box::new(file)))
    }

    /// Forgets a server. Nobody may speak of its slot any more: the next server may get it. What it
    /// may have, though nothing says so, is no longer waited for.
    pub fn remove_server(&mut self, slot: Slot, now: Duration) {
        self.close_link(slot, "the server was removed", now);
        self.resolve_doubts(slot);
        self.has_reported(slot);
        let removed = self.servers.get_mut(slot.index()).and_then(Option::take);
        self.old_style -=
            usize::from(removed.is_some_and(|server| server.dialect == Some(Dialect::OldStyle)));
        self.scheduler.remove(slot);
        self.order.retain(|known| *known != slot);
        self.leaving.retain(|leaving| *leaving != slot);
        self.timers.retain(|(_, of)| *of != slot);
        self.queue.for_each_mut(|file| {
            file.tag.refused_by.retain(|by| *by != slot);
            file.tag.tried.retain(|by| *by != slot);
            file.tag.record.forget(slot);
        });
        self.resize();
    }

    /// Gives files out in another way from now on.
    pub fn configure(&mut self, config: DispatchConfig) {
        let no_longer_waits =
            self.config.in_doubt == InDoubt::Wait && config.in_doubt == InDoubt::Redirect;
        self.config = config;
        for server in self.servers.iter_mut().flatten() {
            server.health.configure(config.health);
        }
        if no_longer_waits {
            self.stop_waiting();
        }
        self.resize();
    }

    /// Nothing waits any longer for servers that are away and may have it.
    fn stop_waiting(&mut self) {
        for (slot, is_away) in self
            .servers()
            .map(|(slot, it)| (slot, it.link == LinkState::Closed))
            .collect::<Vec<_>>()
        {
            if is_away {
                self.has_reported(slot);
            }
        }
        let first_that_may_go = self.holds_back();
        let waiting: Vec<u64> = self
            .queue
            .after(first_that_may_go)
            .map(|(number, _)| number)
            .collect();
        for number in waiting {
            self.unpark(number);
        }
    }

    /// The windows follow the heaviest weight.
    pub(super) fn resize(&mut self) {
        self.heaviest = self
            .servers()
            .map(|(_, server)| server.weight)
            .max()
            .unwrap_or(1)
            .max(1);
        for slot in self.order.clone() {
            self.refresh(slot);
        }
    }
}
