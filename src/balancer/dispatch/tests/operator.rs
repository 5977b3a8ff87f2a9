//! Orders: drains, removals, and files that are not to be delivered.

use super::world::{World, at, not_stored, stored};
use crate::balancer::dispatch::{Cancel, InDoubt, Window};
use crate::protocol::RefusalCode;
use crate::protocol::status::{Dialect, ServerState};

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

#[test]
fn a_file_that_is_cancelled_on_its_way_is_an_unexpected_copy_where_it_arrives() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.accept(2);
    for number in [1, 2] {
        assert!(matches!(world.subject.cancel(number), Cancel::Taken(_)));
    }
    assert!(matches!(world.subject.cancel(1), Cancel::Unknown));
    world.links.get_mut(&slots[0]).unwrap().1.clear();
    assert!(world.subject.is_empty() && world.subject.is_doubtful(1));
    let epoch = world.links[&slots[0]].0;
    world.tell(slots[0], epoch, stored(1));
    world.tell(slots[0], epoch, not_stored(2, RefusalCode::Storage));
    world.step(0);
    assert_eq!(
        (&world.unexpected[..], world.delivered.len()),
        (&[(slots[0], 1)][..], 0)
    );
    assert!(!world.subject.is_doubtful(2), "it is not there");
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
