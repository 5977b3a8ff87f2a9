//! What operators decide about servers while the balancer runs: weights, drains, removals, and
//! other settings.

use std::time::Duration;

use super::action::Cancel;
use super::config::{DispatchConfig, InDoubt};
use super::dispatcher::Dispatcher;
use super::server::{Intent, LinkState};
use crate::schedule::Slot;

impl<T> Dispatcher<T> {
    /// Gives a server another weight. What is in flight to it is not touched.
    pub fn set_weight(&mut self, slot: Slot, weight: u32, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
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
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        if server.intent != Intent::Leave {
            server.intent = if is_drained {
                Intent::Drain
            } else {
                Intent::Work
            };
        }
        let flip = server.apply_intent(now);
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// Lets a server get nothing new, because it is to be removed; or keeps it after all.
    pub fn leave(&mut self, slot: Slot, is_leaving: bool, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.intent = if is_leaving {
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
        let is_idle = |slot: &&Slot| {
            let server = self.servers.get(**slot);
            server.is_none_or(|server| server.in_flight.is_empty())
        };
        self.leaving.iter().filter(is_idle).copied().collect()
    }

    /// Takes a file out of the queue that is not to be delivered. If it is with a server, it is in
    /// doubt there from now on.
    pub fn cancel(&mut self, number: u64) -> Cancel<T> {
        let with = self
            .servers
            .iter_mut()
            .find(|(_, server)| server.in_flight.contains_key(&number));
        if let Some((slot, server)) = with {
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

    /// Forgets a server. Its slot may be the next server's, so nothing may name it any more. What
    /// is in doubt there is given up.
    pub fn remove_server(&mut self, slot: Slot, now: Duration) {
        self.close_link(slot, "the server was removed", now);
        self.resolve_doubts(slot);
        self.need_not_report(slot);
        let removed = self.servers.remove(slot);
        self.old_style -= usize::from(removed.is_some_and(|server| server.is_old_style()));
        self.scheduler.remove(slot);
        self.order.retain(|known| *known != slot);
        self.leaving.retain(|leaving| *leaving != slot);
        self.timers.retain(|(_, of)| *of != slot);
        self.queue.for_each_mut(|file| file.tag.forget(slot));
        self.resize();
    }

    /// Takes other settings from now on.
    pub fn configure(&mut self, config: DispatchConfig) {
        let stops_waiting =
            self.config.in_doubt == InDoubt::Wait && config.in_doubt == InDoubt::Redirect;
        self.config = config;
        for (_, server) in self.servers.iter_mut() {
            server.health.configure(config.health);
        }
        if stops_waiting {
            self.stop_waiting();
        }
        self.resize();
    }

    /// Files no longer wait for servers that are down and may have them.
    fn stop_waiting(&mut self) {
        let down: Vec<Slot> = self
            .servers()
            .filter(|(_, server)| server.link == LinkState::Closed)
            .map(|(slot, _)| slot)
            .collect();
        for slot in down {
            self.need_not_report(slot);
        }
        let held_back = self.holds_back();
        let waiting: Vec<u64> = self
            .queue
            .after(held_back)
            .map(|(number, _)| number)
            .collect();
        for number in waiting {
            self.unpark(number);
        }
    }
}
