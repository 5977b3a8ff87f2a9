//! The state, the files that come in, and what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::config::DispatchConfig;
use super::delivery::Delivery;
use super::event::Ticket;
use super::pending::{Pending, Queued};
use super::server::{Intent, Member};
use super::window::Reservation;
use crate::schedule::{Flip, Health, Scheduler, Slot, Slots};

/// The state machine between queue, scheduler and servers.
pub struct Dispatcher<T> {
    pub(super) queue: Pending<Delivery<T>>,
    pub(super) scheduler: Scheduler,
    pub(super) servers: Slots<Member>,
    /// The slots of all servers, in the order in which they were named.
    pub(super) order: Vec<Slot>,
    /// The servers that are to be removed.
    pub(super) leaving: Vec<Slot>,
    /// How many servers are old-style.
    pub(super) old_style: usize,
    /// When a server has something due: the end of a pause, or a link to open again.
    pub(super) timers: BTreeSet<(Duration, Slot)>,
    pub(super) config: DispatchConfig,
    /// The weight whose window is the largest.
    pub(super) heaviest: u32,
    /// Files of an earlier run have no higher number: they may be stored at any server that has not
    /// listed its files.
    pub(super) recovered: u64,
    /// Numbers up to this were given by earlier runs. What ended then, and may be at a server that
    /// has not listed its files, is in doubt there, whether the file waited at the start or not.
    pub(super) earlier: u64,
    /// Something is no longer in doubt somewhere since [`Self::take_settled`] was called last.
    pub(super) has_settled: bool,
    /// Recovered files wait until each of these servers has listed its files, or is known to be
    /// down.
    pub(super) unreported: BTreeSet<Slot>,
    /// The lowest number of the files that come later: those with higher numbers wait for it.
    pub(super) next_to_come: u64,
    /// How many links were opened.
    pub(super) epochs: u64,
    /// The head starts that are not over.
    pub(super) reserved: BTreeMap<Ticket, Reservation>,
    pub(super) accepted: u64,
    pub(super) accepted_bytes: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
    pub(super) actions: Vec<Action<Delivery<T>>>,
}

impl<T> Dispatcher<T> {
    /// A dispatcher without servers or files.
    pub fn new(config: DispatchConfig) -> Self {
        Self {
            queue: Pending::default(),
            scheduler: Scheduler::new(),
            servers: Slots::default(),
            order: Vec::new(),
            leaving: Vec::new(),
            old_style: 0,
            timers: BTreeSet::new(),
            config,
            heaviest: 1,
            recovered: 0,
            earlier: 0,
            has_settled: false,
            unreported: BTreeSet::new(),
            next_to_come: u64::MAX,
            epochs: 0,
            reserved: BTreeMap::new(),
            accepted: 0,
            accepted_bytes: 0,
            delivered: 0,
            delivered_bytes: 0,
            actions: Vec::new(),
        }
    }

    /// Adds a server; it gets files once a probe was answered and its link is open.
    pub fn add_server(&mut self, name: &str, weight: u32, now: Duration) -> Slot {
        let slot = self.scheduler.add(weight);
        let health = Health::new(self.config.health, now);
        self.servers
            .insert(slot, Member::new(name, weight, health, now));
        self.order.push(slot);
        self.unreported.insert(slot);
        if weight > self.heaviest {
            self.resize();
        }
        slot
    }

    /// All servers with their slots, in the order in which they were named.
    pub(super) fn servers(&self) -> impl Iterator<Item = (Slot, &Member)> {
        let named = self.order.iter();
        named.filter_map(|slot| Some((*slot, self.servers.get(*slot)?)))
    }

    /// The server of this name.
    pub fn slot_of(&self, name: &str) -> Option<Slot> {
        self.servers()
            .find(|(_, server)| &*server.name == name)
            .map(|(slot, _)| slot)
    }

    /// The names and weights of the servers that are not to be removed.
    pub fn staying(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.servers()
            .filter(|(_, server)| server.intent != Intent::Leave)
            .map(|(_, server)| (&server.name, server.weight))
    }

    pub(super) fn name_of(&self, slot: Slot) -> Arc<str> {
        let server = self.servers.get(slot);
        server.map_or_else(|| Arc::from(""), |server| server.name.clone())
    }

    /// The actions decided since the last call.
    pub fn actions(&mut self) -> std::vec::Drain<'_, Action<Delivery<T>>> {
        self.actions.drain(..)
    }

    /// Whether nothing is left to deliver.
    pub fn is_empty(&self) -> bool {
        self.undelivered() == 0
    }

    /// How many files are not delivered.
    pub fn undelivered(&self) -> usize {
        self.queue.depth().files()
    }

    /// Takes a file whose acceptance is durable.
    pub fn accept(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.count_accepted(file.meta.size);
        self.queue.insert(number, file);
    }

    /// Takes a file that was a dead letter.
    pub fn replay(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.queue.insert(number, file);
    }

    /// Takes a file that was counted as accepted before: it was read back from the journal.
    pub fn recover(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.queue.insert(number, file);
        if number <= self.holds_back() {
            self.queue.park(number);
        }
    }

    /// Counts a file of so many bytes that is accepted and comes to the dispatcher later.
    pub fn count_accepted(&mut self, bytes: u64) {
        self.accepted += 1;
        self.accepted_bytes += bytes;
    }

    /// Counts a file of so many bytes that a server turned out to have before it came.
    pub fn count_delivered(&mut self, bytes: u64) {
        self.delivered += 1;
        self.delivered_bytes += bytes;
    }

    /// Says that the file with this number, which comes later, goes before all with higher numbers.
    pub fn comes_first(&mut self, number: Option<u64>) {
        self.next_to_come = number.unwrap_or(u64::MAX);
    }

    /// How many files can go to a server, now or when one is eligible; and whether one could go now
    /// if it did not wait for a file that comes first.
    pub fn ready(&self) -> (usize, bool) {
        let (ready, first) = self.queue.ready();
        let is_blocked = first.is_some_and(|first| first > self.next_to_come)
            && self.scheduler.eligible_count() > 0;
        (ready, is_blocked)
    }

    /// The files that wait.
    pub fn queue(&self) -> &Pending<Delivery<T>> {
        &self.queue
    }

    /// A file that waits; the caller may change its tag.
    pub fn file_mut(&mut self, number: u64) -> Option<&mut Queued<Delivery<T>>> {
        self.queue.get_mut(number)
    }

    /// The name of the server that the file is with.
    pub fn server_with(&self, number: u64) -> Option<&Arc<str>> {
        self.servers
            .iter()
            .find(|(_, server)| server.in_flight.contains_key(&number))
            .map(|(_, server)| &server.name)
    }

    /// Does what has become due, and sends what can be sent.
    pub fn advance(&mut self, now: Duration) {
        self.queue.wake(now);
        while let Some(&(due, slot)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, slot));
            let Some(server) = self.servers.get_mut(slot) else {
                continue;
            };
            let flip = server.health.wake(now);
            self.flipped(slot, flip);
            self.open_link(slot, now);
            self.refresh(slot);
        }
        self.dispatch(now);
    }

    /// When [`Self::advance`] has something to do next, if nothing else happens before.
    pub fn next_due(&self) -> Option<Duration> {
        let server_due = self.timers.first().map(|(due, _)| *due);
        // While no server is eligible, the end of a file's wait changes nothing.
        let can_send = self.scheduler.eligible_count() > 0;
        let file_due = self.queue.next_wake().filter(|_| can_send);
        earliest(server_due, file_due)
    }

    /// A fact about the server changed: the hub hears of it.
    pub(super) fn flipped(&mut self, slot: Slot, flips: impl IntoIterator<Item = Flip>) {
        for flip in flips {
            let server = self.name_of(slot);
            self.actions.push(Action::Flipped { server, flip });
        }
    }

    /// Tells the scheduler whether the server may be picked. To be called after each change of its
    /// health or of what is in flight to it.
    pub(super) fn refresh(&mut self, slot: Slot) {
        let window = self.config.window;
        let heaviest = self.heaviest;
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let eligible = server.health.is_good() && server.window_is_open(window, heaviest);
        if eligible != server.eligible {
            server.eligible = eligible;
            self.scheduler.set_eligible(slot, eligible);
        }
    }

    /// The windows follow the heaviest weight.
    pub(super) fn resize(&mut self) {
        let weights = self.servers().map(|(_, server)| server.weight);
        self.heaviest = weights.max().unwrap_or(1).max(1);
        for slot in self.order.clone() {
            self.refresh(slot);
        }
    }
}

fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
