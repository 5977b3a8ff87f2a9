//! Decides what happens to each file and each server: a state machine without sockets, tasks or a clock.
//!
//! It is told what happened and when (times are since the balancer's start), and answers with [`Action`]s that the
//! [`super::hub`] carries out. Owns the windows, the attempts and when a link is opened; the order of servers is
//! [`Scheduler`]'s, their state [`Health`]'s, the order of files [`Queue`]'s.
//!
//! Invariant: a file is taken from the queue exactly while it is in flight to one server.

mod server;
#[cfg(test)]
mod tests;

pub use server::Window;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::status::{Dialect, QueueReport, StatusReport};
use crate::protocol::{Refusal, json};
use crate::queue::{NumbersError, Queue, Queued};
use crate::schedule::{Fact, Flip, Health, HealthConfig, Scheduler, Slot};
use server::{Link, Sent, Server};

/// The first wait of a file that every server refused, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A file on its way to a server.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its request number.
    pub number: u64,
    /// Its title.
    pub title: Arc<str>,
    /// Its content.
    pub content: Bytes,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The server answered with its overload byte and, if it was asked, with what it speaks.
    Answered {
        /// The overload byte.
        overloaded: bool,
        /// What the server speaks.
        dialect: Option<Dialect>,
    },
    /// The server did not answer as it should.
    Failed(String),
}

/// What the hub has to do.
#[derive(Debug)]
pub enum Action<T> {
    /// Send the parcel over the link.
    Send {
        /// The server.
        slot: Slot,
        /// What to send.
        parcel: Parcel,
    },
    /// The file is delivered: tell its client.
    Delivered {
        /// Its request number.
        number: u64,
        /// The server that has it.
        server: Arc<str>,
        /// False from an old-style server.
        confirmed: bool,
        /// The file, out of the queue.
        file: Queued<T>,
    },
    /// Open a link to the server and speak of it under this epoch.
    OpenLink {
        /// The server.
        slot: Slot,
        /// What the server speaks.
        dialect: Dialect,
        /// The link's epoch: events of older links are ignored.
        epoch: u64,
    },
    /// Close the server's link, whatever is in it.
    CloseLink {
        /// The server.
        slot: Slot,
    },
    /// Probe the server now.
    Probe {
        /// The server.
        slot: Slot,
    },
}

/// What the dispatcher keeps beside a queued file, around what its caller keeps there.
#[derive(Debug)]
pub struct Held<T> {
    /// The caller's.
    pub tag: T,
    refused_by: Vec<Slot>,
    /// How many times no eligible server could take it.
    holds: u32,
}

/// The state machine between queue, scheduler and servers.
pub struct Dispatcher<T, Q> {
    queue: Q,
    scheduler: Scheduler,
    /// By slot.
    servers: Vec<Option<Server>>,
    /// How many of them are old-style.
    old_style: usize,
    /// When a server has something due: the end of a pause, or a link to open again.
    timers: BTreeSet<(Duration, Slot)>,
    window: Window,
    /// The weight whose window is the largest.
    heaviest: u32,
    health: HealthConfig,
    epochs: u64,
    accepted: u64,
    delivered: u64,
    actions: Vec<Action<Held<T>>>,
}

impl<T, Q: Queue<Held<T>>> Dispatcher<T, Q> {
    /// A dispatcher over this queue, without servers.
    pub fn new(queue: Q, window: Window, health: HealthConfig) -> Self {
        Self {
            queue,
            scheduler: Scheduler::new(),
            servers: Vec::new(),
            old_style: 0,
            timers: BTreeSet::new(),
            window,
            heaviest: 1,
            health,
            epochs: 0,
            accepted: 0,
            delivered: 0,
            actions: Vec::new(),
        }
    }

    /// Adds a server; it gets files once a probe was answered and its link is open.
    pub fn add_server(&mut self, name: &str, weight: u32, now: Duration) -> Slot {
        let slot = self.scheduler.add(weight);
        self.heaviest = self.heaviest.max(weight);
        let server = Server::new(name, weight, Health::new(self.health, now), now);
        if self.servers.len() <= slot.index() {
            self.servers.resize_with(slot.index() + 1, || None);
        }
        if let Some(place) = self.servers.get_mut(slot.index()) {
            *place = Some(server);
        }
        slot
    }

    /// The actions decided since the last call.
    pub fn actions(&mut self) -> std::vec::Drain<'_, Action<Held<T>>> {
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

    /// Takes a file into the queue and gives it its number.
    pub fn accept(&mut self, title: Arc<str>, content: Bytes, tag: T, now: Duration) -> Result<u64, NumbersError> {
        let tag = Held { tag, refused_by: Vec::new(), holds: 0 };
        let number = self.queue.accept(Queued { title, content, attempts: 0, accepted: now, tag })?;
        self.accepted += 1;
        Ok(number)
    }

    /// A probe of the server ended.
    pub fn probed(&mut self, slot: Slot, probed: Probed, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        match probed {
            Probed::Answered { overloaded, dialect } => {
                for flip in server.health.probe_answered(overloaded, now) {
                    log_flip(&server.name, &flip);
                }
                if let Some(dialect) = dialect.filter(|dialect| Some(*dialect) != server.dialect) {
                    self.recognise(slot, dialect, now);
                }
            }
            Probed::Failed(reason) => {
                if let Some(flip) = server.health.probe_failed(&reason, now) {
                    log_flip(&server.name, &flip);
                    self.close_link(slot, &reason, now);
                }
            }
        }
        self.open_link(slot, now);
        self.refresh(slot);
    }

    /// The link opened: files can go.
    pub fn link_opened(&mut self, slot: Slot, epoch: u64, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else { return };
        server.link = Link::Open(epoch);
        if let Some(flip) = server.health.link(true, "open", now) {
            log_flip(&server.name, &flip);
        }
        if server.dialect == Some(Dialect::Native) {
            // Files may wait for want of a server that can take them.
            self.queue.wake_all();
        }
        self.refresh(slot);
    }

    /// The link failed to open, or closed. What was in flight is in doubt, and goes to another server at once.
    pub fn link_closed(&mut self, slot: Slot, epoch: u64, reason: &str, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else { return };
        let retry = server.postpone_link(now);
        if let Some(flip) = server.health.doubt(reason, now) {
            log_flip(&server.name, &flip);
        }
        self.timers.insert((retry, slot));
        self.close_link(slot, reason, now);
        self.actions.push(Action::Probe { slot });
    }

    /// The server has the file.
    pub fn stored(&mut self, slot: Slot, epoch: u64, number: u64, confirmed: bool, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else { return };
        let Some(sent) = server.land(number) else { return };
        server.has_stored(&sent);
        let name = server.name.clone();
        if let Some(file) = self.queue.settle(number) {
            self.delivered += 1;
            tracing::info!(
                number,
                title = &*file.title,
                server = &*name,
                bytes = sent.bytes,
                ms = now.saturating_sub(sent.at).as_secs_f64() * 1e3,
                "{}",
                if confirmed { "delivered" } else { "delivered unconfirmed" }
            );
            self.actions.push(Action::Delivered { number, server: name, confirmed, file });
        }
        self.refresh(slot);
    }

    /// The server does not take the file: it goes elsewhere.
    pub fn not_stored(&mut self, slot: Slot, epoch: u64, number: u64, refusal: &Refusal, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else { return };
        if server.land(number).is_none() {
            return;
        }
        server.returned += 1;
        let name = server.name.clone();
        if refusal.code.is_server_wide() {
            if let Some(flip) = server.health.refused(&refusal.reason, now) {
                log_flip(&name, &flip);
            }
            let until = server.health.paused_until();
            self.timers.extend(until.map(|until| (until, slot)));
        }
        self.send_back(number, Some(slot), &name, &refusal.reason);
        self.refresh(slot);
    }

    /// One file's delivery failed, in doubt, over a connection of its own.
    pub fn lost(&mut self, slot: Slot, epoch: u64, number: u64, reason: &str, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else { return };
        if server.land(number).is_none() {
            return;
        }
        server.returned += 1;
        if let Some(flip) = server.health.doubt(reason, now) {
            log_flip(&server.name, &flip);
        }
        let name = server.name.clone();
        self.send_back(number, None, &name, reason);
        self.actions.push(Action::Probe { slot });
        self.refresh(slot);
    }

    /// Does what has become due, and sends what can be sent.
    pub fn advance(&mut self, now: Duration) {
        self.queue.wake(now);
        while let Some(&(due, slot)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, slot));
            let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { continue };
            if let Some(flip) = server.health.wake(now) {
                log_flip(&server.name, &flip);
            }
            self.open_link(slot, now);
            self.refresh(slot);
        }
        self.dispatch(now);
    }

    /// When [`Self::advance`] has something to do next, if nothing else happens before.
    pub fn next_due(&self) -> Option<Duration> {
        let of_servers = self.timers.first().map(|(due, _)| *due);
        // Files whose wait ends while no server is eligible go when one is again.
        let of_files = self.queue.next_wake().filter(|_| self.scheduler.eligible_count() > 0);
        of_servers.into_iter().chain(of_files).min()
    }

    /// The state of everything, for people.
    pub fn status(&self, now: Duration) -> StatusReport {
        let depth = self.queue.depth();
        let seconds_since = |then: Duration| now.saturating_sub(then).as_secs_f64();
        StatusReport {
            uptime_s: now.as_secs_f64(),
            accepted: self.accepted,
            delivered: self.delivered,
            queue: QueueReport {
                ready: depth.ready,
                delayed: depth.delayed,
                in_flight: depth.taken,
                bytes: depth.bytes,
                oldest_s: self.queue.oldest().map(seconds_since),
            },
            servers: self
                .servers
                .iter()
                .flatten()
                .map(|server| server.report(self.window_is_open(server), now))
                .collect(),
        }
    }

    fn dispatch(&mut self, now: Duration) {
        while self.scheduler.eligible_count() > 0 {
            let Some(number) = self.queue.take() else { return };
            match self.choose(number) {
                Some(slot) => self.send(slot, number, now),
                None => self.hold(number, now),
            }
        }
    }

    /// The server whose turn it is, among those that can take this file.
    fn choose(&mut self, number: u64) -> Option<Slot> {
        let file = self.queue.get(number)?;
        let refused_by = &file.tag.refused_by;
        if refused_by.is_empty() && self.old_style == 0 {
            return self.scheduler.pick();
        }
        let fits_old_style = json::old_style_file(number, &file.title, &file.content).is_ok();
        let servers = &self.servers;
        let speaks = |slot: Slot| servers.get(slot.index()).and_then(Option::as_ref).and_then(|server| server.dialect);
        self.scheduler
            .pick_where(|slot| !refused_by.contains(&slot) && (fits_old_style || speaks(slot) == Some(Dialect::Native)))
    }

    fn send(&mut self, slot: Slot, number: u64, now: Duration) {
        let Some(file) = self.queue.get(number) else { return };
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        let parcel = Parcel { number, title: file.title.clone(), content: file.content.clone() };
        let bytes = parcel.content.len() as u64;
        server.in_flight.insert(number, Sent { at: now, bytes });
        server.in_flight_bytes += bytes;
        tracing::info!(number, title = &*parcel.title, server = &*server.name, bytes, "forwarded");
        self.actions.push(Action::Send { slot, parcel });
        self.refresh(slot);
    }

    /// Makes a file wait that none of the eligible servers can take.
    fn hold(&mut self, number: u64, now: Duration) {
        let Some(file) = self.queue.get_mut(number) else { return };
        let wait = backoff(number, file.tag.holds);
        let refused = !file.tag.refused_by.is_empty();
        file.tag.refused_by.clear();
        file.tag.holds = file.tag.holds.saturating_add(1);
        if file.tag.holds == 1 {
            let reason = match json::old_style_file(number, &file.title, &file.content) {
                Err(error) if !refused => error.to_string(),
                _ => "every eligible server has refused it".to_owned(),
            };
            tracing::warn!(number, title = &*file.title, attempts = file.attempts, reason, "waits");
        }
        self.queue.delay(number, now + wait);
    }

    /// Puts a file back that a server refused or lost.
    fn send_back(&mut self, number: u64, refused_by: Option<Slot>, server: &str, reason: &str) {
        let Some(file) = self.queue.get_mut(number) else { return };
        file.attempts = file.attempts.saturating_add(1);
        file.tag.refused_by.extend(refused_by);
        tracing::warn!(number, title = &*file.title, server, attempts = file.attempts, reason, "came back");
        self.queue.put_back(number);
    }

    /// Learns what the server speaks.
    fn recognise(&mut self, slot: Slot, dialect: Dialect, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        tracing::info!(server = &*server.name, speaks = ?dialect, "recognised");
        let before = server.dialect.replace(dialect);
        self.old_style -= usize::from(before == Some(Dialect::OldStyle));
        self.old_style += usize::from(dialect == Dialect::OldStyle);
        self.close_link(slot, "the server speaks another protocol now", now);
    }

    /// Opens a link to a server that answers probes, if it has none and its time has come.
    fn open_link(&mut self, slot: Slot, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        let answers = server.health.allows(Fact::Connection) && server.health.allows(Fact::Trust);
        let waits = server.link_retry.is_some_and(|due| due > now);
        let (Some(dialect), Link::Closed, true, false) = (server.dialect, server.link, answers, waits) else { return };
        server.link_retry = None;
        self.epochs += 1;
        server.link = Link::Opening(self.epochs);
        self.actions.push(Action::OpenLink { slot, dialect, epoch: self.epochs });
    }

    /// Closes the server's link and puts back what was in flight over it.
    fn close_link(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        if server.link == Link::Closed {
            return;
        }
        server.link = Link::Closed;
        if let Some(flip) = server.health.link(false, reason.to_owned(), now) {
            log_flip(&server.name, &flip);
        }
        let name = server.name.clone();
        let mut numbers: Vec<u64> = server.in_flight.drain().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        server.in_flight_bytes = 0;
        server.returned += numbers.len() as u64;
        for number in numbers {
            self.send_back(number, None, &name, reason);
        }
        self.actions.push(Action::CloseLink { slot });
        self.refresh(slot);
    }

    /// Tells the scheduler whether the server may be picked.
    fn refresh(&mut self, slot: Slot) {
        let Some(server) = self.servers.get(slot.index()).and_then(Option::as_ref) else { return };
        let eligible = server.health.is_good() && self.window_is_open(server);
        if eligible != server.eligible {
            self.scheduler.set_eligible(slot, eligible);
            if let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) {
                server.eligible = eligible;
            }
        }
    }

    fn window_is_open(&self, server: &Server) -> bool {
        server.window_is_open(self.window, self.heaviest)
    }

    /// The server, if this is its link's present epoch.
    fn server_of(&mut self, slot: Slot, epoch: u64) -> Option<&mut Server> {
        let server = self.servers.get_mut(slot.index())?.as_mut()?;
        (server.link == Link::Open(epoch) || server.link == Link::Opening(epoch)).then_some(server)
    }
}

/// How long a file waits after so many attempts: doubling, and spread by up to a half, so that files that came
/// back together do not leave together.
fn backoff(number: u64, attempts: u32) -> Duration {
    let wait = BACKOFF.0.saturating_mul(1 << attempts.min(16)).min(BACKOFF.1);
    // The finaliser of SplitMix64: neighbouring numbers spread over the whole range.
    let mut mixed = number.wrapping_add(u64::from(attempts)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let spread = u32::try_from((mixed >> 33) % 512).unwrap_or(0);
    wait.saturating_sub(wait * spread / 1024)
}

fn log_flip(server: &str, flip: &Flip) {
    let (fact, reason, after_s) = (flip.fact.name(), &*flip.reason, flip.lasted.as_secs_f64());
    if flip.good {
        tracing::info!(server, fact, reason, after_s, "server recovered");
    } else {
        tracing::warn!(server, fact, reason, after_s, "server gets no files");
    }
}
