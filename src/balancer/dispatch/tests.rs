//! The dispatcher driven without a socket or a clock: a world of pretended servers answers what it
//! decides.

use super::server::LEAST_WINDOW;
use super::*;
use crate::protocol::RefusalCode;
use crate::protocol::lists;
use crate::protocol::status::ServerState;
use crate::queue::record::History;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Subject = Dispatcher<()>;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The dispatcher, and what a hub would keep: open links, parcels on them, deliveries.
struct World {
    subject: Subject,
    slots: Vec<Slot>,
    /// What the servers said last that they speak.
    dialects: BTreeMap<Slot, Dialect>,
    /// Who the servers say that they are.
    who: BTreeMap<Slot, Who>,
    now: Duration,
    links: BTreeMap<Slot, (u64, Vec<u64>)>,
    opening: BTreeMap<Slot, u64>,
    delivered: Vec<(u64, String)>,
    dead: Vec<(u64, String)>,
    strays: Vec<(Slot, u64)>,
    next: u64,
    probes: usize,
}

/// A file of this size, as the queue holds it.
fn file(content: &Bytes, fits_old_style: bool) -> Queued<Delivery<()>> {
    let (size, crc32c) = (content.len() as u64, 7);
    let meta = Meta {
        title: "t.json".into(),
        key: None,
        from: "f".into(),
        size,
        crc32c,
        accepted_ms: 0,
    };
    let not_old_style = (!fits_old_style).then_some(NotOldStyle::TooLarge);
    let (meta, content) = (Arc::new(meta), FileBody::Memory(content.clone(), None));
    Queued {
        meta,
        content,
        history: History::default(),
        tag: Delivery::new((), not_old_style),
    }
}

impl World {
    fn new(window: Window) -> Self {
        let subject = Dispatcher::new(DispatchConfig {
            window,
            ..DispatchConfig::default()
        });
        let (links, opening) = (BTreeMap::new(), BTreeMap::new());
        Self {
            subject,
            slots: Vec::new(),
            dialects: BTreeMap::new(),
            who: BTreeMap::new(),
            now: at(0),
            links,
            opening,
            delivered: Vec::new(),
            dead: Vec::new(),
            strays: Vec::new(),
            next: 1,
            probes: 0,
        }
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
        self.subject
            .probed(slot, answered, Duration::from_millis(1), self.now);
        self.step(0);
    }

    fn open_links(&mut self) {
        for (slot, epoch) in std::mem::take(&mut self.opening) {
            self.links.insert(slot, (epoch, Vec::new()));
            self.subject
                .link_opened(slot, epoch, Some(Vec::new()), self.now);
        }
        self.step(0);
    }

    fn accept(&mut self, files: usize) {
        for _ in 0..files {
            self.subject
                .accept(self.next, file(&Bytes::from_static(b"content"), true));
            self.next += 1;
        }
        self.step(0);
    }

    /// Lets time pass, and carries out what is decided then.
    fn step(&mut self, millis: u64) {
        self.now += at(millis);
        self.subject.advance(self.now);
        for action in self.subject.actions() {
            match action {
                Action::Send { slot, parcel } => {
                    self.links.get_mut(&slot).unwrap().1.push(parcel.number)
                }
                Action::Delivered { number, server, .. } => {
                    self.delivered.push((number, server.to_string()))
                }
                Action::OpenLink { slot, epoch, .. } => drop(self.opening.insert(slot, epoch)),
                Action::CloseLink { slot } => {
                    self.links.remove(&slot);
                    self.opening.remove(&slot);
                }
                Action::Probe { .. } => self.probes += 1,
                Action::CameBack { .. } | Action::Flipped { .. } => {}
                Action::Dead { number, reason, .. } => self.dead.push((number, reason)),
                Action::Stray { slot, number, .. } => self.strays.push((slot, number)),
            }
        }
        self.check();
    }

    fn order(&mut self, order: impl FnOnce(&mut Dispatcher<()>, Duration)) {
        order(&mut self.subject, self.now);
        self.step(0);
    }

    /// Forgets the servers that can go; for each a new one comes, which may get its slot. Gives the
    /// old and the new ones.
    fn release(&mut self) -> Vec<(Slot, Slot)> {
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

    fn sent(&self, slot: Slot) -> Vec<u64> {
        self.links
            .get(&slot)
            .map(|(_, numbers)| numbers.clone())
            .unwrap_or_default()
    }

    fn store(&mut self, slot: Slot, number: u64) {
        let (epoch, numbers) = self.links.get_mut(&slot).unwrap();
        numbers.retain(|other| *other != number);
        let epoch = *epoch;
        self.subject.stored(slot, epoch, number, true, self.now);
        self.step(0);
    }

    fn store_all(&mut self, slot: Slot) {
        self.sent(slot)
            .into_iter()
            .for_each(|number| self.store(slot, number));
    }

    fn refuse(&mut self, slot: Slot, number: u64, code: RefusalCode) {
        let (epoch, numbers) = self.links.get_mut(&slot).unwrap();
        numbers.retain(|other| *other != number);
        let epoch = *epoch;
        self.subject
            .not_stored(slot, epoch, number, &Refusal::new(code, "no"), self.now);
        self.step(0);
    }

    fn cut(&mut self, slot: Slot) {
        let Some(epoch) = self
            .links
            .get(&slot)
            .map(|(epoch, _)| *epoch)
            .or(self.opening.get(&slot).copied())
        else {
            return;
        };
        self.subject.link_closed(slot, epoch, "cut", self.now);
        self.step(0);
    }

    /// A file is in flight to the server that it was sent to and to no other, and the scheduler
    /// knows who is eligible.
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
        self.subject.scheduler.check_invariants();
    }
}

#[test]
fn files_go_by_weight() {
    let (mut world, slots) = World::up(&[3, 2, 1], Window::default());
    world.accept(60);
    assert_eq!(
        slots
            .iter()
            .map(|slot| world.sent(*slot).len())
            .collect::<Vec<_>>(),
        [30, 20, 10]
    );
}

#[test]
fn weight_zero_gets_nothing() {
    let (mut world, slots) = World::up(&[1, 0], Window::default());
    world.accept(10);
    assert_eq!(
        (world.sent(slots[0]).len(), world.sent(slots[1]).len()),
        (10, 0)
    );
    let report = world.subject.status(at(0), world.now);
    assert_eq!(report.servers[1].reason.as_deref(), Some("drain: weight 0"));
}

#[test]
fn a_full_window_holds_files_back_until_one_is_stored() {
    let (mut world, slots) = World::up(
        &[1],
        Window {
            files: 3,
            bytes: u64::MAX,
        },
    );
    world.accept(5);
    assert_eq!(world.sent(slots[0]), [1, 2, 3]);
    world.store(slots[0], 2);
    assert_eq!(world.sent(slots[0]), [1, 3, 4]);
    let report = world.subject.status(at(0), world.now).servers.remove(0);
    assert_eq!(
        (report.state, report.reason.as_deref()),
        (ServerState::Full, Some("window: full"))
    );
    assert!(
        report.is_in_service() && !report.eligible,
        "it is busy, which is no trouble"
    );
}

#[test]
fn a_new_weight_changes_the_shares_from_the_next_file_on() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(20);
    world.order(|subject, now| subject.set_weight(slots[1], 3, now));
    world.accept(40);
    assert_eq!(
        slots
            .iter()
            .map(|slot| world.sent(*slot).len())
            .collect::<Vec<_>>(),
        [20, 40]
    );
    world.order(|subject, now| subject.set_weight(slots[1], 0, now));
    world.accept(5);
    assert_eq!(
        (world.sent(slots[0]).len(), world.sent(slots[1]).len()),
        (25, 40)
    );
    world.order(|subject, now| subject.set_weight(slots[1], 1, now));
    assert_eq!(
        world.subject.status(at(0), world.now).servers[1].state,
        ServerState::Up
    );
}

#[test]
fn windows_follow_the_heaviest_weight() {
    let (mut world, slots) = World::up(
        &[1, 1],
        Window {
            files: 100,
            bytes: u64::MAX,
        },
    );
    let window = |world: &World, place: usize| {
        world.subject.status(at(0), world.now).servers[place].window_files
    };
    assert_eq!((window(&world, 0), window(&world, 1)), (100, 100));
    world.order(|subject, now| subject.set_weight(slots[0], 4, now));
    assert_eq!((window(&world, 0), window(&world, 1)), (100, 25));
    world.order(|subject, now| subject.set_weight(slots[0], 1, now));
    assert_eq!((window(&world, 0), window(&world, 1)), (100, 100));
}

#[test]
fn a_drained_server_finishes_what_it_has_and_gets_nothing_new() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(4);
    world.order(|subject, now| subject.drain(slots[0], true, now));
    world.accept(4);
    assert_eq!(
        (world.sent(slots[0]).len(), world.sent(slots[1]).len()),
        (2, 6)
    );
    world.store_all(slots[0]);
    assert_eq!(world.delivered.len(), 2);
    let report = world.subject.status(at(0), world.now).servers[0].clone();
    assert_eq!((report.state, report.drained), (ServerState::Drained, true));
    // Neither probes nor another weight bring it back.
    world.order(|subject, now| subject.set_weight(slots[0], 9, now));
    world.answer_probe(slots[0], false, None);
    world.accept(4);
    assert!(world.sent(slots[0]).is_empty());
    world.order(|subject, now| subject.drain(slots[0], false, now));
    world.accept(10);
    assert!(world.sent(slots[0]).len() >= 9);
}

#[test]
fn a_server_that_leaves_goes_when_nothing_is_in_flight_and_its_slot_starts_anew() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(4);
    world.refuse(slots[0], 1, RefusalCode::TooLarge);
    world.order(|subject, now| subject.leave(slots[0], true, now));
    assert_eq!(world.release(), []);
    assert_eq!(
        world.subject.status(at(0), world.now).servers[0].state,
        ServerState::Removing
    );
    world.store_all(slots[0]);
    let replaced = world.release();
    assert_eq!(replaced.len(), 1);
    let new = replaced[0].1;
    assert_eq!(world.subject.status(at(0), world.now).servers.len(), 2);
    // What the old one refused the new one may get, though it has the same slot.
    assert_eq!(new.index(), slots[0].index());
    world.bring_up(new, Dialect::Native);
    world.cut(slots[1]);
    assert_eq!(world.sent(new), [1, 2, 4]);
}

#[test]
fn a_server_that_is_down_can_go_at_once_and_nothing_waits_for_it() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.subject.config.in_doubt = InDoubt::Wait;
    world.accept(4);
    world.cut(slots[0]);
    assert_eq!(
        world.subject.queue.depth().delayed,
        2,
        "they may be stored there"
    );
    world.order(|subject, now| subject.leave(slots[0], true, now));
    assert_eq!(world.release().len(), 1);
    assert_eq!(world.sent(slots[1]).len(), 4);
}

/// With every window full a server gets a file whenever it acknowledges one: equal windows would
/// make equal shares.
#[test]
fn windows_keep_the_shares_when_all_are_full() {
    let (mut world, slots) = World::up(
        &[3, 2, 1],
        Window {
            files: 300,
            bytes: u64::MAX,
        },
    );
    world.accept(1000);
    assert_eq!(
        slots
            .iter()
            .map(|slot| world.sent(*slot).len())
            .collect::<Vec<_>>(),
        [300, 200, 100]
    );
    let (world, _) = World::up(
        &[1_000_000, 1],
        Window {
            files: 300,
            bytes: 1 << 30,
        },
    );
    let least = world
        .subject
        .config
        .window
        .scaled(1, world.subject.heaviest);
    assert_eq!(
        (least.files, least.bytes),
        (LEAST_WINDOW.files, LEAST_WINDOW.bytes)
    );
    let (world, _) = World::up(
        &[2, 1],
        Window {
            files: 3,
            bytes: 10,
        },
    );
    assert_eq!(
        (
            world
                .subject
                .config
                .window
                .scaled(1, world.subject.heaviest)
                .files,
            world
                .subject
                .config
                .window
                .scaled(1, world.subject.heaviest)
                .bytes
        ),
        (3, 10)
    );
}

#[test]
fn a_file_larger_than_the_window_goes_alone() {
    let (mut world, slots) = World::up(
        &[1],
        Window {
            files: 10,
            bytes: 3,
        },
    );
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
    assert!(!world.subject.status(at(0), world.now).servers[0].eligible);

    world.answer_probe(slots[0], false, Some(Dialect::Native));
    assert!(
        world.opening.is_empty(),
        "a link that has just failed is not opened again at once"
    );
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
    world
        .subject
        .stored(slots[1], epoch, world.sent(slots[0])[0], true, world.now);
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
    assert_eq!(
        (world.sent(slots[0]).len(), world.sent(slots[1]).len()),
        (1, 5)
    );
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
    assert_eq!(
        world.subject.next_due(),
        None,
        "only a probe can change anything"
    );
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
    assert!(
        world.subject.status(at(0), world.now).servers[0]
            .reason
            .as_deref()
            .unwrap()
            .contains("storage")
    );
    let due = world.subject.next_due().unwrap();
    world.step(u64::try_from(due.saturating_sub(world.now).as_millis()).unwrap());
    world.accept(2);
    assert_eq!(world.sent(slots[0]).len(), 1, "it is tried again");
}

/// Damage on the way is nobody's lasting refusal: the file is tried again, later each time, up to a
/// limit.
#[test]
fn a_file_that_everyone_refuses_for_now_waits_longer_each_time_and_holds_up_no_other() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(1);
    let mut waits = Vec::new();
    for _ in 0..7 {
        for _ in 0..2 {
            let slot = *slots
                .iter()
                .find(|slot| world.sent(**slot).contains(&1))
                .unwrap();
            world.refuse(slot, 1, RefusalCode::Checksum);
        }
        assert!(slots.iter().all(|slot| !world.sent(*slot).contains(&1)));
        let wait = world.subject.next_due().unwrap().saturating_sub(world.now);
        waits.push(wait);
        world.accept(1);
        world.step(u64::try_from(wait.as_millis()).unwrap() + 1);
    }
    assert!(waits.is_sorted() && waits[6] > waits[0] * 8, "{waits:?}");
    for _ in 0..2 {
        let slot = *slots
            .iter()
            .find(|slot| world.sent(**slot).contains(&1))
            .unwrap();
        world.refuse(slot, 1, RefusalCode::Checksum);
    }
    assert_eq!(world.dead.len(), 1);
    assert!(
        world.dead[0].1.contains("refused 16 times"),
        "{:?}",
        world.dead
    );
    for slot in slots {
        world.store_all(slot);
    }
    assert_eq!(world.delivered.len(), 7);
}

#[test]
fn a_file_that_every_server_refuses_for_good_is_a_dead_letter_at_once() {
    let (mut world, slots) = World::up(&[2, 1, 0], Window::default());
    world.accept(1);
    for _ in 0..2 {
        let slot = *slots
            .iter()
            .find(|slot| world.sent(**slot).contains(&1))
            .unwrap();
        world.refuse(slot, 1, RefusalCode::TooLarge);
    }
    assert_eq!(world.dead, [(1, "every server refuses it: no".to_owned())]);
    assert!(world.subject.is_empty());
}

#[test]
fn a_server_that_is_away_may_still_take_what_the_others_refuse() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.cut(slots[1]);
    world.accept(1);
    world.refuse(slots[0], 1, RefusalCode::TooLarge);
    world.step(60_000);
    assert!(
        world.dead.is_empty() && world.sent(slots[0]).is_empty(),
        "it waits for the other one"
    );
    world.answer_probe(slots[1], false, Some(Dialect::Native));
    world.open_links();
    assert_eq!(world.sent(slots[1]), [1]);
}

#[test]
fn full_and_busy_servers_make_no_dead_letters() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(1);
    for _ in 0..40 {
        world.refuse(slots[0], 1, RefusalCode::Storage);
        for _ in 0..4 {
            world.step(20_000);
        }
    }
    assert!(world.dead.is_empty());
    assert_eq!(world.sent(slots[0]), [1]);
}

impl World {
    /// The server stores or refuses what it is sent, each file as it comes.
    fn serve(&mut self, slot: Slot, takes: impl Fn(u64) -> bool) {
        while let Some(number) = self.sent(slot).first().copied() {
            if takes(number) {
                self.store(slot, number)
            } else {
                self.refuse(slot, number, RefusalCode::Storage)
            }
        }
    }

    /// For each of so many seconds a file comes, and the servers do as told.
    fn live(&mut self, seconds: usize, slots: &[Slot], takes: impl Fn(Slot, u64) -> bool) {
        for _ in 0..seconds {
            self.accept(1);
            for slot in slots {
                self.serve(*slot, |number| takes(*slot, number));
            }
            self.step(1000);
            for slot in slots {
                self.serve(*slot, |number| takes(*slot, number));
            }
        }
    }

    fn is_paused(&self, place: usize) -> bool {
        self.subject.status(at(0), self.now).servers[place].state == ServerState::Paused
    }
}

/// A file whose name no file system takes paused every server again and again, was sent for ever,
/// and was no dead letter.
#[test]
fn a_file_that_no_server_can_store_pauses_nobody_and_becomes_a_dead_letter() {
    let (mut world, slots) = World::up(&[2, 1], Window::default());
    let mut paused = 0;
    for _ in 0..600 {
        world.live(1, &slots, |_, number| number != 1);
        paused += usize::from(world.is_paused(0)) + usize::from(world.is_paused(1));
    }
    assert_eq!(paused, 0);
    assert_eq!((world.dead.len(), world.delivered.len()), (1, 599));
    assert!(
        world.dead[0]
            .1
            .starts_with("refused 16 times, the last time: no"),
        "{:?}",
        world.dead
    );
}

/// With nothing but such files there is no telling whether the servers or the files are at fault.
#[test]
fn a_file_alone_waits_for_ever_and_dies_once_others_are_stored() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(1);
    for _ in 0..1000 {
        world.step(1000);
        for slot in &slots {
            world.serve(*slot, |_| false);
        }
    }
    assert!(world.dead.is_empty() && !world.is_paused(0) && !world.is_paused(1));
    world.live(800, &slots, |_, number| number != 1);
    assert_eq!((world.dead.len(), world.delivered.len()), (1, 800));
}

#[test]
fn two_bad_files_do_not_stop_a_good_server() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(2);
    world.live(600, &slots, |_, number| number > 2);
    assert_eq!((world.dead.len(), world.delivered.len()), (2, 600));
}

#[test]
fn full_servers_keep_every_file_and_are_tried_with_one_at_a_time() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(50);
    for slot in &slots {
        let first = world.sent(*slot);
        for number in &first {
            world.refuse(*slot, *number, RefusalCode::Storage);
        }
    }
    assert!(world.is_paused(0) && world.is_paused(1));
    for _ in 0..2000 {
        world.step(500);
        for slot in &slots {
            assert!(world.sent(*slot).len() <= 1, "{:?}", world.sent(*slot));
            world.serve(*slot, |_| false);
        }
    }
    assert!(world.dead.is_empty());
    world.live(60, &slots, |_, _| true);
    assert_eq!(
        (world.delivered.len(), world.subject.is_empty()),
        (110, true)
    );
}

/// Consumers take files away from a full disk now and then: one file is stored for many that are
/// refused.
#[test]
fn a_disk_that_is_nearly_full_makes_no_dead_letters() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.subject.config.max_attempts = 2;
    world.accept(20);
    for _ in 0..500 {
        world.step(1000);
        let room = std::cell::Cell::new(1);
        // The oldest are too large for the little room that there is.
        world.serve(slots[0], |number| number > 10 && room.replace(0) > 0);
        world.accept(2);
    }
    assert!(world.dead.is_empty(), "{:?}", world.dead);
}

#[test]
fn a_server_is_to_blame_for_what_another_one_stores() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(1);
    let first = *slots
        .iter()
        .find(|slot| !world.sent(**slot).is_empty())
        .unwrap();
    let second = *slots.iter().find(|slot| **slot != first).unwrap();
    world.refuse(first, 1, RefusalCode::Storage);
    assert!(!world.is_paused(first.index()), "the file may be at fault");
    world.store(second, 1);
    assert!(world.is_paused(first.index()) && !world.is_paused(second.index()));
}

/// It was sent a whole window of files again as soon as it had answered a probe.
#[test]
fn a_silent_server_is_left_alone_for_longer_each_time_and_tried_with_one_file() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    let mut waits = Vec::new();
    for round in 0..6 {
        world.accept(20);
        assert_eq!(world.sent(slots[0]).len(), if round == 0 { 10 } else { 1 });
        let (epoch, _) = world.links[&slots[0]];
        world
            .subject
            .link_silent(slots[0], epoch, "acknowledged nothing", world.now);
        world.step(0);
        world.store_all(slots[1]);
        world.answer_probe(slots[0], false, None);
        assert!(world.is_paused(0));
        let before = world.now;
        while world.opening.is_empty() {
            world.step(1000);
        }
        waits.push(world.now.saturating_sub(before).as_secs());
        world.open_links();
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    world.accept(2);
    world.store_all(slots[0]);
    world.accept(20);
    assert!(world.sent(slots[0]).len() > 5, "it works again");
}

impl World {
    /// The server's link opens, and it says that it has these files.
    fn open_holding(&mut self, slot: Slot, numbers: &[u64]) {
        self.step(10_000);
        self.answer_probe(slot, false, Some(Dialect::Native));
        let epoch = self.opening.remove(&slot).unwrap();
        self.links.insert(slot, (epoch, Vec::new()));
        let holding = numbers
            .iter()
            .map(|number| lists::StoredFile(*number, 7, 7))
            .collect();
        let claimed =
            |(_, sent): &mut (u64, Vec<u64>)| sent.retain(|number| !numbers.contains(number));
        self.links.values_mut().for_each(claimed);
        self.subject
            .link_opened(slot, epoch, Some(holding), self.now);
        self.step(0);
    }
}

#[test]
fn a_returning_server_says_what_it_has_and_nothing_is_sent_twice() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(4);
    let (there, elsewhere) = (world.sent(slots[0]), world.sent(slots[1]));
    world.cut(slots[0]);
    assert_eq!(
        world.sent(slots[1]).len(),
        4,
        "all go to the other one at once"
    );
    world.store(slots[1], there[0]);
    assert!(world.subject.is_doubtful(there[0]) && !world.subject.is_doubtful(elsewhere[0]));
    world.open_holding(slots[0], &there);
    assert_eq!(
        world.strays,
        [(slots[0], there[0])],
        "one is delivered by the other server already"
    );
    assert!(
        world.delivered.contains(&(there[1], "s0".to_owned())),
        "the other is taken as delivered"
    );
    assert!(
        world.subject.is_doubtful(there[1]),
        "the second server may store it yet"
    );
    let (epoch, _) = world.links[&slots[1]];
    world
        .subject
        .stored(slots[1], epoch, there[1], true, world.now);
    world.step(0);
    assert_eq!(world.strays[1..], [(slots[1], there[1])]);
    world.store_all(slots[1]);
    assert_eq!(world.delivered.len(), 4);
}

/// Nothing was in doubt after a restart but what waited then: the copies of files that had gone
/// elsewhere before stayed.
#[test]
fn what_ended_before_a_restart_is_in_doubt_until_every_server_has_told() {
    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    world.subject.earlier_runs_gave(20);
    world.bring_up(one, Dialect::Native);
    assert!(world.subject.is_doubtful(20) && !world.subject.is_doubtful(21));
    assert_eq!(world.subject.holds_back(), 0, "nothing waits for it");
    assert!(world.subject.take_settled() && !world.subject.take_settled());
    world.bring_up(two, Dialect::Native);
    assert!(!world.subject.is_doubtful(20) && world.subject.take_settled());
}

/// A removed server's doubts are what its operator has given up.
#[test]
fn a_removed_server_keeps_nothing_in_doubt() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    let never = world.add(1);
    world.subject.earlier_runs_gave(20);
    world.accept(2);
    let there = world.sent(slots[0]);
    world.cut(slots[0]);
    assert!(world.subject.is_doubtful(there[0]) && world.subject.is_doubtful(20));
    for slot in [slots[0], never] {
        world.order(|subject, now| subject.leave(slot, true, now));
    }
    world.release();
    world.subject.take_settled();
    for slot in world.slots.clone() {
        if !world.links.contains_key(&slot) {
            world.bring_up(slot, Dialect::Native);
        }
    }
    assert!(!world.subject.is_doubtful(there[0]) && !world.subject.is_doubtful(20));
}

/// A server was in doubt over a file for ever when it refused it after another one turned out to
/// have it.
#[test]
fn a_file_that_a_server_refuses_is_in_doubt_there_no_longer() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    let there = world.sent(slots[0]);
    world.cut(slots[0]);
    world.open_holding(slots[0], &there);
    assert!(
        world.subject.is_doubtful(there[0]),
        "the other one may store it yet"
    );
    world.subject.take_settled();
    let (epoch, _) = world.links[&slots[1]];
    let refusal = Refusal::new(RefusalCode::Storage, "full");
    world
        .subject
        .not_stored(slots[1], epoch, there[0], &refusal, world.now);
    assert!(!world.subject.is_doubtful(there[0]) && world.subject.take_settled());
}

/// Beyond the bound the oldest doubts were forgotten, and what had been stored there stayed there
/// twice.
#[test]
fn a_server_with_as_many_files_in_doubt_as_may_be_gets_no_more() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    let most = super::server::MOST_DOUBTS as u64;
    let server = world.subject.servers[slots[0].index()].as_mut().unwrap();
    server.doubts.extend(1_000_000..1_000_000 + most - 3);
    world.accept(10);
    let there = world.sent(slots[0]);
    assert_eq!((there.len(), world.sent(slots[1]).len()), (3, 7));
    let report = &world.subject.status(at(0), world.now).servers[0];
    assert!(
        report
            .reason
            .as_ref()
            .unwrap()
            .contains("100000 files are in doubt"),
        "{report:?}"
    );
    assert_eq!(world.subject.too_doubtful().0, ["s0".into()]);
    world.cut(slots[0]);
    assert!(
        world.subject.is_doubtful(1_000_000)
            && there
                .iter()
                .all(|number| world.subject.is_doubtful(*number))
    );
    world.open_holding(slots[0], &[]);
    assert!(!world.subject.is_doubtful(1_000_000) && world.subject.too_doubtful().0.is_empty());
    world.store_all(slots[1]);
    world.accept(10);
    assert!(!world.sent(slots[0]).is_empty());
}

#[test]
fn what_a_server_says_of_another_content_is_not_believed() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(1);
    world.cut(slots[0]);
    world.step(10_000);
    world.answer_probe(slots[0], false, Some(Dialect::Native));
    let epoch = world.opening.remove(&slots[0]).unwrap();
    world.links.insert(slots[0], (epoch, Vec::new()));
    world.subject.link_opened(
        slots[0],
        epoch,
        Some(vec![lists::StoredFile(1, 8, 7)]),
        world.now,
    );
    world.step(0);
    assert!(world.delivered.is_empty());
    assert_eq!(world.sent(slots[0]), [1]);
}

#[test]
fn files_in_doubt_can_wait_for_their_server() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.subject.config.in_doubt = InDoubt::Wait;
    world.accept(4);
    let there = world.sent(slots[0]);
    world.cut(slots[0]);
    world.step(60_000);
    assert_eq!(
        world.sent(slots[1]).len(),
        2,
        "nothing that is in doubt goes elsewhere"
    );
    world.open_holding(slots[0], &there[..1]);
    assert_eq!(world.delivered, [(there[0], "s0".to_owned())]);
    let sent: Vec<u64> = slots.iter().flat_map(|slot| world.sent(*slot)).collect();
    assert!(
        sent.contains(&there[1]),
        "the other was not stored and goes again: {sent:?}"
    );
}

/// After a restart any server may have any file that waits.
#[test]
fn files_of_an_earlier_run_wait_until_every_server_was_asked_or_is_known_to_be_away() {
    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    for number in [1, 2] {
        world.subject.recovered(number);
        world
            .subject
            .recover(number, file(&Bytes::from_static(b"content"), true));
    }
    world.next = 3;
    world.bring_up(one, Dialect::Native);
    world.accept(1);
    assert_eq!(world.sent(one), [3], "new files need not wait");
    assert!(world.subject.is_doubtful(1) && !world.subject.is_doubtful(3));
    world.subject.probed(
        two,
        Probed::Failed("no answer".into()),
        Duration::ZERO,
        world.now,
    );
    world.step(0);
    assert_eq!(world.sent(one), [3, 1, 2]);
    assert!(
        world.subject.is_doubtful(1),
        "the one that is away has not told"
    );

    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    world.subject.recovered(1);
    world
        .subject
        .recover(1, file(&Bytes::from_static(b"content"), true));
    world.bring_up(one, Dialect::Native);
    world.open_holding(two, &[1]);
    assert_eq!((world.delivered.len(), world.sent(one).len()), (1, 0));
    assert!(!world.subject.is_doubtful(1));
}

/// Who answers at this port, from a directory and a process of these names.
fn who(identity: &str, instance: &str, port: u16) -> Who {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (identity, instance) = (Some(identity.into()), Some(instance.into()));
    Who {
        speaker: Speaker { identity, instance },
        address: Some(address),
        named: vec![address],
    }
}

/// Each link of the two ended the other, for ever.
#[test]
fn a_second_name_of_a_server_gets_no_link_and_says_why_until_it_is_the_only_one() {
    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    world.bring_up(one, Dialect::Native);
    for _ in 0..10 {
        world.subject.identified(
            two,
            Err("it is one under another name".to_owned()),
            world.now,
        );
        world.answer_probe(two, false, Some(Dialect::Native));
        world.answer_probe(one, false, None);
        world.open_links();
        world.accept(1);
    }
    assert_eq!((world.sent(one).len(), world.links.len()), (10, 1));
    let report = world.subject.status(at(0), world.now).servers[1].clone();
    assert_eq!(report.state, ServerState::Paused);
    assert!(
        report
            .reason
            .as_deref()
            .unwrap()
            .contains("under another name"),
        "{report:?}"
    );
    // When the first name leads nowhere any more, the second is as good.
    world.cut(one);
    world.subject.identified(two, Ok(()), world.now);
    world.answer_probe(two, false, None);
    world.open_links();
    assert_eq!(world.sent(two).len(), 10);
}

/// The link stayed with the old address for ever, while probes looked at the new one.
#[test]
fn a_link_follows_its_name_once_nothing_is_in_flight() {
    for (identity, reason) in [
        ("d", "the server has moved"),
        ("e", "the name leads to another server now"),
    ] {
        let mut world = World::new(Window::default());
        let slot = world.add(1);
        world.who.insert(slot, who("d", "i", 1));
        world.bring_up(slot, Dialect::Native);
        world.accept(1);
        let first = world.links[&slot].0;
        world.who.insert(slot, who(identity, "j", 2));
        world.answer_probe(slot, false, None);
        world.accept(1);
        assert_eq!(world.sent(slot), [1], "it gets nothing new");
        let report = world.subject.status(at(0), world.now).servers[0].clone();
        let said = report.reason.unwrap();
        assert!(
            said.contains(reason) && said.contains("127.0.0.1:1 to 127.0.0.1:2"),
            "{said}"
        );
        world.store(slot, 1);
        world.answer_probe(slot, false, None);
        world.open_links();
        assert_eq!(
            (world.sent(slot), world.links[&slot].0 > first),
            (vec![2], true)
        );
        assert_eq!(
            world.subject.status(at(0), world.now).servers[0].returned,
            0
        );

        // A name that led elsewhere for a moment changes nothing.
        world.who.insert(slot, who("f", "k", 3));
        world.answer_probe(slot, false, None);
        world.who.insert(slot, who(identity, "j", 2));
        world.answer_probe(slot, false, None);
        world.accept(1);
        assert_eq!(world.sent(slot), [2, 3]);
    }
}

#[test]
fn a_file_that_is_cancelled_on_its_way_is_a_stray_where_it_arrives() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(2);
    for number in [1, 2] {
        assert!(matches!(world.subject.cancel(number), Cancel::Taken(_)));
    }
    assert!(matches!(world.subject.cancel(1), Cancel::Unknown));
    world.links.get_mut(&slots[0]).unwrap().1.clear();
    assert!(world.subject.is_empty() && world.subject.is_doubtful(1));
    let epoch = world.links[&slots[0]].0;
    world.subject.stored(slots[0], epoch, 1, true, world.now);
    world.subject.not_stored(
        slots[0],
        epoch,
        2,
        &Refusal::new(RefusalCode::Storage, "no"),
        world.now,
    );
    world.step(0);
    assert_eq!(
        (&world.strays[..], world.delivered.len()),
        (&[(slots[0], 1)][..], 0)
    );
    assert!(!world.subject.is_doubtful(2), "it is not there");
}

/// Files that are still to be read back go before all that have higher numbers.
#[test]
fn a_file_that_comes_later_holds_up_those_behind_it() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.subject.comes_first(Some(3));
    for number in [5, 2] {
        world
            .subject
            .accept(number, file(&Bytes::from_static(b"content"), true));
    }
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2]);
    assert_eq!(world.subject.ready(), (1, true));
    world
        .subject
        .recover(3, file(&Bytes::from_static(b"content"), true));
    world.subject.comes_first(Some(4));
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2, 3]);
    world.subject.comes_first(None);
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2, 3, 5]);
    assert_eq!(world.subject.ready(), (0, false));
}

#[test]
fn with_wait_files_of_an_earlier_run_wait_for_every_server() {
    let mut world = World::new(Window::default());
    world.subject.config.in_doubt = InDoubt::Wait;
    let (one, two) = (world.add(1), world.add(1));
    world.subject.recovered(1);
    world
        .subject
        .recover(1, file(&Bytes::from_static(b"content"), true));
    world.bring_up(one, Dialect::Native);
    for _ in 0..5 {
        world.subject.probed(
            two,
            Probed::Failed("no answer".into()),
            Duration::ZERO,
            world.now,
        );
        world.step(1000);
    }
    assert!(world.sent(one).is_empty());
    for _ in 0..2 {
        world.answer_probe(two, false, Some(Dialect::Native));
    }
    world.open_links();
    assert_eq!(world.sent(one).len() + world.sent(two).len(), 1);
}

#[test]
fn large_files_pass_old_style_servers_by() {
    let mut world = World::new(Window::default());
    let (old, native) = (world.add(1), world.add(1));
    world.bring_up(old, Dialect::OldStyle);
    let large = Bytes::from(vec![b'x'; 5000]);
    for (number, content) in [large.clone(), Bytes::from_static(b"small"), large]
        .iter()
        .enumerate()
    {
        world
            .subject
            .accept(number as u64 + 1, file(content, content.len() < 100));
    }
    world.step(0);
    assert_eq!(world.sent(old), [2]);
    world.bring_up(native, Dialect::Native);
    assert_eq!(
        world.sent(native),
        [1, 3],
        "they go as soon as a server that can take them comes up"
    );
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
        world.subject.probed(
            slots[0],
            Probed::Failed("no answer".into()),
            Duration::ZERO,
            world.now,
        );
        world.step(1000);
    }
    assert_eq!(world.sent(slots[1]).len(), 2);
    let report = world.subject.status(at(0), world.now);
    assert_eq!(
        report.servers[0].reason.as_deref(),
        Some("connection: no answer")
    );
    assert_eq!(
        (report.servers[0].returned, report.servers[1].in_flight),
        (1, 2)
    );
}

/// It was a dead letter that "every server refuses", though one had, and might have taken it the
/// next time.
#[test]
fn a_file_that_is_refused_for_now_waits_while_operators_keep_all_servers_from_working() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.accept(2);
    world.order(|subject, now| subject.leave(slots[1], true, now));
    world.order(|subject, now| subject.set_weight(slots[0], 0, now));
    let number = world.sent(slots[0])[0];
    world.refuse(slots[0], number, RefusalCode::Checksum);
    assert!(world.dead.is_empty());
    world.order(|subject, now| subject.set_weight(slots[0], 1, now));
    world.step(60_000);
    assert!(world.sent(slots[0]).contains(&number));
}

#[test]
fn waits_are_bounded_and_spread() {
    assert!(
        (0..100)
            .map(|number| backoff(number, 0))
            .all(|wait| wait > at(49) && wait <= at(100))
    );
    assert!(
        (0..100)
            .map(|number| backoff(number, u32::MAX))
            .all(|wait| wait > at(14_999) && wait <= at(30_000))
    );
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
    Weight(usize, u32),
    Drain(usize, bool),
    Leave(usize, bool),
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
        2 => (0usize..4, 0u32..9).prop_map(|(server, weight)| Step::Weight(server, weight)),
        2 => (0usize..4, any::<bool>()).prop_map(|(server, drained)| Step::Drain(server, drained)),
        1 => (0usize..4, any::<bool>()).prop_map(|(server, leaves)| Step::Leave(server, leaves)),
    ]
}

proptest! {
    /// Whatever happens, every file is delivered once in the end, and only what can be sent is
    /// sent.
    #[test]
    fn every_file_is_delivered_once_whatever_happens(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut world, mut slots) = World::up(&[5, 2, 1, 1], Window { files: 8, bytes: 50 });
        world.subject.config.max_attempts = u32::MAX;
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
                    let code = if wide { RefusalCode::Storage } else { RefusalCode::Checksum };
                    if let Some(number) = world.sent(slots[server]).first() {
                        world.refuse(slots[server], *number, code);
                    }
                }
                Step::Cut(server) => world.cut(slots[server]),
                Step::ProbeOk(server, byte) => world.answer_probe(slots[server], byte, None),
                Step::ProbeFailed(server) => {
                    world.subject.probed(slots[server], Probed::Failed("no answer".into()), Duration::ZERO, world.now);
                    world.step(0);
                }
                Step::OpenLinks => world.open_links(),
                Step::Weight(server, weight) => {
                    world.order(|subject, now| subject.set_weight(slots[server], weight, now));
                }
                Step::Drain(server, drained) => world.order(|subject, now| subject.drain(slots[server], drained, now)),
                Step::Leave(server, leaves) => world.order(|subject, now| subject.leave(slots[server], leaves, now)),
            }
            for (old, new) in world.release() {
                slots.iter_mut().filter(|slot| **slot == old).for_each(|slot| *slot = new);
            }
        }
        for slot in &slots {
            world.order(|subject, now| subject.drain(*slot, false, now));
            world.order(|subject, now| subject.leave(*slot, false, now));
            world.order(|subject, now| subject.set_weight(*slot, 1, now));
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
