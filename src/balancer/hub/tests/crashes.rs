//! The balancer dies at every point of a story, and starts again over what the disk has kept.

use std::collections::BTreeMap;

use super::peers::named;
use super::world::World;
use crate::balancer::query::{Place, Query};
use crate::queue::sim::Shape;

/// What clients were told before the crash.
#[derive(Default)]
struct Promised {
    /// The numbers of files with a receipt, and whether their last receipt was given.
    accepted: BTreeMap<u64, bool>,
    /// Files whose drop was answered, or whose client heard of it.
    dropped: Vec<u64>,
}

fn note(world: &mut World, client: usize, promised: &mut Promised) {
    for told in world.told(client) {
        let words: Vec<&str> = told.split(' ').collect();
        let number = words[2].trim_end_matches(':').parse().unwrap();
        match words[1] {
            "accepted" => drop(promised.accepted.insert(number, false)),
            "delivered" => drop(promised.accepted.insert(number, true)),
            "dead" => promised.dropped.push(number),
            other => panic!("{other}"),
        }
    }
}

/// Files come in, are delivered, dropped and stored in doubt, while the disk may die at any time.
fn story(world: &mut World, promised: &mut Promised) -> Option<()> {
    let client = world.client();
    for round in 0..4 {
        for id in 0..4 {
            let id = round * 4 + id;
            world.send(client, id, named(&format!("k{id}"), b"content"));
        }
        let committed = world.try_commit();
        note(world, client, promised);
        committed.ok()?;
        // One server acknowledges nothing in the second round.
        world.serve("a");
        world.serve_as("b", round != 1);
        note(world, client, promised);
        let number = world.hub.next_number - 1;
        let mut answer = world.ask(Query::Drop { number });
        let committed = world.try_commit();
        if answer.try_recv().is_ok() && !promised.accepted.get(&number).unwrap_or(&true) {
            promised.dropped.push(number);
        }
        note(world, client, promised);
        committed.ok()?;
        world.serve("a");
    }
    Some(())
}

/// Everything that was promised holds after the crash, and each file ends up at one server.
fn judge(mut world: World, promised: &Promised) {
    for (number, is_delivered) in &promised.accepted {
        let place = world.show(*number).expect("a file with a receipt").place;
        if promised.dropped.contains(number) {
            assert!(
                matches!(place, Place::Dropped | Place::Cancelled | Place::Delivered),
                "{number}: {place:?}"
            );
        } else if *is_delivered {
            assert!(
                matches!(place, Place::Waiting | Place::Delivered),
                "{number}: {place:?}"
            );
        }
    }
    world.bring_up("a");
    world.bring_up("b");
    world.settle();
    for number in 1..world.hub.next_number {
        let has_it = |name: &str| usize::from(world.servers[name].copies.contains_key(&number));
        let copies = has_it("a") + has_it("b");
        let Some(report) = world.show(number) else {
            assert!(!promised.accepted.contains_key(&number), "{number}");
            continue;
        };
        match report.place {
            Place::Delivered => assert_eq!(copies, 1, "{number}"),
            Place::Dropped | Place::Cancelled => assert_eq!(copies, 0, "{number}"),
            other => panic!("{number}: {other:?}"),
        }
    }
    let is_confirmed = |name: &str| world.servers[name].unconfirmed.is_empty();
    assert!(is_confirmed("a") && is_confirmed("b"));
}

#[test]
fn no_crash_breaks_a_promise_or_leaves_a_second_copy() {
    let mut crash_at = 0;
    loop {
        let mut world = World::up(&["a", "b"]);
        let mut promised = Promised::default();
        world.disk.crash_at(world.disk.operations() + crash_at);
        if story(&mut world, &mut promised).is_some() {
            assert!(crash_at > 12, "the story does something: {crash_at}");
            break;
        }
        for shape in [
            Shape::All,
            Shape::None,
            Shape::Lengths,
            Shape::Random(crash_at as u64),
        ] {
            judge(world.after_crash(shape), &promised);
        }
        crash_at += 1;
    }
}

/// Numbers are never given twice, not even those of files that nobody has a receipt for.
#[test]
fn a_number_that_a_server_may_have_seen_is_not_given_again() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    world.send(client, 1, named("k", b"content"));
    world.commit();
    world.settle();
    let mut world = world.crash(Shape::None);
    let client = world.client();
    world.send(client, 2, named("other", b"other"));
    world.commit();
    assert_eq!(world.told(client), ["2: accepted 2"]);
}

/// The balancer dies between the delivery and the commit that records it: the server lists the file
/// at the next start.
#[test]
fn a_delivery_that_was_not_recorded_is_recorded_after_the_restart() {
    let mut world = World::up(&["a", "b"]);
    world.accept(6);
    world.serve("a");
    world.serve("b");
    assert!(world.open_ops() > 0);
    let mut world = world.crash(Shape::All);
    world.bring_up("a");
    assert_eq!(world.serve("a"), [""; 0]);
    world.bring_up("b");
    world.settle();
    for name in ["a", "b"] {
        let server = &world.servers[name];
        assert!(server.sent.values().all(|times| *times == 1));
        assert!(server.unconfirmed.is_empty());
    }
    assert_eq!(world.status().delivered, 6);
}

/// Until every server has listed its files or is known to be down, any of them may have a file of
/// an earlier run.
#[test]
fn files_of_an_earlier_run_wait_until_every_server_was_heard() {
    let mut world = World::new(&["a", "b"]);
    world.accept(3);
    let mut world = world.crash(Shape::None);
    world.bring_up("a");
    world.accept(1);
    assert_eq!(world.serve("a"), ["store 4"], "only the new one");
    let reason = world.show(1).unwrap().reason.unwrap();
    assert!(
        reason.contains("have not said yet whether they have it: b"),
        "{reason}"
    );
    world.fail_probes("b");
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 4);
}
