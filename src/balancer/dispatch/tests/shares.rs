//! Weights, windows, and the order of files.

use super::world::{CONTENT, World, at, file};
use crate::balancer::dispatch::Window;
use crate::balancer::dispatch::window::LEAST_WINDOW;
use crate::protocol::status::ServerState;

#[test]
fn files_go_by_weight() {
    let (mut world, slots) = World::up(&[3, 2, 1], Window::default());
    world.accept(60);
    assert_eq!(world.counts(&slots), [30, 20, 10]);
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
    assert_eq!(world.counts(&slots), [20, 40]);
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
    assert_eq!(world.counts(&slots), [300, 200, 100]);
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

/// One such file closed the window to all others, and with one a server no small file went.
#[test]
fn a_file_larger_than_the_window_takes_a_quarter_of_it() {
    let (mut world, slots) = World::up(
        &[1],
        Window {
            files: 10,
            bytes: 3,
        },
    );
    world.accept(5);
    assert_eq!(world.sent(slots[0]), [1, 2, 3], "a quarter is 1 byte");
    let status = world.subject.status(at(0), world.now);
    assert_eq!(status.servers[0].in_flight_bytes, 3 * CONTENT);
    world.store(slots[0], 1);
    assert_eq!(world.sent(slots[0]), [2, 3, 4]);
}

/// Files that are still to be read back go before all that have higher numbers.
#[test]
fn a_file_that_comes_later_holds_up_those_behind_it() {
    let (mut world, slots) = World::up(&[1], Window::default());
    world.subject.comes_first(Some(3));
    for number in [5, 2] {
        world.subject.accept(number, file(CONTENT));
    }
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2]);
    assert_eq!(world.subject.ready(), (1, true));
    world.subject.recover(3, file(CONTENT));
    world.subject.comes_first(Some(4));
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2, 3]);
    world.subject.comes_first(None);
    world.step(0);
    assert_eq!(world.sent(slots[0]), [2, 3, 5]);
    assert_eq!(world.subject.ready(), (0, false));
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
