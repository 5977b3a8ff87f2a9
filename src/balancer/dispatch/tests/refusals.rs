//! Refusals: who is to blame for them, and which files become dead letters.

use std::collections::BTreeSet;

use super::world::{World, at};
use crate::balancer::dispatch::Window;
use crate::balancer::dispatch::send::backoff;
use crate::protocol::RefusalCode;
use crate::protocol::status::Dialect;
use crate::schedule::Slot;

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
                self.store(slot, number);
            } else {
                self.refuse(slot, number, RefusalCode::Storage);
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

/// It waited for ever, with servers that all had refused it.
#[test]
fn a_file_whose_last_hope_is_removed_becomes_a_dead_letter() {
    let (mut world, slots) = World::up(&[1, 1], Window::default());
    world.fail_probe(slots[1]);
    world.fail_probe(slots[1]);
    world.step(0);
    world.accept(1);
    world.refuse(slots[0], 1, RefusalCode::TooLarge);
    for _ in 0..10 {
        world.step(1000);
    }
    assert!(world.dead.is_empty(), "the other one may come back");
    let gone = slots[1];
    world.order(|subject, now| subject.leave(gone, true, now));
    for _ in 0..60 {
        world.step(1000);
    }
    assert_eq!(world.dead.len(), 1, "{:?}", world.waiting);
    assert!(world.dead[0].1.starts_with("every server refuses it: "));
}
