//! Files that no old-style server can read, and those that it works on.

use super::world::{World, file};
use crate::balancer::dispatch::Window;
use crate::protocol::RefusalCode;
use crate::protocol::json::NotOldStyle;
use crate::protocol::status::Dialect;
use crate::schedule::Slot;

/// Servers of weight 1 that speak this.
fn speaking(dialects: &[Dialect]) -> (World, Vec<Slot>) {
    let mut world = World::new(Window::default());
    let slots: Vec<Slot> = dialects.iter().map(|_| world.add(1)).collect();
    for (slot, dialect) in slots.iter().zip(dialects) {
        world.bring_up(*slot, *dialect);
    }
    (world, slots)
}

#[test]
fn large_files_pass_old_style_servers_by() {
    let mut world = World::new(Window::default());
    let (old, native) = (world.add(1), world.add(1));
    world.bring_up(old, Dialect::OldStyle);
    for (number, size) in [(1, 5000), (2, 5), (3, 5000)] {
        world.subject.accept(number, file(size));
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

/// Title and content together fill the document that its field names make longer still.
#[test]
fn a_file_that_surely_is_too_large_is_not_offered_to_an_old_style_server() {
    let (mut world, slots) = speaking(&[Dialect::OldStyle]);
    let title = "t.json".len() as u64;
    world.subject.accept(1, file(4096 - title));
    world.subject.accept(2, file(4097 - title));
    world.step(0);
    assert_eq!(world.sent(slots[0]), [1]);
}

/// Content that is no text, or whose escapes make it too long, is found out by the link.
#[test]
fn an_unfit_file_goes_to_a_native_server_without_an_attempt_and_is_offered_once() {
    use Dialect::{Native, OldStyle};
    let (mut world, slots) = speaking(&[OldStyle, OldStyle, Native]);
    for _ in 0..30 {
        world.accept(1);
        for old in &slots[..2] {
            for number in world.sent(*old) {
                world.is_unfit(*old, number, NotOldStyle::NotText);
            }
        }
    }
    assert_eq!(world.sent(slots[2]).len(), 30);
    assert_eq!(
        (&world.came_back[..], &world.waiting[..]),
        (&[][..], &[][..])
    );
    for server in world.subject.status(world.now, world.now).servers {
        assert_eq!(server.returned, 0, "{}", server.name);
    }
    world.store_all(slots[2]);
    assert_eq!(world.delivered.len(), 30);
}

#[test]
fn with_only_old_style_servers_an_unfit_file_waits_with_the_reason_and_is_offered_once() {
    let (mut world, slots) = speaking(&[Dialect::OldStyle; 2]);
    world.accept(1);
    let first = *slots
        .iter()
        .find(|slot| !world.sent(**slot).is_empty())
        .unwrap();
    world.is_unfit(first, 1, NotOldStyle::NotText);
    let reason = NotOldStyle::NotText.to_string();
    assert_eq!(world.waiting, [(1, reason.clone())]);
    assert_eq!(world.subject.why_it_waits(1), Some(reason));
    for _ in 0..100 {
        world.step(1000);
    }
    assert_eq!(world.counts(&slots), [0, 0]);
    // It holds up no other, and goes to a server that is replaced by a native one.
    world.accept(2);
    assert_eq!(world.counts(&slots), [1, 1]);
    world.bring_up(slots[1], Dialect::Native);
    assert!(world.sent(slots[1]).contains(&1) && world.dead.is_empty());
}

#[test]
fn an_unfit_file_that_every_native_server_refuses_for_good_is_a_dead_letter() {
    let (mut world, slots) = speaking(&[Dialect::OldStyle, Dialect::Native]);
    for number in 1..=2 {
        world.accept(1);
        for _ in 0..2 {
            if world.sent(slots[0]).contains(&number) {
                world.is_unfit(slots[0], number, NotOldStyle::NotText);
            }
            if world.sent(slots[1]).contains(&number) {
                world.refuse(slots[1], number, RefusalCode::TooLarge);
            }
        }
    }
    assert_eq!(world.dead.len(), 2, "{:?}", world.dead);
    assert!(
        world
            .dead
            .iter()
            .all(|(_, reason)| reason.starts_with("every server refuses it: ")),
        "{:?}",
        world.dead
    );
}

/// Each of its files has a connection of its own, which tells more than a probe: a server with much
/// work that answers no probe kept its files, and they were sent again.
#[test]
fn files_of_an_old_style_server_that_answers_no_probe_are_followed_to_their_end() {
    let (mut world, slots) = speaking(&[Dialect::OldStyle; 2]);
    world.accept(4);
    for _ in 0..5 {
        world.fail_probe(slots[0]);
        world.step(1000);
    }
    assert!(!world.subject.status(world.now, world.now).servers[0].eligible);
    assert_eq!(world.counts(&slots), [2, 2]);
    assert!(world.came_back.is_empty());
    world.accept(4);
    assert_eq!(world.counts(&slots), [2, 6], "it gets no new ones");

    let [first, second] = world.sent(slots[0])[..] else {
        panic!("{:?}", world.sent(slots[0]));
    };
    world.store(slots[0], first);
    assert_eq!(world.delivered, [(first, "s0".to_owned())]);
    world.lose(slots[0], second);
    assert_eq!(world.came_back, [second]);
    assert!(world.sent(slots[1]).contains(&second));
    // With nothing to follow, its link is closed as any other.
    world.fail_probe(slots[0]);
    world.step(0);
    assert!(!world.links.contains_key(&slots[0]));
    world.answer_probe(slots[0], false, None);
    world.bring_up(slots[0], Dialect::OldStyle);
    world.accept(4);
    assert!(world.sent(slots[0]).len() >= 2);
}
