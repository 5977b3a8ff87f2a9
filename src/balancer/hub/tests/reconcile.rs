//! What servers report after they were away: files are sent once more only if they have to be, and
//! copies are removed only if another is known to be stored.

use std::time::Duration;

use super::peers::{Server, unnamed};
use super::world::{RETENTION, World};
use crate::balancer::BalancerError;
use crate::balancer::dispatch::Speaker;
use crate::balancer::dispatch::{LinkEvent, LinkId};
use crate::balancer::events::Kind;
use crate::balancer::messages::ToHub;
use crate::balancer::orders::Order;
use crate::balancer::query::Place;
use crate::config::ServerSpec;
use crate::protocol::lists::StoredFile;
use crate::queue::sim::Shape;

/// A file is accepted and stored at one server, which does not acknowledge it. Gives that server,
/// and the other one.
fn stored_in_doubt(world: &mut World) -> (usize, &'static str, &'static str) {
    let client = world.client();
    world.send(client, 1, unnamed(b"content"));
    world.commit();
    let (first, second) = if world.unanswered("a") == [1] {
        ("a", "b")
    } else {
        ("b", "a")
    };
    assert_eq!(world.serve_as(first, false), ["store 1"]);
    (client, first, second)
}

#[test]
fn a_delivery_is_told_at_once_and_confirmed_when_it_is_durable() {
    let mut world = World::up(&["a"]);
    let client = world.accept(1);
    assert_eq!(world.serve("a"), ["store 1"]);
    assert_eq!(world.told(client), ["1: accepted 1", "1: delivered 1 by a"]);
    assert_eq!(
        world.serve("a"),
        [""; 0],
        "the journal does not have it yet"
    );
    assert_eq!(world.servers["a"].unconfirmed.len(), 1);
    world.commit();
    assert_eq!(world.serve("a"), ["confirm [1]"]);
}

#[test]
fn a_file_that_its_server_lists_is_not_sent_again() {
    let mut world = World::up(&["a", "b"]);
    let (client, first, second) = stored_in_doubt(&mut world);
    // Both are away, so that it waits.
    world.cut_link(second);
    world.cut_link(first);
    assert_eq!(world.show(1).unwrap().place, Place::Waiting);
    world.bring_up(first);
    assert_eq!(
        world.told(client)[1..],
        [format!("1: delivered 1 by {first}")]
    );
    world.settle();
    world.bring_up(second);
    world.settle();
    assert_eq!(world.servers[first].sent[&1], 1);
    assert!(world.servers[second].sent.is_empty());
    assert!(world.servers[first].unconfirmed.is_empty());
}

#[test]
fn a_second_copy_is_removed_when_the_first_delivery_is_durable_and_not_before() {
    let mut world = World::up(&["a", "b"]);
    let (_, first, second) = stored_in_doubt(&mut world);
    world.cut_link(first);
    world.commit();
    assert_eq!(world.serve(second), ["store 1"]);
    world.bring_up(first);
    assert_eq!(world.serve(first), [""; 0], "the delivery is not durable");
    world.commit();
    assert_eq!(world.serve(first), ["remove 1"]);
    assert_eq!(world.serve(second), ["confirm [1]"]);
    assert!(world.servers[first].copies.is_empty());
    assert_eq!(world.servers[second].copies.len(), 1);
}

/// The other server's acknowledgement is on its way when the first one lists the file.
#[test]
fn a_file_that_is_in_flight_elsewhere_when_it_is_listed_is_removed_there() {
    let mut world = World::up(&["a", "b"]);
    let (client, first, second) = stored_in_doubt(&mut world);
    world.cut_link(first);
    assert_eq!(world.unanswered(second), [1]);
    world.bring_up(first);
    assert_eq!(world.told(client)[1], format!("1: delivered 1 by {first}"));
    world.settle();
    assert_eq!(world.servers[first].copies.len(), 1);
    assert!(world.servers[second].copies.is_empty());
    assert_eq!(world.servers[second].sent[&1], 1);
}

#[test]
fn a_file_that_nobody_remembers_is_confirmed_and_left_alone() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    world.settle();
    world.wait(RETENTION * 2);
    world.commit();
    assert!(world.show(1).is_none());
    world.cut_link("a");
    let held = world.servers["a"].copies[&1];
    world.servers.get_mut("a").unwrap().unconfirmed.insert(1);
    world.answer_probe("a");
    world.wait(Duration::from_secs(10));
    world.try_open_link("a", vec![held], 1).unwrap();
    world.commit();
    assert_eq!(world.serve("a"), ["confirm [1]"]);
    assert_eq!(world.servers["a"].copies.len(), 1);
}

#[test]
fn files_of_the_backlog_that_servers_list_end_after_their_records_were_read() {
    let mut world = World::up(&["a", "b"]);
    world.accept(20);
    for name in ["a", "b"] {
        world.serve_as(name, false);
    }
    let stored: Vec<StoredFile> = ["a", "b"]
        .iter()
        .flat_map(|name| world.servers[*name].copies.values().copied())
        .collect();
    let number = stored[0].0;
    // It has a copy at both.
    for name in ["a", "b"] {
        let server = world.servers.get_mut(name).unwrap();
        server.copies.insert(number, stored[0]);
        server.unconfirmed.insert(number);
        server.seen = 20;
    }
    let mut world = world.crash(Shape::None);
    assert_eq!(world.hub.files.backlog.len(), 20);
    // Both report it before any record is read.
    world.holds_jobs = true;
    world.bring_up("a");
    world.bring_up("b");
    world.holds_jobs = false;
    world.settle();
    let copies = |name: &str| world.servers[name].copies.clone();
    assert_eq!(copies("a").len() + copies("b").len(), 20);
    assert!(copies("a").contains_key(&number) != copies("b").contains_key(&number));
    for name in ["a", "b"] {
        let server = &world.servers[name];
        assert!(server.unconfirmed.is_empty(), "{name}");
        assert!(server.sent.values().all(|times| *times == 1), "{name}");
    }
}

#[test]
fn a_dead_letter_that_turns_out_to_be_stored_is_delivered() {
    let mut world = World::up(&["a", "b"]);
    let (client, first, second) = stored_in_doubt(&mut world);
    let weigh = |weight| Order::SetWeight {
        server: first.to_owned(),
        weight,
    };
    world.order(weigh(0)).unwrap();
    world.cut_link(first);
    world.reject(second, 1);
    world.commit();
    assert_eq!(world.show(1).unwrap().place, Place::Dead);
    world.bring_up(first);
    world.settle();
    assert_eq!(world.show(1).unwrap().place, Place::Delivered);
    assert_eq!(world.servers[first].copies.len(), 1);
    assert!(world.told(client)[1].contains("dead 1"));
}

/// The journal that says so was copied or set back: it would give numbers a second time.
#[test]
fn a_server_that_knows_the_numbers_better_than_the_journal_ends_the_balancer() {
    let found = |accepted: usize, commits: bool, held: Vec<StoredFile>, seen: u64| {
        let mut world = World::new(&["a"]);
        let client = world.accept(accepted);
        if !commits {
            world.send(client, 99, unnamed(b"not durable"));
        }
        world.answer_probe("a");
        let copies = held.iter().map(|held| (held.0, *held));
        world.servers.get_mut("a").unwrap().copies.extend(copies);
        let ended = world.try_open_link("a", held, seen);
        let noted = world.noted(|event| event.kind == Kind::Journal);
        match ended {
            Ok(()) => {
                assert!(noted.is_empty(), "{noted:?}");
                String::new()
            }
            Err(BalancerError::SetBack { found, server }) => {
                assert_eq!(&*server, "a");
                assert_eq!(noted.len(), 1);
                found
            }
            Err(other) => panic!("{other}"),
        }
    };
    let content = b"content 1";
    let good = StoredFile(1, content.len() as u64, crc32c::crc32c(content));
    let bad = StoredFile(1, 9, 7);
    let not_sent = StoredFile(2, 11, crc32c::crc32c(b"not durable"));
    assert_eq!(found(1, true, vec![good], 1), "");
    assert!(found(1, true, vec![bad], 1).contains("and the journal with 9 bytes"));
    assert!(found(1, true, vec![StoredFile(2, 1, 1)], 1).contains("gave none above 1"));
    assert!(found(1, true, vec![], 2).contains("has seen number 2"));
    assert!(found(1, false, vec![not_sent], 2).contains("not sent to any server yet"));
    // The ninth file is in the backlog.
    assert!(found(9, true, vec![StoredFile(9, 9, 7)], 9).contains("and the journal with 9 bytes"));
}

#[test]
fn a_directory_that_was_set_back_is_reported_with_what_it_lost() {
    let mut world = World::up(&["a"]);
    world.accept(3);
    world.settle();
    world.cut_link("a");
    world.commit();
    world.answer_probe("a");
    world.wait(Duration::from_secs(10));
    world.try_open_link("a", Vec::new(), 1).unwrap();
    let noted = world.noted(|event| event.text.contains("set back"));
    assert_eq!(noted.len(), 1);
    assert!(noted[0].contains("acknowledged number 3"), "{noted:?}");
    assert!(noted[0].contains("2 of 18 bytes"), "{noted:?}");
}

/// By the identity that a server has over its present link copies are removed.
#[test]
fn a_late_report_of_an_older_link_does_not_name_the_server_of_the_present_one() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    world.settle();
    let old = LinkEvent::Opened {
        speaker: Speaker {
            identity: Some("another directory".into()),
            instance: None,
        },
        holding: Some(vec![world.servers["a"].copies[&1]]),
        seen: Some(77),
    };
    let slot = world.slot("a");
    let epoch = world.epoch("a") - 1;
    world.step([ToHub::Link {
        link: LinkId { slot, epoch },
        event: old,
    }]);
    world.settle();
    assert_eq!(
        world.hub.servers.identity(slot).as_deref(),
        Some("directory of a")
    );
    assert_eq!(world.servers["a"].copies.len(), 1);
}

/// Over the next link the server lists its files again, and may have another directory.
#[test]
fn an_answer_does_not_go_over_another_link_than_the_report_came_over() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    world.serve("a");
    world.cut_link("a");
    world.answer_probe("a");
    world.wait(Duration::from_secs(10));
    world.try_open_link("a", Vec::new(), 1).unwrap();
    world.commit();
    assert_eq!(world.serve("a"), [""; 0]);
    world.cut_link("a");
    world.answer_probe("a");
    world.wait(Duration::from_secs(20));
    let held = world.servers["a"].copies[&1];
    world.try_open_link("a", vec![held], 1).unwrap();
    world.commit();
    assert_eq!(world.serve("a"), ["confirm [1]"]);
}

/// The first report was made over a link that has broken since.
#[test]
fn a_delivery_that_is_listed_again_is_confirmed_when_it_is_durable_and_not_before() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    assert_eq!(world.serve("a"), ["store 1"]);
    world.cut_link("a");
    world.bring_up("a");
    assert_eq!(world.serve("a"), [""; 0], "the delivery is not durable");
    world.commit();
    assert_eq!(world.serve("a"), ["confirm [1]"]);
}

/// Its name led to another server between the probe and the link.
#[test]
fn a_link_to_a_directory_that_another_server_speaks_for_gets_no_files() {
    let mut world = World::up(&["a"]);
    world
        .order(Order::Add(ServerSpec {
            address: "b".to_owned(),
            weight: 1,
        }))
        .unwrap();
    world.servers.insert("b".to_owned(), Server::default());
    world.answer_probe("b");
    let identity = world.servers["a"].identity.clone();
    world.servers.get_mut("b").unwrap().identity = identity;
    world.accept(4);
    // Its list is not believed: it may be as old as the copy is.
    let content = b"content 1";
    let held = StoredFile(1, content.len() as u64, crc32c::crc32c(content));
    world.try_open_link("b", vec![held], 1).unwrap();
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 4);
    assert!(world.servers["b"].sent.is_empty());
}

#[test]
fn a_server_whose_directory_is_a_copy_of_another_gets_no_files() {
    let mut world = World::new(&["a", "b"]);
    world.servers.insert(
        "b".to_owned(),
        Server {
            identity: world.servers["a"].identity.clone(),
            ..Server::default()
        },
    );
    world.bring_up("a");
    world.answer_probe("b");
    world.answer_probe("a");
    world.answer_probe("b");
    world.accept(6);
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 6);
    assert!(world.servers["b"].sent.is_empty());
    let noted = world.noted(|event| event.text.contains("is a copy of that of a"));
    assert_eq!(noted.len(), 1, "{noted:?}");
}
