//! Decides what happens to each file and each server: a state machine without sockets, tasks or a
//! clock.
//!
//! It is told what happened and when (times are on the hub's clock, which never steps back), and
//! answers with [`Action`]s that the [`super::hub`] carries out. Owns the windows, the attempts,
//! what is in doubt at which server, and when a link is opened; the order of servers is
//! [`Scheduler`]'s, their state [`Health`]'s, the order of files [`Pending`]'s.
//!
//! Invariant: a file is taken from the queue exactly while it is in flight to one server.

mod blame;
mod doubt;
mod names;
mod operator;
mod server;
#[cfg(test)]
mod tests;

pub use names::{Speaker, Who};
pub use server::Window;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::json::NotOldStyle;
use crate::protocol::status::{Dialect, Memory, QueueReport, StatusReport};
use crate::protocol::{Refusal, RefusalCode, lists};
use crate::queue::record::{Attempt, Meta, cut};
use crate::queue::{FileBody, Pending, Queued};
use crate::schedule::{Fact, Flip, Health, HealthConfig, Scheduler, Slot};
use blame::{Record, Verdict};
use names::Place;
use server::{Intent, LinkState, Member, Sent};

/// The first wait of a file that every server refused, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How long a file waits that could not be read from the journal for want of descriptors or memory.
const NOT_NOW: Duration = Duration::from_secs(1);

/// What becomes of a file that was with a server when the server vanished: it may be stored there,
/// or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// It goes to another server at once. When the first one returns and has it, too, it removes
    /// its copy
    Redirect,
    /// It waits until the server returns and says whether it has it
    Wait,
}

/// How files are given out.
#[derive(Debug, Clone, Copy)]
pub struct DispatchConfig {
    /// How much may be in flight to one server.
    pub window: Window,
    /// How probes count.
    pub health: HealthConfig,
    /// After so many refusals that are its own fault a file is a dead letter.
    pub max_attempts: u32,
    /// What becomes of a file whose server vanished.
    pub in_doubt: InDoubt,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        let (window, health) = (Window::default(), HealthConfig::default());
        Self {
            window,
            health,
            max_attempts: 16,
            in_doubt: InDoubt::Redirect,
        }
    }
}

/// A file on its way to a server.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its request number.
    pub number: u64,
    /// What it is.
    pub meta: Arc<Meta>,
    /// Its content.
    pub content: FileBody,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The server answered with its overload byte, and thereby said what it speaks.
    Answered {
        /// The overload byte.
        overloaded: bool,
        /// What the server speaks.
        dialect: Dialect,
        /// The memory of its process, if it says so.
        memory: Option<Memory>,
        /// Who it is, and where.
        who: Who,
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
        slot: Slot,
        /// The server's name.
        server: Arc<str>,
        /// False from an old-style server.
        confirmed: bool,
        /// When it was sent.
        sent: Duration,
        /// The file, out of the queue.
        file: Queued<T>,
    },
    /// The file came back from a server: record it.
    CameBack {
        /// Its request number.
        number: u64,
        /// What happened.
        attempt: Attempt,
        /// Whether that was the file's own fault.
        is_failure: bool,
        /// Whether it is among the first ones, which are kept with their reasons.
        is_kept: bool,
    },
    /// No server can take the file: it is a dead letter.
    Dead {
        /// Its request number.
        number: u64,
        /// Why.
        reason: String,
        /// The file, out of the queue.
        file: Queued<T>,
    },
    /// A server has a file that does not wait: find out whether another server has it, too.
    Stray {
        /// The server.
        slot: Slot,
        /// The file's request number.
        number: u64,
        /// What the server says of it, if it was asked.
        held: Option<lists::StoredFile>,
    },
    /// Open a link to the server and speak of it under this epoch.
    OpenLink {
        /// The server.
        slot: Slot,
        /// What the server speaks.
        dialect: Dialect,
        /// The link's epoch: events of older links are ignored.
        epoch: u64,
        /// Where the server has answered a probe.
        at: Option<SocketAddr>,
    },
    /// Close the server's link, whatever is in it.
    CloseLink {
        /// The server.
        slot: Slot,
    },
    /// A fact about the server changed.
    Flipped {
        /// The server's name.
        server: Arc<str>,
        /// The fact.
        flip: Flip,
    },
    /// Probe the server now.
    Probe {
        /// The server.
        slot: Slot,
    },
}

/// What became of the order to deliver a file no more.
#[derive(Debug)]
pub enum Cancel<T> {
    /// The file is out of the queue. A server may have it, and must then remove it.
    Taken(Box<Queued<Delivery<T>>>),
    /// The file is with this server, which cannot remove it.
    StaysWith(Arc<str>),
    /// No such file waits.
    Unknown,
}

/// What the dispatcher keeps beside a queued file, around what its caller keeps there.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The caller's.
    pub tag: T,
    /// Why an old-style server could not read it, if that is so.
    pub not_old_style: Option<NotOldStyle>,
    /// Why it waits, if it does for a reason of its own.
    pub waits: Option<String>,
    /// The servers that will refuse it whenever they are asked.
    refused_by: Vec<Slot>,
    /// The servers that were tried since it last waited.
    tried: Vec<Slot>,
    /// How many times no eligible server could take it.
    holds: u32,
    /// What its refusals say of it.
    record: Record,
}

impl<T> Delivery<T> {
    /// A file that has not been sent yet.
    pub fn new(tag: T, not_old_style: Option<NotOldStyle>) -> Self {
        let (refused_by, tried, record) = (Vec::new(), Vec::new(), Record::default());
        Self {
            tag,
            not_old_style,
            waits: None,
            refused_by,
            tried,
            holds: 0,
            record,
        }
    }
}

/// The state machine between queue, scheduler and servers.
pub struct Dispatcher<T> {
    queue: Pending<Delivery<T>>,
    scheduler: Scheduler,
    /// By slot.
    servers: Vec<Option<Member>>,
    /// The slots of all servers, in the order in which they were named.
    order: Vec<Slot>,
    /// Those that are to be removed.
    leaving: Vec<Slot>,
    /// How many of them are old-style.
    old_style: usize,
    /// When a server has something due: the end of a pause, or a link to open again.
    timers: BTreeSet<(Duration, Slot)>,
    config: DispatchConfig,
    /// The weight whose window is the largest.
    heaviest: u32,
    /// Files of an earlier run have no higher number: they may be stored at any server that has not
    /// said what it has.
    recovered: u64,
    /// Numbers up to this were given by earlier runs. What ended then, and may be at a server that
    /// has not said what it has, is in doubt there, whether the file waited at the start or not.
    earlier: u64,
    /// Something is no longer in doubt somewhere since that was asked last.
    has_settled: bool,
    /// Files of an earlier run wait until all of these have been heard of.
    unheard: BTreeSet<Slot>,
    /// The lowest number of the files that come later: those with higher ones wait for it.
    next_to_come: u64,
    epochs: u64,
    accepted: u64,
    accepted_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    actions: Vec<Action<Delivery<T>>>,
}

impl<T> Dispatcher<T> {
    /// A dispatcher without servers or files.
    pub fn new(config: DispatchConfig) -> Self {
        Self {
            queue: Pending::default(),
            scheduler: Scheduler::new(),
            servers: Vec::new(),
            order: Vec::new(),
            leaving: Vec::new(),
            old_style: 0,
            timers: BTreeSet::new(),
            config,
            heaviest: 1,
            recovered: 0,
            earlier: 0,
            has_settled: false,
            unheard: BTreeSet::new(),
            next_to_come: u64::MAX,
            epochs: 0,
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
        let server = Member::new(name, weight, Health::new(self.config.health, now), now);
        if self.servers.len() <= slot.index() {
            self.servers.resize_with(slot.index() + 1, || None);
        }
        if let Some(place) = self.servers.get_mut(slot.index()) {
            *place = Some(server);
        }
        self.order.push(slot);
        self.unheard.insert(slot);
        if weight > self.heaviest {
            self.resize();
        }
        slot
    }

    /// All servers with their slots, in the order in which they were named.
    fn servers(&self) -> impl Iterator<Item = (Slot, &Member)> {
        self.order
            .iter()
            .filter_map(|slot| Some((*slot, self.servers.get(slot.index())?.as_ref()?)))
    }

    /// The server of this name.
    pub fn slot_of(&self, name: &str) -> Option<Slot> {
        self.servers()
            .find(|(_, server)| &*server.name == name)
            .map(|(slot, _)| slot)
    }

    /// The names and weights of the servers that stay.
    pub fn staying(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.servers()
            .filter(|(_, server)| server.wish != Intent::Leave)
            .map(|(_, server)| (&server.name, server.weight))
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

    /// Takes a file that is accepted for good.
    pub fn accept(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.count_accepted(file.meta.size);
        self.queue.insert(number, file);
    }

    /// Takes a file that waits again: it was a dead letter.
    pub fn replay(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.queue.insert(number, file);
    }

    /// Says that files with numbers up to this are of an earlier run. Any server may have them, so
    /// they wait until all were asked, or are known to be away.
    pub fn recovered(&mut self, highest: u64) {
        self.recovered = self.recovered.max(highest);
    }

    /// Says that numbers up to this were given by earlier runs.
    pub fn earlier_runs_gave(&mut self, highest: u64) {
        self.earlier = self.earlier.max(highest);
    }

    /// Up to which number files wait until all servers were asked, if some were not.
    pub fn holds_back(&self) -> u64 {
        if self.unheard.is_empty() {
            0
        } else {
            self.recovered
        }
    }

    /// Takes a file that is accepted already.
    pub fn recover(&mut self, number: u64, file: Queued<Delivery<T>>) {
        self.queue.insert(number, file);
        if number <= self.holds_back() {
            self.queue.park(number);
        }
    }

    /// Counts a file of so many bytes that is accepted for good and comes later.
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
    /// if it need not wait for one that comes first.
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

    /// A file that waits, to be changed in what the caller keeps.
    pub fn file_mut(&mut self, number: u64) -> Option<&mut Queued<Delivery<T>>> {
        self.queue.get_mut(number)
    }

    /// The server that the file is with.
    pub fn server_with(&self, number: u64) -> Option<&Arc<str>> {
        self.servers
            .iter()
            .flatten()
            .find(|server| server.in_flight.contains_key(&number))
            .map(|server| &server.name)
    }

    /// Why the file waits, if it is not with a server.
    pub fn why_it_waits(&self, number: u64) -> Option<String> {
        if let Some(reason) = &self.queue.get(number)?.tag.waits {
            return Some(reason.clone());
        }
        if self.queue.is_parked(number) {
            return Some(self.why_held_back());
        }
        self.why_nothing_goes()
    }

    /// Why a file waits that is still to come.
    pub fn why_it_comes_later(&self, number: u64) -> Option<String> {
        if number <= self.holds_back() {
            Some(self.why_held_back())
        } else {
            self.why_nothing_goes()
        }
    }

    /// Why files of an earlier run wait.
    fn why_held_back(&self) -> String {
        let is_missing = |place: usize, server: &Member| {
            let is_unheard = self.unheard.iter().any(|slot| slot.index() == place);
            is_unheard || (self.config.in_doubt == InDoubt::Wait && !server.has_told)
        };
        let servers = self
            .servers
            .iter()
            .enumerate()
            .filter_map(|(place, server)| Some((place, server.as_ref()?)));
        let missing = servers
            .filter(|(place, server)| is_missing(*place, server))
            .map(|(_, server)| &*server.name);
        let missing = missing.collect::<Vec<_>>().join(", ");
        format!(
            "it was accepted before a restart, and these servers have not said yet whether they have it: {missing}"
        )
    }

    /// Why no file can go to any server now, if that is so.
    fn why_nothing_goes(&self) -> Option<String> {
        if self.scheduler.eligible_count() > 0 {
            return None;
        }
        let problems = self
            .servers
            .iter()
            .flatten()
            .map(|server| match server.health.problem() {
                Some((fact, reason, _)) => format!("{} ({}: {reason})", server.name, fact.name()),
                None => format!("{} (window full)", server.name),
            });
        Some(format!(
            "no server can take files: {}",
            problems.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Whether a server that is away may have the file, or one was told to remove it and has not
    /// answered.
    pub fn is_doubtful(&self, number: u64) -> bool {
        let is_old = number <= self.earlier.max(self.recovered);
        self.servers
            .iter()
            .flatten()
            .any(|server| (is_old && !server.has_told) || server.doubts.contains(&number))
    }

    /// The server was told to remove the file: until it has answered, it may be there.
    pub fn doubt(&mut self, slot: Slot, number: u64) {
        if let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) {
            server.doubts.insert(number);
        }
    }

    /// The server does not have the file any more.
    pub fn dropped(&mut self, slot: Slot, epoch: u64, number: u64) {
        if let Some(server) = self.server_of(slot, epoch) {
            server.doubts.remove(&number);
            self.has_settled = true;
        }
    }

    /// A probe of the server ended.
    pub fn probed(&mut self, slot: Slot, probed: Probed, took: Duration, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        match probed {
            Probed::Answered {
                overloaded,
                dialect,
                memory,
                who,
            } => {
                (server.memory, server.probe) = (memory, Some(took));
                server.who = who;
                let flips = server.health.probe_answered(overloaded, now);
                if flips.iter().any(|flip| flip.fact == Fact::Connection) {
                    server.returns();
                }
                self.flipped(slot, flips);
                if self
                    .servers
                    .get(slot.index())
                    .and_then(Option::as_ref)
                    .is_some_and(|it| it.dialect != Some(dialect))
                {
                    self.recognise(slot, dialect, now);
                }
                self.follow(slot, now);
            }
            Probed::Failed(reason) => {
                (server.memory, server.probe) = (None, None);
                if let Some(flip) = server.health.probe_failed(&reason, now) {
                    self.flipped(slot, [flip]);
                    self.close_link(slot, &reason, now);
                }
                if self.config.in_doubt == InDoubt::Redirect {
                    self.has_reported(slot);
                }
            }
        }
        self.open_link(slot, now);
        self.refresh(slot);
    }

    /// The server's name may lead elsewhere by now than its link: the link goes there, too, once
    /// nothing is in flight.
    fn follow(&mut self, slot: Slot, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let (Some(linked), LinkState::Open(_)) = (&server.linked, server.link) else {
            return;
        };
        let (from, to) = (linked.address, server.who.address);
        let what = match names::place(linked, &server.who) {
            Place::Same => None,
            Place::Moved => Some("the server has moved"),
            Place::Replaced => Some("the name leads to another server now"),
        };
        let address = |at: Option<SocketAddr>| at.map_or_else(String::new, |at| at.to_string());
        let reason = what.map(|what| format!("{what}, from {} to {}", address(from), address(to)));
        let is_idle = server.in_flight.is_empty();
        let flip = match &reason {
            None => server.health.link(true, "open", now),
            Some(reason) => server.health.link(
                false,
                format!("{reason}: what is in flight finishes first"),
                now,
            ),
        };
        self.flipped(slot, flip);
        if let Some(reason) = reason.filter(|_| is_idle) {
            self.close_link(slot, &reason, now);
        }
        self.refresh(slot);
    }

    /// A server gets files under one name only, and copies of its directory get none: the error
    /// says why this one does not.
    pub fn identified(&mut self, slot: Slot, verdict: Result<(), String>, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let is_its_own = verdict.is_ok();
        let reason = verdict.err().unwrap_or_else(|| "its own".to_owned());
        let flip = server.health.identity(is_its_own, reason, now);
        self.flipped(slot, flip);
        if !is_its_own {
            // Nothing waits for what it would say: the other says the same, or the operator must
            // act.
            self.has_reported(slot);
        }
        self.refresh(slot);
    }

    /// The link opened: files can go. `holding` is what the server has and does not know to be
    /// confirmed. One that cannot say may have anything: it has no identity, for good or because
    /// its directory cannot be used at the moment.
    pub fn link_opened(
        &mut self,
        slot: Slot,
        epoch: u64,
        holding: Option<Vec<lists::StoredFile>>,
        now: Duration,
    ) {
        let in_doubt = self.config.in_doubt;
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        server.link = LinkState::Open(epoch);
        server.keeps_account = holding.is_some();
        let is_native = server.dialect == Some(Dialect::Native);
        let flip = server.health.link(true, "open", now);
        self.flipped(slot, flip);
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        match holding {
            Some(holding) => {
                server.has_told = true;
                for held in holding {
                    self.claim(slot, held, now);
                }
                self.resolve_doubts(slot);
                self.has_reported(slot);
            }
            None if !is_native => {
                server.has_told = true;
                self.resolve_doubts(slot);
                self.has_reported(slot);
            }
            // What may be there stays in doubt, but holds nothing up.
            None if in_doubt == InDoubt::Redirect => self.has_reported(slot),
            None => {}
        }
        if is_native {
            // Files may wait for want of a server that can take them.
            self.queue.wake_all();
        }
        self.refresh(slot);
    }

    /// The server says that it has the file: wherever the file is by now, it needs no more sending.
    fn claim(&mut self, slot: Slot, held: lists::StoredFile, now: Duration) {
        let lists::StoredFile(number, size, crc32c) = held;
        let Some(file) = self.queue.get(number) else {
            self.actions.push(Action::Stray {
                slot,
                number,
                held: Some(held),
            });
            return;
        };
        if (file.meta.size, file.meta.crc32c) != (size, crc32c) {
            let server = self.name_of(slot);
            tracing::error!(
                number,
                server = &*server,
                "the server has another file under this number: it is left alone"
            );
            return;
        }
        if self.queue.is_taken(number) {
            // The other server will have it, too, in a moment: then it is told to remove it.
            for other in self.servers.iter_mut().flatten() {
                if other.take_from_flight(number).is_some() {
                    other.doubts.insert(number);
                }
            }
        }
        self.deliver(slot, number, true, now);
    }

    /// What was in doubt at the server and is not there needs a server again.
    fn resolve_doubts(&mut self, slot: Slot) {
        self.has_settled = true;
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let doubts = std::mem::take(&mut server.doubts);
        if self.config.in_doubt == InDoubt::Wait {
            for number in doubts {
                self.unpark(number);
            }
        }
    }

    /// The server has said what it has, or is known to be away. After the last one files of an
    /// earlier run can go.
    fn has_reported(&mut self, slot: Slot) {
        if self.unheard.remove(&slot) && self.unheard.is_empty() {
            let parked: Vec<u64> = self
                .queue
                .after(0)
                .map(|(number, _)| number)
                .take_while(|number| *number <= self.recovered)
                .collect();
            for number in parked {
                self.unpark(number);
            }
        }
    }

    /// Makes a file ready that is parked, unless some server must be waited for that may have it.
    fn unpark(&mut self, number: u64) {
        let must_wait = self.config.in_doubt == InDoubt::Wait && self.is_doubtful(number);
        if self.queue.is_parked(number) && !must_wait {
            if let Some(file) = self.queue.get_mut(number) {
                file.tag.waits = None;
            }
            self.queue.put_back(number);
        }
    }

    /// The link failed to open, or closed. What was in flight is in doubt, and goes to another
    /// server at once.
    pub fn link_closed(&mut self, slot: Slot, epoch: u64, reason: &str, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        let retry = server.postpone_link(now);
        let flip = server.health.doubt(reason, now);
        self.flipped(slot, flip);
        self.timers.insert((retry, slot));
        self.close_link(slot, reason, now);
        if self.config.in_doubt == InDoubt::Redirect {
            self.has_reported(slot);
        }
        self.actions.push(Action::Probe { slot });
    }

    /// The link was closed because the server acknowledges nothing: it is left alone for longer
    /// each time, and then tried with one file.
    pub fn link_silent(&mut self, slot: Slot, epoch: u64, reason: &str, now: Duration) {
        if let Some(server) = self.server_of(slot, epoch) {
            server.falls_silent();
            self.link_closed(slot, epoch, reason, now);
        }
    }

    /// The server has the file.
    pub fn stored(&mut self, slot: Slot, epoch: u64, number: u64, confirmed: bool, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        match server.take_from_flight(number) {
            Some(sent) => {
                server.has_stored(&sent);
                self.blame_others(slot, number, now);
                self.deliver(slot, number, confirmed, sent.at);
            }
            None => self.actions.push(Action::Stray {
                slot,
                number,
                held: None,
            }),
        }
        self.refresh(slot);
    }

    /// A file is stored: those who refused it, and have stored nothing since, are to blame.
    fn blame_others(&mut self, slot: Slot, number: u64, now: Duration) {
        let Some(file) = self
            .queue
            .get(number)
            .filter(|file| !file.tag.record.marks().is_empty())
        else {
            return;
        };
        for mark in file.tag.record.marks().to_vec() {
            let other = self.servers.get(mark.slot.index()).and_then(Option::as_ref);
            if let Some(other) =
                other.filter(|other| mark.slot != slot && other.standing.fails_since(&mark))
            {
                let reason = other.standing.reason().to_owned();
                self.pause(mark.slot, &reason, now);
            }
        }
    }

    /// The server gets no file for a while, and is then tried with one.
    fn pause(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        server.standing.try_it();
        let flip = server.health.refused(cut(reason), now);
        self.timers
            .extend(server.health.paused_until().map(|until| (until, slot)));
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// Takes a delivered file out of the queue.
    fn deliver(&mut self, slot: Slot, number: u64, confirmed: bool, sent: Duration) {
        let Some(file) = self.queue.settle(number) else {
            return;
        };
        let server = self.name_of(slot);
        self.count_delivered(file.meta.size);
        self.actions.push(Action::Delivered {
            number,
            slot,
            server,
            confirmed,
            sent,
            file,
        });
    }

    /// The server does not take the file: it goes elsewhere.
    pub fn not_stored(
        &mut self,
        slot: Slot,
        epoch: u64,
        number: u64,
        refusal: &Refusal,
        now: Duration,
    ) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        if server.take_from_flight(number).is_none() {
            // It was cancelled, or another server turned out to have the file meanwhile; it is not
            // here.
            self.has_settled |= server.doubts.remove(&number);
            return;
        }
        server.returned += 1;
        server.standing.says(cut(&refusal.reason));
        if let Some(file) = self.queue.get_mut(number) {
            let list = if refusal.code.is_lasting() {
                &mut file.tag.refused_by
            } else {
                &mut file.tag.tried
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
        self.send_back(slot, number, &refusal.reason, is_failure, now);
        self.bury_if_hopeless(number, cut(&refusal.reason));
        self.refresh(slot);
    }

    /// A server says that it cannot store: pauses it if it is to blame. True if the file is, as far
    /// as all tell that can take files.
    fn weigh(&mut self, slot: Slot, number: u64, reason: &str, now: Duration) -> bool {
        let server = self.servers.get_mut(slot.index()).and_then(Option::as_mut);
        let (Some(server), Some(file)) = (server, self.queue.get_mut(number)) else {
            return false;
        };
        match file.tag.record.refused(slot, number, &mut server.standing) {
            Verdict::Open => false,
            Verdict::Member => {
                self.pause(slot, reason, now);
                false
            }
            Verdict::File => file.tag.record.is_condemned() && self.is_tried_by_all(number),
        }
    }

    /// Whether no server is left that may take the file now or soon.
    fn is_tried_by_all(&self, number: u64) -> bool {
        let Some(file) = self.queue.get(number) else {
            return false;
        };
        let Delivery {
            tried,
            refused_by,
            not_old_style,
            ..
        } = &file.tag;
        self.servers().all(|(slot, server)| {
            !server.is_there()
                || server.cannot_read(not_old_style.as_ref())
                || tried.contains(&slot)
                || refused_by.contains(&slot)
        })
    }

    /// The file's content cannot be read any more: there is nothing to send.
    pub fn unreadable(&mut self, slot: Slot, epoch: u64, number: u64, reason: &str) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        if server.take_from_flight(number).is_some() {
            self.bury(number, reason.to_owned());
            self.refresh(slot);
        }
    }

    /// The file's content cannot be read just now: it goes a little later.
    pub fn not_now(&mut self, slot: Slot, epoch: u64, number: u64, reason: &str, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        if server.take_from_flight(number).is_none() {
            return;
        }
        server.returned += 1;
        self.send_back(slot, number, reason, false, now);
        if let Some(file) = self.queue.get_mut(number) {
            file.tag.waits = Some(reason.to_owned());
        }
        self.queue.delay(number, now + NOT_NOW);
        self.refresh(slot);
    }

    /// Makes a file a dead letter that every server refuses, or that was refused too often.
    fn bury_if_hopeless(&mut self, number: u64, reason: &str) {
        let Some(file) = self.queue.get(number) else {
            return;
        };
        let Delivery {
            refused_by,
            not_old_style,
            ..
        } = &file.tag;
        let refuses = |(place, server): (usize, &Member)| {
            server.weight == 0
                || server.wish == Intent::Leave
                || !server.health.allows(Fact::Identity)
                || server.cannot_read(not_old_style.as_ref())
                || refused_by.iter().any(|slot| slot.index() == place)
        };
        let mut servers = self
            .servers
            .iter()
            .enumerate()
            .filter_map(|(place, server)| Some((place, server.as_ref()?)));
        // Servers that an operator keeps from working say nothing of the file.
        if !refused_by.is_empty() && servers.all(refuses) {
            self.bury(number, format!("every server refuses it: {reason}"));
        } else if file.history.failures >= self.config.max_attempts {
            let reason = format!(
                "refused {} times, the last time: {reason}",
                file.history.failures
            );
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

    /// One file's delivery failed, in doubt, over a connection of its own.
    pub fn lost(&mut self, slot: Slot, epoch: u64, number: u64, reason: &str, now: Duration) {
        let Some(server) = self.server_of(slot, epoch) else {
            return;
        };
        if server.take_from_flight(number).is_none() {
            return;
        }
        server.returned += 1;
        let flip = server.health.doubt(reason, now);
        self.flipped(slot, flip);
        self.send_back(slot, number, reason, false, now);
        self.actions.push(Action::Probe { slot });
        self.refresh(slot);
    }

    /// Does what has become due, and sends what can be sent.
    pub fn advance(&mut self, now: Duration) {
        self.queue.wake(now);
        while let Some(&(due, slot)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, slot));
            let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
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
        let of_servers = self.timers.first().map(|(due, _)| *due);
        // Files whose wait ends while no server is eligible go when one is again.
        let of_files = self
            .queue
            .next_wake()
            .filter(|_| self.scheduler.eligible_count() > 0);
        of_servers.into_iter().chain(of_files).min()
    }

    /// The state of everything, for people.
    pub fn status(&self, started: Duration, now: Duration) -> StatusReport {
        let depth = self.queue.depth();
        let seconds_since = |then: Duration| now.saturating_sub(then).as_secs_f64();
        StatusReport {
            uptime_s: seconds_since(started),
            accepted: self.accepted,
            accepted_bytes: self.accepted_bytes,
            delivered: self.delivered,
            delivered_bytes: self.delivered_bytes,
            trouble: None,
            queue: QueueReport {
                ready: depth.ready,
                delayed: depth.delayed,
                in_flight: depth.taken,
                bytes: depth.bytes,
                oldest_s: self
                    .queue
                    .oldest_ms()
                    .map(Duration::from_millis)
                    .map(seconds_since),
                dead: 0,
                max_files: 0,
                max_bytes: 0,
            },
            servers: self
                .servers()
                .map(|(_, server)| server.report(self.config.window, self.heaviest, now))
                .collect(),
        }
    }

    fn dispatch(&mut self, now: Duration) {
        while self.scheduler.eligible_count() > 0 {
            let Some(number) = self.queue.take_below(self.next_to_come) else {
                return;
            };
            match self.choose(number) {
                Some(slot) => self.send(slot, number, now),
                None => self.hold(number, now),
            }
        }
    }

    /// The server whose turn it is, among those that can take this file.
    fn choose(&mut self, number: u64) -> Option<Slot> {
        let file = &self.queue.get(number)?.tag;
        if file.refused_by.is_empty() && file.tried.is_empty() && self.old_style == 0 {
            return self.scheduler.pick();
        }
        let servers = &self.servers;
        let speaks = |slot: Slot| {
            servers
                .get(slot.index())
                .and_then(Option::as_ref)
                .and_then(|server| server.dialect)
        };
        let can_read =
            |slot: Slot| file.not_old_style.is_none() || speaks(slot) == Some(Dialect::Native);
        self.scheduler.pick_where(|slot| {
            !file.refused_by.contains(&slot) && !file.tried.contains(&slot) && can_read(slot)
        })
    }

    fn send(&mut self, slot: Slot, number: u64, now: Duration) {
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        file.tag.waits = None;
        let parcel = Parcel {
            number,
            meta: file.meta.clone(),
            content: file.content.clone(),
        };
        let bytes = parcel.meta.size;
        server.in_flight.insert(number, Sent { at: now, bytes });
        server.in_flight_bytes += bytes;
        tracing::info!(
            number,
            title = &*parcel.meta.title,
            server = &*server.name,
            bytes,
            "forwarded"
        );
        self.actions.push(Action::Send { slot, parcel });
        self.refresh(slot);
    }

    /// Makes a file wait that none of the eligible servers can take.
    fn hold(&mut self, number: u64, now: Duration) {
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let wait = backoff(number, file.tag.holds);
        let reason = match file.tag.not_old_style {
            Some(why) if file.tag.tried.is_empty() && file.tag.refused_by.is_empty() => {
                why.to_string()
            }
            _ => {
                let last = file.tag.tried.last().or(file.tag.refused_by.last());
                let last = last.and_then(|slot| self.servers.get(slot.index())?.as_ref());
                let why = last.map(|last| format!("; {}: {}", last.name, last.standing.reason()));
                format!(
                    "every eligible server has refused it{}",
                    why.unwrap_or_default()
                )
            }
        };
        file.tag.tried.clear();
        file.tag.record.waits();
        file.tag.holds = file.tag.holds.saturating_add(1);
        if file.tag.holds == 1 {
            tracing::warn!(
                number,
                title = &*file.meta.title,
                attempts = file.history.attempts,
                reason,
                "waits"
            );
        }
        file.tag.waits = Some(reason);
        self.queue.delay(number, now + wait);
    }

    /// Puts a file back that a server refused or lost.
    fn send_back(
        &mut self,
        slot: Slot,
        number: u64,
        reason: &str,
        is_failure: bool,
        now: Duration,
    ) {
        let server = self.name_of(slot);
        let Some(file) = self.queue.get_mut(number) else {
            return;
        };
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let attempt = Attempt {
            at_ms,
            server: cut(&server).into(),
            reason: cut(reason).into(),
        };
        let before = file.history.first.len();
        file.history.add(attempt.clone(), is_failure);
        let (attempts, is_kept) = (file.history.attempts, file.history.first.len() > before);
        tracing::warn!(
            number,
            title = &*file.meta.title,
            server = &*server,
            attempts,
            reason,
            "came back"
        );
        self.actions.push(Action::CameBack {
            number,
            attempt,
            is_failure,
            is_kept,
        });
        self.queue.put_back(number);
    }

    /// A fact about the server changed: the hub hears of it.
    fn flipped(&mut self, slot: Slot, flips: impl IntoIterator<Item = Flip>) {
        for flip in flips {
            let server = self.name_of(slot);
            self.actions.push(Action::Flipped { server, flip });
        }
    }

    fn name_of(&self, slot: Slot) -> Arc<str> {
        let server = self.servers.get(slot.index()).and_then(Option::as_ref);
        server.map_or_else(|| Arc::from(""), |server| server.name.clone())
    }

    /// Learns what the server speaks.
    fn recognise(&mut self, slot: Slot, dialect: Dialect, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        tracing::info!(server = &*server.name, speaks = ?dialect, "recognised");
        let before = server.dialect.replace(dialect);
        self.old_style -= usize::from(before == Some(Dialect::OldStyle));
        self.old_style += usize::from(dialect == Dialect::OldStyle);
        self.close_link(slot, "the server speaks another protocol now", now);
        if dialect == Dialect::OldStyle {
            // Such a server can tell nothing.
            if let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) {
                server.has_told = true;
            }
            self.resolve_doubts(slot);
            self.has_reported(slot);
        }
    }

    /// Opens a link to a server that answers probes, if it has none and its time has come.
    fn open_link(&mut self, slot: Slot, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        let answers = [Fact::Connection, Fact::Trust, Fact::Identity]
            .iter()
            .all(|fact| server.health.allows(*fact));
        let waits = server.link_retry.is_some_and(|due| due > now);
        let (Some(dialect), LinkState::Closed, true, false) =
            (server.dialect, server.link, answers, waits)
        else {
            return;
        };
        server.link_retry = None;
        self.epochs += 1;
        server.link = LinkState::Opening(self.epochs);
        server.linked = Some(server.who.clone());
        let at = server.who.address;
        self.actions.push(Action::OpenLink {
            slot,
            dialect,
            epoch: self.epochs,
            at,
        });
    }

    /// Closes the server's link and puts back what was in flight over it.
    fn close_link(&mut self, slot: Slot, reason: &str, now: Duration) {
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        if server.link == LinkState::Closed {
            return;
        }
        server.link = LinkState::Closed;
        server.linked = None;
        let flip = server.health.link(false, reason.to_owned(), now);
        let mut numbers: Vec<u64> = server.in_flight.drain().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        server.in_flight_bytes = 0;
        server.returned += numbers.len() as u64;
        let is_native = server.dialect == Some(Dialect::Native);
        if is_native {
            server.doubts.extend(&numbers);
        }
        self.flipped(slot, flip);
        for number in numbers {
            self.send_back(slot, number, reason, false, now);
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
            file.tag.waits = Some(format!(
                "{server} may have it and is away (--in-doubt wait)"
            ));
            self.queue.park(number);
        }
    }

    /// Tells the scheduler whether the server may be picked.
    fn refresh(&mut self, slot: Slot) {
        let Some(server) = self.servers.get(slot.index()).and_then(Option::as_ref) else {
            return;
        };
        let eligible = server.health.is_good() && self.window_is_open(server);
        if eligible != server.eligible {
            self.scheduler.set_eligible(slot, eligible);
            if let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) {
                server.eligible = eligible;
            }
        }
    }

    fn window_is_open(&self, server: &Member) -> bool {
        server.window_is_open(self.config.window, self.heaviest)
    }

    /// The server, if this is its link's present epoch.
    fn server_of(&mut self, slot: Slot, epoch: u64) -> Option<&mut Member> {
        let server = self.servers.get_mut(slot.index())?.as_mut()?;
        (server.link == LinkState::Open(epoch) || server.link == LinkState::Opening(epoch))
            .then_some(server)
    }
}

/// How long a file waits after so many attempts: doubling, and spread by up to a half, so that
/// files that came back together do not leave together.
fn backoff(number: u64, attempts: u32) -> Duration {
    let wait = BACKOFF
        .0
        .saturating_mul(1 << attempts.min(16))
        .min(BACKOFF.1);
    // The finaliser of SplitMix64: neighbouring numbers spread over the whole range.
    let mut mixed = number
        .wrapping_add(u64::from(attempts))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let spread = u32::try_from((mixed >> 33) % 512).unwrap_or(0);
    wait.saturating_sub(wait * spread / 1024)
}
