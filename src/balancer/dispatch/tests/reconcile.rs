//! What is in doubt, and how servers that return settle it.

use super::world::{CONTENT, World, at, file, not_stored, opened, stored};
use crate::balancer::dispatch::server::MAX_DOUBTS;
use crate::balancer::dispatch::{InDoubt, Window};
use crate::protocol::RefusalCode;
use crate::protocol::lists;
use crate::protocol::status::Dialect;
use crate::schedule::Slot;

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
        self.tell(slot, epoch, opened(holding));
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
        world.unexpected,
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
    world.tell(slots[1], epoch, stored(there[1]));
    world.step(0);
    assert_eq!(world.unexpected[1..], [(slots[1], there[1])]);
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
    world.tell(slots[1], epoch, not_stored(there[0], RefusalCode::Storage));
    assert!(!world.subject.is_doubtful(there[0]) && world.subject.take_settled());
}

/// Beyond the bound the oldest doubts were forgotten, and what had been stored there stayed there
/// twice.
#[test]
fn a_server_with_as_many_files_in_doubt_as_may_be_gets_no_more() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    let most = MAX_DOUBTS as u64;
    let server = world.subject.servers.get_mut(slots[0]).unwrap();
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
    world.tell(slots[0], epoch, opened(vec![lists::StoredFile(1, 8, 7)]));
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
        world.subject.recover(number, file(CONTENT));
    }
    world.next = 3;
    world.bring_up(one, Dialect::Native);
    world.accept(1);
    assert_eq!(world.sent(one), [3], "new files need not wait");
    assert!(world.subject.is_doubtful(1) && !world.subject.is_doubtful(3));
    world.fail_probe(two);
    world.step(0);
    assert_eq!(world.sent(one), [3, 1, 2]);
    assert!(
        world.subject.is_doubtful(1),
        "the one that is away has not told"
    );

    let mut world = World::new(Window::default());
    let (one, two) = (world.add(1), world.add(1));
    world.subject.recovered(1);
    world.subject.recover(1, file(CONTENT));
    world.bring_up(one, Dialect::Native);
    world.open_holding(two, &[1]);
    assert_eq!((world.delivered.len(), world.sent(one).len()), (1, 0));
    assert!(!world.subject.is_doubtful(1));
}

#[test]
fn with_wait_files_of_an_earlier_run_wait_for_every_server() {
    let mut world = World::new(Window::default());
    world.subject.config.in_doubt = InDoubt::Wait;
    let (one, two) = (world.add(1), world.add(1));
    world.subject.recovered(1);
    world.subject.recover(1, file(CONTENT));
    world.bring_up(one, Dialect::Native);
    for _ in 0..5 {
        world.fail_probe(two);
        world.step(1000);
    }
    assert!(world.sent(one).is_empty());
    for _ in 0..2 {
        world.answer_probe(two, false, Some(Dialect::Native));
    }
    world.open_links();
    assert_eq!(world.sent(one).len() + world.sent(two).len(), 1);
}
