//! How long a key names its file.

use std::time::Duration;

use super::peers::named;
use super::world::{RETENTION, World};
use crate::queue::sim::Shape;

/// A moment longer than ended files are remembered.
const LONG: Duration = RETENTION.saturating_add(Duration::from_secs(2));

#[test]
fn a_key_is_forgotten_a_while_after_the_delivery_and_then_free() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    world.send(client, 1, named("k", b"one"));
    world.settle();
    world.wait(RETENTION / 2);
    world.send(client, 2, named("k", b"two"));
    world.settle();
    assert_eq!(world.told(client).last().unwrap(), "2: refused: conflict");
    world.wait(LONG);
    world.send(client, 3, named("k", b"two"));
    world.settle();
    assert_eq!(world.told(client), ["3: accepted 2", "3: delivered 2 by a"]);
    assert!(world.show(1).is_none());
}

/// The journal still has the file, and a server that was not heard since may have a second copy.
#[test]
fn a_key_that_was_forgotten_is_forgotten_again_after_a_restart_when_all_servers_were_heard() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    world.send(client, 1, named("k", b"one"));
    world.settle();
    world.wait(LONG);
    world.commit();
    assert!(world.show(1).is_none());
    let mut world = world.crash(Shape::None);
    world.wait(LONG);
    assert!(world.show(1).is_some());
    world.bring_up("a");
    world.wait(LONG);
    let client = world.client();
    world.send(client, 2, named("k", b"two"));
    world.commit();
    assert_eq!(world.told(client), ["2: accepted 2"]);
}

#[test]
fn a_key_survives_a_restart_wherever_its_file_is() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    world.send(client, 1, named("delivered", b"1"));
    world.settle();
    world.send(client, 2, named("dead", b"2"));
    world.commit();
    world.reject("a", 2);
    world.cut_link("a");
    world.send(client, 3, named("waits", b"3"));
    world.commit();
    let mut world = world.crash(Shape::None);
    let client = world.client();
    for (id, key, content) in [
        (1, "delivered", b"1"),
        (2, "dead", b"2"),
        (3, "waits", b"3"),
    ] {
        world.send(client, id, named(key, content));
    }
    assert_eq!(
        world.told(client),
        [
            "1: accepted 1",
            "1: delivered 1 by a",
            "2: accepted 2",
            "2: dead 2: every server refuses it: too large here",
            "3: accepted 3",
        ]
    );
}

/// Without it a second copy, which shows up when the server is back, could not be told from the
/// only one.
#[test]
fn a_file_that_may_have_a_second_copy_is_remembered_until_that_is_known() {
    let mut world = World::up(&["a", "b"]);
    let client = world.client();
    world.send(client, 1, named("k", b"one"));
    world.commit();
    let (first, second) = if world.unanswered("a") == [1] {
        ("a", "b")
    } else {
        ("b", "a")
    };
    assert_eq!(world.serve_as(first, false), ["store 1"]);
    world.cut_link(first);
    world.settle();
    assert_eq!(world.told(client)[1], format!("1: delivered 1 by {second}"));
    world.wait(LONG);
    world.wait(LONG);
    assert!(world.show(1).is_some(), "in doubt at {first}");
    world.bring_up(first);
    world.commit();
    world.wait(LONG);
    world.wait(LONG);
    assert!(world.show(1).is_some(), "its copy is not removed yet");
    assert_eq!(world.serve(first), ["remove 1"]);
    assert!(world.servers[first].copies.is_empty());
    world.wait(LONG);
    assert!(world.show(1).is_none());
}

#[test]
fn nobody_wakes_the_hub_for_nothing_and_it_wakes_to_forget() {
    let mut world = World::up(&["a"]);
    assert_eq!(world.hub.next_due(), None);
    world.accept(1);
    world.settle();
    let due = world.hub.next_due().unwrap();
    assert!(due <= world.now + Duration::from_secs(1));
    world.wait(LONG);
    world.commit();
    assert_eq!(world.hub.next_due(), None);
}
