//! Files that go to a server while they still come in.

use super::world::World;
use crate::balancer::dispatch::Window;
use crate::balancer::dispatch::head_start::MOST_HEAD_STARTS;

const WIDE: Window = Window {
    files: 100,
    bytes: 10_000,
};

#[test]
fn a_file_goes_to_the_server_that_was_reserved_and_the_shares_stay() {
    let (mut world, slots) = World::up(&[2, 1], WIDE);
    for ticket in 0..30 {
        let reserved = world.reserve(ticket).unwrap();
        // Others are accepted and sent meanwhile.
        world.accept(1);
        world.accept_ahead(ticket);
        let number = world.next - 1;
        assert!(world.sent(reserved).contains(&number), "{ticket}");
        world.end_head_start(ticket);
    }
    assert_eq!(world.counts(&slots), [40, 20]);
}

#[test]
fn nothing_goes_ahead_while_files_wait_for_their_turn() {
    let (mut world, slots) = World::up(
        &[1],
        Window {
            files: 2,
            bytes: 50,
        },
    );
    assert_eq!(world.reserve(0), Some(slots[0]));
    world.end_head_start(0);
    world.accept(20);
    assert_eq!(world.reserve(1), None);
}

#[test]
fn a_server_that_takes_nothing_ahead_keeps_its_turn() {
    let (mut world, slots) = World::up(&[1, 1], WIDE);
    world.cut(slots[0]);
    world.take_ahead = false;
    world.step(1000);
    world.answer_probe(slots[0], false, None);
    world.open_links();
    let reserved: Vec<_> = (0..20)
        .map(|ticket| {
            let slot = world.reserve(ticket);
            world.accept_ahead(ticket);
            world.end_head_start(ticket);
            slot
        })
        .collect();
    assert_eq!(world.counts(&slots), [10, 10], "{reserved:?}");
    assert!(reserved.contains(&None) && reserved.contains(&Some(slots[1])));
    assert!(!reserved.contains(&Some(slots[0])));
}

/// Its part of the window is for the file itself.
#[test]
fn a_reservation_that_fills_the_window_holds_up_nothing_that_it_is_for() {
    let window = Window {
        files: 9,
        bytes: 12,
    };
    let (mut world, slots) = World::up(&[1], window);
    assert_eq!(world.reserve(0), Some(slots[0]));
    world.accept(4);
    assert_eq!(world.sent(slots[0]), [1, 2, 3], "the window is full");
    world.accept_ahead(0);
    assert_eq!(world.sent(slots[0]), [1, 2, 3, 4], "in their order");
    world.store(slots[0], 1);
    assert_eq!(world.sent(slots[0]), [2, 3, 4, 5]);
    world.store_all(slots[0]);
    assert_eq!(world.delivered.len(), 5);
}

#[test]
fn a_file_whose_server_cannot_take_it_any_more_goes_to_another() {
    // Overloaded, drained, or its link is cut and even open again: what came ahead is gone.
    for case in 0..4 {
        let (mut world, slots) = World::up(&[1, 1], WIDE);
        let reserved = world.reserve(0).unwrap();
        let other = slots[usize::from(reserved == slots[0])];
        match case {
            0 => world.answer_probe(reserved, true, None),
            1 => world.order(|subject, now| subject.drain(reserved, true, now)),
            _ => world.cut(reserved),
        }
        if case == 3 {
            world.step(1000);
            world.answer_probe(reserved, false, None);
            world.open_links();
            // Another file takes the turn that the first server has.
            world.accept(1);
        }
        let before = world.counts(&[other])[0];
        world.accept_ahead(0);
        let number = world.next - 1;
        let goes_on = [reserved, other]
            .iter()
            .any(|slot| world.sent(*slot).contains(&number));
        assert!(goes_on, "{case}");
        if case < 3 {
            assert_eq!(world.counts(&[other])[0], before + 1, "{case}");
        }
    }
}

#[test]
fn there_are_few_at_once_and_each_that_ends_makes_room() {
    let (mut world, _) = World::up(&[1, 1], WIDE);
    let most = MOST_HEAD_STARTS as u64;
    for ticket in 0..most {
        assert!(world.reserve(ticket).is_some());
    }
    assert_eq!(world.reserve(most), None);
    world.end_head_start(0);
    assert!(world.reserve(most).is_some());
    // A file that is accepted may wait with its content at a server.
    world.accept_ahead(1);
    assert_eq!(world.reserve(most + 1), None);
    world.end_head_start(1);
    assert!(world.reserve(most + 1).is_some());
    // With its link a server's reservations end.
    let (mut world, slots) = World::up(&[1], WIDE);
    assert!((0..most).all(|ticket| world.reserve(ticket).is_some()));
    world.cut(slots[0]);
    assert!(world.subject.reserved.is_empty());
}
