//! The dispatcher driven without a socket or a clock: a world of pretended servers answers what it decides.

use super::server::LEAST_WINDOW;
use super::*;
use crate::protocol::RefusalCode;
use crate::queue::{MemoryQueue, Numbers};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Subject = Dispatcher<(), MemoryQueue<Held<()>>>;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The dispatcher, and what a hub would keep: open links, parcels on them, deliveries.
struct World {
    subject: Subject,
    slots: Vec<Slot>,
    now: Duration,
    links: BTreeMap<Slot, (u64, Vec<u64>)>,
    opening: BTreeMap<Slot, u64>,
    delivered: Vec<(u64, String)>,
    probes: usize,
}

impl World {
    fn new(window: Window) -> Self {
        let subject = Dispatcher::new(MemoryQueue::new(Numbers::in_memory()), window, HealthConfig::default());
        let (links, opening) = (BTreeMap::new(), BTreeMap::new());
        Self { subject, slots: Vec::new(), now: at(0), links, opening, delivered: Vec::new(), probes: 0 }
    }

    /// A world with servers of these weights, all of them up.
    fn up(weights: &[u32], window: Window) -> (Self, Vec<Slot>) {
        let mut world = Self::new(window);
        let slots: Vec<Slot> = weights.iter().map(|weight| world.add(*weight)).collect();
        for slot in &slots {
            world.bring_up(*slot, Dialect::Native);
        }
        (world, slots)
    }

    fn add(&mut self, weight: u32) -> Slot {
        let name = format!("s{}", self.subject.servers.len());
        let slot = self.subject.add_server(&name, weight, self.now);
        self.slots.push(slot);
        slot
    }

    fn bring_up(&mut self, slot: Slot, dialect: Dialect) {
        self.answer_probe(slot, false, Some(dialect));
        self.open_links();
    }

    fn answer_probe(&mut self, slot: Slot, overloaded: bool, dialect: Option<Dialect>) {
        self.subject.probed(slot, Probed::Answered { overloaded, dialect }, self.now);
        self.step(0);
    }

    fn open_links(&mut self) {
        for (slot, epoch) in std::mem::take(&mut self.opening) {
            self.links.insert(slot, (epoch, Vec::new()));
            self.subject.link_opened(slot, epoch, self.now);
        }
        self.step(0);
    }

    fn accept(&mut self, files: usize) {
        for _ in 0..files {
            self.subject.accept("t.json".into(), Bytes::from_static(b"content"), (), self.now).unwrap();
        }
        self.step(0);
    }

    /// Lets time pass, and carries out what is decided then.
    fn step(&mut self, millis: u64) {
        self.now += at(millis);
        self.subject.advance(self.now);
        for action in self.subject.actions() {
            match action {
                Action::Send { slot, parcel } => self.links.get_mut(&slot).unwrap().1.push(parcel.number),
                Action::Delivered { number, server, .. } => self.delivered.push((number, server.to_string())),
                Action::OpenLink { slot, epoch, .. } => drop(self.opening.insert(slot, epoch)),
                Action::CloseLink { slot } => {
                    self.links.remove(&slot);
                    self.opening.remove(&slot);
                }
                Action::Probe { .. } => self.probes += 1,
            }
        }
        self.check();
    }

    fn sent(&self, slot: Slot) -> Vec<u64> {
        self.links.get(&slot).map(|(_, numbers)| numbers.clone()).unwrap_or_default()
    }

    fn store(&mut self, slot: Slot, number: u64) {
        let (epoch, numbers) = self.links.get_mut(&slot).unwrap();
        numbers.retain(|other| *other != number);
        let epoch = *epoch;
        self.subject.stored(slot, epoch, number, true, self.now);
        self.step(0);
    }

    fn store_all(&mut self, slot: Slot) {
        self.sent(slot).into_iter().for_each(|number| self.store(slot, number));
    }

    fn refuse(&mut self, slot: Slot, number: u64, code: RefusalCode) {
        let (epoch, numbers) = self.links.get_mut(&slot).unwrap();
        numbers.retain(|other| *other != number);
        let epoch = *epoch;
        self.subject.not_stored(slot, epoch, number, &Refusal::new(code, "no"), self.now);
        self.step(0);
    }

    fn cut(&mut self, slot: Slot) {
        let Some(epoch) = self.links.get(&slot).map(|(epoch, _)| *epoch).or(self.opening.get(&slot).copied()) else {
            return;
        };
        self.subject.link_closed(slot, epoch, "cut", self.now);
        self.step(0);
    }

    /// A file is in flight to the server that it was sent to and to no other, and the scheduler knows who is eligible.
    fn check(&self) {
        let mut in_flight = 0;
        for slot in &self.slots {
            let server = self.subject.servers[slot.index()].as_ref().unwrap();
            let mut sent = self.sent(*slot);
            sent.sort_unstable();
            let mut known: Vec<u64> = server.in_flight.keys().copied().collect();
            known.sort_unstable();
            assert_eq!(sent, known, "{}", server.name);
            in_flight += known.len();
            let eligible = server.health.is_good() && self.subject.window_is_open(server);
            assert_eq!(server.eligible, eligible, "{}", server.name);
            assert_eq!(self.subject.scheduler.weight(*slot), Some(server.weight));
            assert_eq!(self.subject.scheduler.is_eligible(*slot), eligible && server.weight > 0);
        }
        let depth = self.subject.queue.depth();
        assert_eq!(depth.taken, in_flight);
        assert!(depth.ready == 0 || self.subject.scheduler.eligible_count() == 0, "ready files wait for nobody");
        self.subject.scheduler.check_invariants();
    }
}

#[test]
fn files_go_by_weight() {
    let (mut world, slots) = World::up(&[3, 2, 1], Window::default());
    world.accept(60);
    assert_eq!(slots.iter().map(|slot| world.sent(*slot).len()).collect::<Vec<_>>(), [30, 20, 10]);
}

#[test]
fn weight_zero_gets_nothing() {
    let (mut world, slots) = World::up(&[1, 0], Window::default());
    world.accept(10);
    assert_eq!((world.sent(slots[0]).len(), world.sent(slots[1]).len()), (10, 0));
    let report = world.subject.status(world.now);
    assert_eq!(report.servers[1].reason.as_deref(), Some("drain: weight 0"));
}

#[test]
fn a_full_window_holds_files_back_until_one_is_stored() {
    let (mut world, slots) = World::up(&[1], Window { files: 3, bytes: u64::MAX });
    world.accept(5);
    assert_eq!(world.sent(slots[0]), [1, 2, 3]);
    world.store(slots[0], 2);
    assert_eq!(world.sent(slots[0]), [1, 3, 4]);
    assert_eq!(world.subject.status(world.now).servers[0].reason.as_deref(), Some("window: full"));
}

/// With every window full a server gets a file whenever it acknowledges one: equal windows would make equal shares.
#[test]
fn windows_keep_the_shares_when_all_are_full() {
    let (mut world, slots) = World::up(&[3, 2, 1], Window { files: 300, bytes: u64::MAX });
    world.accept(1000);
    assert_eq!(slots.iter().map(|slot| world.sent(*slot).len()).collect::<Vec<_>>(), [300, 200, 100]);
    let (world, _) = World::up(&[1_000_000, 1], Window { files: 300, bytes: 1 << 30 });
    let least = world.subject.window.scaled(1, world.subject.heaviest);
    assert_eq!((least.files, least.bytes), (LEAST_WINDOW.files, LEAST_WINDOW.bytes));
    let (world, _) = World::up(&[2, 1], Window { files: 3, bytes: 10 });
    assert_eq!(
        (
            world.subject.window.scaled(1, world.subject.heaviest).files,
            world.subject.window.scaled(1, world.subject.heaviest).bytes
        ),
        (3, 10)
    );
}

#[test]
fn a_file_larger_than_the_window_goes_alone() {
    let (mut world, slots) = World::up(&[1], Window { files: 10, bytes: 3 });
    world.accept(2);
    assert_eq!(world.sent(slots[0]), [1]);
    world.store(slots[0], 1);
    assert_eq!(world.sent(slots[0]), [2]);
}

#[test]
fn a_cut_link_sends_its_files_elsewhere_at_once_and_asks_for_a_probe() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(10);
    world.store(slots[0], 1);
    world.cut(slots[0]);
    assert_eq!(world.sent(slots[1]).len(), 9);
    assert_eq!(world.probes, 1);
    assert!(!world.subject.status(world.now).servers[0].eligible);

    world.answer_probe(slots[0], false, Some(Dialect::Native));
    assert!(world.opening.is_empty(), "a link that has just failed is not opened again at once");
    world.step(100);
    world.open_links();
    world.accept(10);
    assert_eq!(world.sent(slots[0]).len(), 5);
}

#[test]
fn acks_of_an_older_link_count_for_nothing() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(1);
    let (epoch, _) = world.links[&slots[0]];
    world.cut(slots[0]);
    world.subject.stored(slots[0], epoch, 1, true, world.now);
    world.step(0);
    assert!(world.delivered.is_empty());
    assert_eq!(world.subject.undelivered(), 1);
}

#[test]
fn an_ack_for_a_file_that_was_never_sent_counts_for_nothing() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    let (epoch, _) = world.links[&slots[1]];
    world.subject.stored(slots[1], epoch, world.sent(slots[0])[0], true, world.now);
    world.subject.stored(slots[1], epoch, 99, true, world.now);
    world.step(0);
    assert!(world.delivered.is_empty());
}

#[test]
fn an_overloaded_server_gets_nothing_new_and_keeps_what_it_has() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    world.answer_probe(slots[0], true, None);
    world.accept(4);
    assert_eq!((world.sent(slots[0]).len(), world.sent(slots[1]).len()), (1, 5));
    world.answer_probe(slots[0], false, None);
    world.accept(2);
    assert_eq!(world.sent(slots[0]).len(), 2);
}

#[test]
fn with_nobody_eligible_files_wait_and_nothing_is_due() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    for slot in &slots {
        world.answer_probe(*slot, true, None);
    }
    world.accept(5);
    assert_eq!(world.subject.next_due(), None, "only a probe can change anything");
    world.answer_probe(slots[1], false, None);
    assert_eq!(world.sent(slots[1]), [1, 2, 3, 4, 5]);
}

#[test]
fn a_server_that_cannot_store_is_paused_and_its_files_go_elsewhere() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(4);
    for number in world.sent(slots[0]) {
        world.refuse(slots[0], number, RefusalCode::Storage);
    }
    assert_eq!(world.sent(slots[1]).len(), 4);
    assert!(world.subject.status(world.now).servers[0].reason.as_deref().unwrap().contains("storage"));
    let due = world.subject.next_due().unwrap();
    world.step(u64::try_from(due.saturating_sub(world.now).as_millis()).unwrap());
    world.accept(2);
    assert_eq!(world.sent(slots[0]).len(), 1, "it is tried again");
}

#[test]
fn a_file_that_everyone_refuses_waits_longer_each_time_and_holds_up_no_other() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(1);
    let mut waits = Vec::new();
    for _ in 0..5 {
        for _ in 0..2 {
            let slot = *slots.iter().find(|slot| world.sent(**slot).contains(&1)).unwrap();
            world.refuse(slot, 1, RefusalCode::Malformed);
        }
        assert!(slots.iter().all(|slot| !world.sent(*slot).contains(&1)));
        let wait = world.subject.next_due().unwrap().saturating_sub(world.now);
        waits.push(wait);
        world.accept(1);
        world.step(u64::try_from(wait.as_millis()).unwrap() + 1);
    }
    assert!(waits.is_sorted() && waits[4] > waits[0] * 8, "{waits:?}");
    for slot in slots {
        world.store_all(slot);
    }
    assert_eq!(world.delivered.len(), 6);
}

#[test]
fn large_files_pass_old_style_servers_by() {
    let mut world = World::new(Window::default());
    let (old, native) = (world.add(1), world.add(1));
    world.bring_up(old, Dialect::OldStyle);
    let large = Bytes::from(vec![b'x'; 5000]);
    for content in [large.clone(), Bytes::from_static(b"small"), large, Bytes::from_static(b"\xff")] {
        world.subject.accept("t".into(), content, (), world.now).unwrap();
    }
    world.step(0);
    assert_eq!(world.sent(old), [2]);
    world.bring_up(native, Dialect::Native);
    assert_eq!(world.sent(native), [1, 3, 4], "they go as soon as a server that can take them comes up");
}

#[test]
fn a_server_that_speaks_another_language_now_gets_a_new_link() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(2);
    let (first, _) = world.links[&slots[0]];
    world.bring_up(slots[0], Dialect::OldStyle);
    assert_ne!(world.links[&slots[0]].0, first);
    assert_eq!(world.sent(slots[0]), [1, 2]);
}

#[test]
fn two_failed_probes_bring_a_server_down_with_its_link() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    for _ in 0..2 {
        world.subject.probed(slots[0], Probed::Failed("no answer".into()), world.now);
        world.step(1000);
    }
    assert_eq!(world.sent(slots[1]).len(), 2);
    let report = world.subject.status(world.now);
    assert_eq!(report.servers[0].reason.as_deref(), Some("connection: no answer"));
    assert_eq!((report.servers[0].returned, report.servers[1].in_flight), (1, 2));
}

#[test]
fn waits_are_bounded_and_spread() {
    assert!((0..100).map(|number| backoff(number, 0)).all(|wait| wait > at(49) && wait <= at(100)));
    assert!((0..100).map(|number| backoff(number, u32::MAX)).all(|wait| wait > at(14_999) && wait <= at(30_000)));
    let different: BTreeSet<_> = (0..100).map(|number| backoff(number, 3)).collect();
    assert!(different.len() > 50);
}

#[derive(Debug, Clone)]
enum Step {
    Accept(usize),
    Pass(u64),
    StoreAll(usize),
    StoreOne(usize),
    Refuse(usize, bool),
    Cut(usize),
    ProbeOk(usize, bool),
    ProbeFailed(usize),
    OpenLinks,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..20).prop_map(Step::Accept),
        3 => (0u64..2000).prop_map(Step::Pass),
        3 => (0usize..4).prop_map(Step::StoreAll),
        3 => (0usize..4).prop_map(Step::StoreOne),
        2 => (0usize..4, any::<bool>()).prop_map(|(server, wide)| Step::Refuse(server, wide)),
        2 => (0usize..4).prop_map(Step::Cut),
        4 => (0usize..4, prop::bool::weighted(0.2)).prop_map(|(server, byte)| Step::ProbeOk(server, byte)),
        2 => (0usize..4).prop_map(Step::ProbeFailed),
        3 => Just(Step::OpenLinks),
    ]
}

proptest! {
    /// Whatever happens, every file is delivered once in the end, and only what can be sent is sent.
    #[test]
    fn every_file_is_delivered_once_whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut world, slots) = World::up(&[5, 2, 1, 1], Window { files: 8, bytes: 50 });
        let mut accepted = 0;
        for step in steps {
            match step {
                Step::Accept(files) => {
                    accepted += files;
                    world.accept(files);
                }
                Step::Pass(millis) => world.step(millis),
                Step::StoreAll(server) => world.store_all(slots[server]),
                Step::StoreOne(server) => {
                    if let Some(number) = world.sent(slots[server]).last() {
                        world.store(slots[server], *number);
                    }
                }
                Step::Refuse(server, wide) => {
                    let code = if wide { RefusalCode::Storage } else { RefusalCode::Malformed };
                    if let Some(number) = world.sent(slots[server]).first() {
                        world.refuse(slots[server], *number, code);
                    }
                }
                Step::Cut(server) => world.cut(slots[server]),
                Step::ProbeOk(server, byte) => world.answer_probe(slots[server], byte, None),
                Step::ProbeFailed(server) => {
                    world.subject.probed(slots[server], Probed::Failed("no answer".into()), world.now);
                    world.step(0);
                }
                Step::OpenLinks => world.open_links(),
            }
        }
        // Once every server is well again, everything drains.
        for _ in 0..200 {
            for slot in &slots {
                world.answer_probe(*slot, false, None);
                world.open_links();
                world.store_all(*slot);
            }
            world.step(1000);
        }
        prop_assert!(world.subject.is_empty());
        let mut numbers: Vec<u64> = world.delivered.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        prop_assert!(numbers.into_iter().eq(1..=accepted as u64));
    }
}
