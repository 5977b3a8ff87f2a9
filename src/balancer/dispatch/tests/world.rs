//! The dispatcher, and what is around it: servers, links, and what became of files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balancer::dispatch::action::{Action, Note};
use crate::balancer::dispatch::{
    Delivery, DispatchConfig, Dispatcher, LinkEvent, LinkId, Probed, Queued, Speaker, Ticket, Who,
    Window,
};
use crate::file::{History, Meta};
use crate::protocol::json::NotOldStyle;
use crate::protocol::lists::StoredFile;
use crate::protocol::status::{Dialect, ServerState};
use crate::protocol::{Refusal, RefusalCode};
use crate::schedule::Slot;

/// The size of a file that does not say its own.
pub(super) const CONTENT: u64 = 7;

/// The checksum of all files.
pub(super) const SUM: u32 = 7;

pub(super) fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A file of this size, as the queue holds it.
pub(super) fn file(size: u64) -> Queued<Delivery<()>> {
    let meta = Meta {
        title: "t.json".into(),
        key: None,
        from: "f".into(),
        size,
        crc32c: SUM,
        accepted_ms: 0,
    };
    Queued {
        meta: Arc::new(meta),
        history: History::default(),
        tag: Delivery::new(()),
    }
}

pub(super) fn stored(number: u64) -> LinkEvent {
    LinkEvent::Stored {
        numbers: vec![number],
        confirmed: true,
    }
}

pub(super) fn not_stored(number: u64, code: RefusalCode) -> LinkEvent {
    LinkEvent::NotStored {
        number,
        refusal: Refusal::new(code, "no"),
    }
}

pub(super) fn opened(holding: Vec<StoredFile>) -> LinkEvent {
    LinkEvent::Opened {
        speaker: Speaker::default(),
        holding: Some(holding),
        seen: None,
    }
}

/// The dispatcher, and what a hub would keep: open links, files on them, deliveries.
pub(super) struct World {
    pub(super) subject: Dispatcher<()>,
    pub(super) slots: Vec<Slot>,
    /// How many servers were ever added.
    added: usize,
    /// What the servers said last that they speak.
    dialects: BTreeMap<Slot, Dialect>,
    /// Who the servers say that they are.
    pub(super) who: BTreeMap<Slot, Who>,
    pub(super) now: Duration,
    /// The epochs of open links, and the files on them.
    pub(super) links: BTreeMap<Slot, (u64, Vec<u64>)>,
    pub(super) opening: BTreeMap<Slot, u64>,
    pub(super) delivered: Vec<(u64, String)>,
    pub(super) dead: Vec<(u64, String)>,
    /// Files that wait because nobody can take them, with the first reason.
    pub(super) waiting: Vec<(u64, String)>,
    pub(super) came_back: Vec<u64>,
    pub(super) unexpected: Vec<(Slot, u64)>,
    pub(super) next: u64,
    pub(super) probes: usize,
    /// Whether servers take files ahead.
    pub(super) take_ahead: bool,
}

impl World {
    pub(super) fn new(window: Window) -> Self {
        let subject = Dispatcher::new(DispatchConfig {
            window,
            ..DispatchConfig::default()
        });
        Self {
            subject,
            slots: Vec::new(),
            added: 0,
            dialects: BTreeMap::new(),
            who: BTreeMap::new(),
            now: at(0),
            links: BTreeMap::new(),
            opening: BTreeMap::new(),
            delivered: Vec::new(),
            dead: Vec::new(),
            waiting: Vec::new(),
            came_back: Vec::new(),
            unexpected: Vec::new(),
            next: 1,
            probes: 0,
            take_ahead: true,
        }
    }

    /// A world with servers of these weights, all of them up.
    pub(super) fn up(weights: &[u32], window: Window) -> (Self, Vec<Slot>) {
        let mut world = Self::new(window);
        let slots: Vec<Slot> = weights.iter().map(|weight| world.add(*weight)).collect();
        for slot in &slots {
            world.bring_up(*slot, Dialect::Native);
        }
        (world, slots)
    }

    pub(super) fn add(&mut self, weight: u32) -> Slot {
        let name = format!("s{}", self.added);
        self.added += 1;
        let slot = self.subject.add_server(&name, weight, self.now);
        self.slots.push(slot);
        slot
    }

    pub(super) fn bring_up(&mut self, slot: Slot, dialect: Dialect) {
        self.answer_probe(slot, false, Some(dialect));
        self.open_links();
    }

    pub(super) fn answer_probe(&mut self, slot: Slot, overloaded: bool, dialect: Option<Dialect>) {
        let dialect = dialect
            .or_else(|| self.dialects.get(&slot).copied())
            .unwrap_or(Dialect::Native);
        self.dialects.insert(slot, dialect);
        let who = self.who.get(&slot).cloned().unwrap_or_default();
        let answered = Probed::Answered {
            overloaded,
            dialect,
            memory: None,
            who,
        };
        self.probe(slot, answered);
        self.step(0);
    }

    pub(super) fn fail_probe(&mut self, slot: Slot) {
        self.probe(slot, Probed::Failed("no answer".into()));
    }

    fn probe(&mut self, slot: Slot, probed: Probed) {
        self.subject.probed(slot, probed, at(1), self.now);
    }

    pub(super) fn open_links(&mut self) {
        for (slot, epoch) in std::mem::take(&mut self.opening) {
            self.links.insert(slot, (epoch, Vec::new()));
            self.tell(slot, epoch, opened(Vec::new()));
            if self.take_ahead {
                self.tell(slot, epoch, LinkEvent::TakesAhead);
            }
        }
        self.step(0);
    }

    /// A large file begins to come in; gives the server that it goes ahead to.
    pub(super) fn reserve(&mut self, ticket: u64) -> Option<Slot> {
        let slot = self.subject.reserve(Ticket(ticket), CONTENT);
        self.step(0);
        slot
    }

    /// Its head start ends: the link says so.
    pub(super) fn end_head_start(&mut self, ticket: u64) {
        let reserved = self.subject.reserved.get(&Ticket(ticket));
        if let Some(LinkId { slot, epoch }) = reserved.map(|reservation| reservation.link) {
            self.tell(slot, epoch, LinkEvent::HeadStartOver(Ticket(ticket)));
        }
        self.step(0);
    }

    /// It is accepted.
    pub(super) fn accept_ahead(&mut self, ticket: u64) {
        self.subject
            .accept_ahead(self.next, file(CONTENT), Ticket(ticket));
        self.next += 1;
        self.step(0);
    }

    pub(super) fn accept(&mut self, files: usize) {
        for _ in 0..files {
            self.subject.accept(self.next, file(CONTENT));
            self.next += 1;
        }
        self.step(0);
    }

    /// Lets time pass, and carries out what is decided then.
    pub(super) fn step(&mut self, millis: u64) {
        self.now += at(millis);
        self.subject.advance(self.now);
        let actions: Vec<_> = self.subject.actions().collect();
        for action in actions {
            self.act(action);
        }
        self.check();
    }

    fn act(&mut self, action: Action<Delivery<()>>) {
        match action {
            Action::Send { slot, number } => self.links.get_mut(&slot).unwrap().1.push(number),
            Action::Delivered { number, server, .. } => {
                self.delivered.push((number, server.to_string()));
            }
            Action::OpenLink { link, .. } => drop(self.opening.insert(link.slot, link.epoch)),
            Action::CloseLink { slot } => {
                self.links.remove(&slot);
                self.opening.remove(&slot);
            }
            Action::Probe { .. } => self.probes += 1,
            Action::CameBack { number, .. } => self.came_back.push(number),
            Action::Log(Note::Waits { number, reason, .. }) => self.waiting.push((number, reason)),
            Action::Dead { number, reason, .. } => self.dead.push((number, reason)),
            Action::UnexpectedCopy { slot, number, .. } => self.unexpected.push((slot, number)),
            Action::Log(_) | Action::Flipped { .. } => {}
        }
    }

    pub(super) fn order(&mut self, order: impl FnOnce(&mut Dispatcher<()>, Duration)) {
        order(&mut self.subject, self.now);
        self.step(0);
    }

    /// Forgets the servers that can go; for each a new one comes, which may get its slot. Gives the
    /// old and the new ones.
    pub(super) fn release(&mut self) -> Vec<(Slot, Slot)> {
        let mut replaced = Vec::new();
        for old in self.subject.can_go() {
            self.slots.retain(|slot| *slot != old);
            self.dialects.remove(&old);
            self.order(|subject, now| subject.remove_server(old, now));
            let new = self.add(1);
            replaced.push((old, new));
            self.step(0);
        }
        replaced
    }

    pub(super) fn sent(&self, slot: Slot) -> Vec<u64> {
        self.links
            .get(&slot)
            .map(|(_, numbers)| numbers.clone())
            .unwrap_or_default()
    }

    /// How many files each of these servers has on its link.
    pub(super) fn counts(&self, slots: &[Slot]) -> Vec<usize> {
        slots.iter().map(|slot| self.sent(*slot).len()).collect()
    }

    /// Something happens on the link with this epoch.
    pub(super) fn tell(&mut self, slot: Slot, epoch: u64, event: LinkEvent) {
        let link = LinkId { slot, epoch };
        self.subject.link_event(link, event, self.now);
    }

    /// The server answers for a file on its link.
    fn answer(&mut self, slot: Slot, number: u64, event: LinkEvent) {
        let (epoch, numbers) = self.links.get_mut(&slot).unwrap();
        numbers.retain(|other| *other != number);
        let epoch = *epoch;
        self.tell(slot, epoch, event);
        self.step(0);
    }

    pub(super) fn store(&mut self, slot: Slot, number: u64) {
        self.answer(slot, number, stored(number));
    }

    pub(super) fn store_all(&mut self, slot: Slot) {
        for number in self.sent(slot) {
            self.store(slot, number);
        }
    }

    pub(super) fn refuse(&mut self, slot: Slot, number: u64, code: RefusalCode) {
        self.answer(slot, number, not_stored(number, code));
    }

    pub(super) fn lose(&mut self, slot: Slot, number: u64) {
        let reason = "closed".to_owned();
        self.answer(slot, number, LinkEvent::Lost { number, reason });
    }

    pub(super) fn is_unfit(&mut self, slot: Slot, number: u64, why: NotOldStyle) {
        self.answer(slot, number, LinkEvent::Unfit { number, why });
    }

    pub(super) fn cut(&mut self, slot: Slot) {
        let open = self.links.get(&slot).map(|(epoch, _)| *epoch);
        if let Some(epoch) = open.or(self.opening.get(&slot).copied()) {
            self.tell(slot, epoch, LinkEvent::Closed("cut".to_owned()));
            self.step(0);
        }
    }

    pub(super) fn is_paused(&self, place: usize) -> bool {
        self.subject.status(at(0), self.now).servers[place].state == ServerState::Paused
    }

    /// A file is in flight to the server that it was sent to and to no other, and the scheduler
    /// knows who is eligible.
    fn check(&self) {
        let mut in_flight = 0;
        for slot in &self.slots {
            let server = self.subject.servers.get(*slot).unwrap();
            let mut sent = self.sent(*slot);
            sent.sort_unstable();
            let mut known: Vec<u64> = server.in_flight.keys().copied().collect();
            known.sort_unstable();
            assert_eq!(sent, known, "{}", server.name);
            in_flight += known.len();
            let reserved = self.subject.reserved.values();
            let reserved = reserved.filter(|reservation| reservation.link.slot == *slot);
            let taken: u64 = server.in_flight.values().map(|sent| sent.part).sum();
            let taken = taken + reserved.map(|reservation| reservation.part).sum::<u64>();
            assert_eq!(server.taken, taken, "{}", server.name);
            let is_open = server.window_is_open(self.subject.config.window, self.subject.heaviest);
            let eligible = server.health.is_good() && is_open;
            assert_eq!(server.eligible, eligible, "{}", server.name);
            assert_eq!(self.subject.scheduler.weight(*slot), Some(server.weight));
            assert_eq!(
                self.subject.scheduler.is_eligible(*slot),
                eligible && server.weight > 0
            );
        }
        let depth = self.subject.queue.depth();
        assert_eq!(depth.taken, in_flight);
        let waits_for_nobody = depth.ready > 0 && self.subject.scheduler.eligible_count() > 0;
        assert!(
            !waits_for_nobody || self.subject.ready().1,
            "ready files wait for nobody"
        );
        // The core has it in debug builds only.
        #[cfg(debug_assertions)]
        self.subject.scheduler.check_invariants();
    }
}
