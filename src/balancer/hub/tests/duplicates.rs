//! Files that come again under the same key: they are accepted once, and everybody who asks gets
//! the receipts.

use tokio::sync::oneshot;

use super::peers::File;
use super::world::World;
use crate::balancer::messages::{Arrived, Sum};
use crate::queue::content;
use crate::queue::disk::Disk;

const SAME: File<'static> = File {
    key: Some("k"),
    content: b"same",
};

const OTHER: File<'static> = File {
    key: Some("k"),
    content: b"other",
};

/// Another client sends both files. Gives what it was told of each.
fn send_again(world: &mut World) -> (Vec<String>, Vec<String>) {
    let client = world.client();
    world.send(client, 2, SAME);
    let same = world.told(client);
    world.send(client, 3, OTHER);
    let other = world.told(client);
    assert_eq!(world.hub.next_number, 2, "no second number");
    (same, other)
}

#[test]
fn a_copy_of_a_file_that_is_being_written_gets_the_same_receipts_when_it_is_durable() {
    let mut world = World::up(&["a"]);
    let first = world.client();
    world.send(first, 1, SAME);
    let second = world.client();
    world.send(second, 2, SAME);
    world.send(second, 3, OTHER);
    assert_eq!(world.told(first), [""; 0]);
    assert_eq!(world.told(second), ["3: refused: conflict"]);
    world.commit();
    assert_eq!(world.told(first), ["1: accepted 1"]);
    assert_eq!(world.told(second), ["2: accepted 1"]);
    world.settle();
    assert_eq!(world.told(first), ["1: delivered 1 by a"]);
    assert_eq!(world.told(second), ["2: delivered 1 by a"]);
    assert_eq!(world.servers["a"].sent[&1], 1);
}

#[test]
fn a_copy_of_a_file_that_waits_gets_its_receipt_at_once_and_the_last_one_later() {
    let mut world = World::new(&["a"]);
    let first = world.client();
    world.send(first, 1, SAME);
    world.commit();
    assert_eq!(
        send_again(&mut world),
        (
            vec!["2: accepted 1".to_owned()],
            vec!["3: refused: conflict".to_owned()]
        )
    );
    world.bring_up("a");
    world.settle();
    assert_eq!(world.told(first), ["1: accepted 1", "1: delivered 1 by a"]);
    assert_eq!(world.told(1), ["2: delivered 1 by a"]);
}

#[test]
fn a_copy_of_a_file_in_the_backlog_gets_its_receipt_at_once_and_the_last_one_later() {
    let mut world = World::new(&["a"]);
    world.accept(8);
    let first = world.client();
    world.send(first, 1, SAME);
    world.commit();
    assert!(world.hub.files.backlog.contains(9));
    let second = world.client();
    world.send(second, 2, SAME);
    world.send(second, 3, OTHER);
    assert_eq!(
        world.told(second),
        ["2: accepted 9", "3: refused: conflict"]
    );
    world.bring_up("a");
    world.settle();
    assert_eq!(world.told(first), ["1: accepted 9", "1: delivered 9 by a"]);
    assert_eq!(world.told(second), ["2: delivered 9 by a"]);
    assert_eq!(world.servers["a"].copies.len(), 9);
}

#[test]
fn a_copy_of_a_dead_letter_hears_that_it_is_dead() {
    let mut world = World::up(&["a"]);
    let first = world.client();
    world.send(first, 1, SAME);
    world.commit();
    world.reject("a", 1);
    world.commit();
    let dead = "dead 1: every server refuses it: too large here";
    assert_eq!(
        world.told(first),
        ["1: accepted 1".to_owned(), format!("1: {dead}")]
    );
    assert_eq!(
        send_again(&mut world),
        (
            vec!["2: accepted 1".to_owned(), format!("2: {dead}")],
            vec!["3: refused: conflict".to_owned()]
        )
    );
}

#[test]
fn a_copy_of_a_delivered_file_gets_both_receipts_at_once() {
    let mut world = World::up(&["a"]);
    let first = world.client();
    world.send(first, 1, SAME);
    world.settle();
    assert_eq!(
        send_again(&mut world),
        (
            vec!["2: accepted 1".to_owned(), "2: delivered 1 by a".to_owned()],
            vec!["3: refused: conflict".to_owned()]
        )
    );
    world.settle();
    assert_eq!(world.servers["a"].sent[&1], 1, "it was sent once");
}

#[test]
fn an_offer_is_answered_with_the_receipts_if_its_checksum_tells_that_it_is_the_same() {
    let mut world = World::new(&["a"]);
    let client = world.client();
    world.offer(client, 1, SAME, true);
    assert_eq!(world.told(client), ["1: wanted from 7"]);
    world.send(client, 1, SAME);
    world.commit();
    world.told(client);
    world.offer(client, 2, SAME, true);
    world.offer(client, 3, OTHER, true);
    assert_eq!(
        world.told(client),
        ["2: accepted 1", "3: refused: conflict"]
    );
    // Only all of the content can tell.
    world.offer(client, 4, SAME, false);
    assert_eq!(world.told(client), ["4: wanted from 0"]);
}

#[test]
fn a_file_that_was_accepted_before_is_not_refused() {
    let mut world = World::new(&["a"]);
    let client = world.client();
    let sum = || Sum::Known(crc32c::crc32c(SAME.content));
    world.refuse(client, 1, SAME, sum());
    assert_eq!(world.told(client), ["1: refused: full"]);
    world.send(client, 1, SAME);
    world.commit();
    world.told(client);
    world.refuse(client, 2, SAME, sum());
    assert_eq!(world.told(client), ["2: accepted 1"]);
    // Its content was not read, and has to be: the refusal comes back.
    let (to, mut back) = oneshot::channel();
    world.refuse(client, 3, SAME, Sum::Unread(to));
    assert_eq!(world.told(client), [""; 0]);
    let (refusal, reply) = back.try_recv().unwrap();
    assert_eq!((&*refusal.reason, reply.id), ("full", 3));
}

/// The content of the second copy lies in a file of its own, which nothing would ever name.
#[test]
fn content_that_came_a_second_time_is_removed_and_the_first_is_kept() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    for id in [1, 2] {
        world.disk.put(&content::name(id), SAME.content);
        world.send_as(client, id, SAME, Arrived::Own(id));
    }
    let names: Vec<String> = world
        .disk
        .list()
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert!(names.contains(&content::name(1)), "{names:?}");
    assert!(!names.contains(&content::name(2)), "{names:?}");
    world.commit();
    assert_eq!(world.told(client), ["1: accepted 1", "2: accepted 1"]);
}

#[test]
fn a_client_that_has_gone_keeps_nobody_from_hearing() {
    let mut world = World::new(&["a"]);
    let client = world.client();
    world.send(client, 1, SAME);
    world.commit();
    for id in 2..=40 {
        let other = world.client();
        world.send(other, id, SAME);
    }
    assert_eq!(world.told(40 - 1), ["40: accepted 1"]);
    world.bring_up("a");
    world.settle();
    let delivered = (0..40).filter(|client| {
        let told = world.told(*client);
        told.last()
            .is_some_and(|last| last.ends_with("delivered 1 by a"))
    });
    assert_eq!(delivered.count(), 16, "as many as wait for one file");
}
