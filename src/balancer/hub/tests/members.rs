//! Servers that have registered: who they are, and where they have moved.

use tokio::sync::oneshot;

use super::peers::Server;
use super::world::World;
use crate::balancer::messages::ToHub;
use crate::balancer::orders::{Command, MemberOrder, OrderError};
use crate::config::ServerSpec;

fn order(world: &mut World, order: MemberOrder) -> Result<(), OrderError> {
    let (to, mut done) = oneshot::channel();
    world.step([ToHub::Control(Command::Member(order, to))]);
    done.try_recv().unwrap()
}

fn add(server: &str, directory: &str, moved_from: Option<&str>) -> MemberOrder {
    MemberOrder::Add {
        spec: ServerSpec {
            address: server.to_owned(),
            weight: 2,
        },
        directory: Some(directory.into()),
        moved_from: moved_from.map(Into::into),
    }
}

fn remove(server: &str) -> MemberOrder {
    MemberOrder::Remove {
        server: server.into(),
    }
}

fn is_there(world: &World, server: &str) -> bool {
    world.hub.files.dispatcher.slot_of(server).is_some()
}

#[test]
fn who_answers_with_another_directory_than_the_one_that_registered_gets_no_files() {
    let mut world = World::new(&[]);
    let server = Server {
        identity: "another".to_owned(),
        ..Server::default()
    };
    world.servers.insert("b".to_owned(), server);
    order(&mut world, add("b", "the one", None)).unwrap();
    world.answer_probe("b");
    world.answer_probe("b");
    let seen = world.status().servers.remove(0);
    assert_eq!((seen.weight, seen.eligible), (2, false));
    let reason = seen.reason.unwrap();
    assert!(reason.contains("another"), "{reason}");
    assert!(
        world.beside.links.lock().unwrap().is_empty(),
        "no link is opened"
    );
    world.servers.get_mut("b").unwrap().identity = "the one".to_owned();
    world.bring_up("b");
    assert!(world.status().servers[0].eligible);
}

/// The server was killed before it could acknowledge a file, and came back at another address.
#[test]
fn what_is_in_doubt_at_a_former_address_is_settled_at_the_new_one() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    world.step([]);
    world.serve_as("a", false);
    world.cut_link("a");
    world.fail_probes("a");
    let former = world.slot("a");
    assert!(!world.hub.files.dispatcher.is_settled(former));
    let moved = world.servers["a"].clone();
    world.servers.insert("b".to_owned(), moved);
    order(&mut world, add("b", "directory of a", Some("a"))).unwrap();
    order(&mut world, remove("a")).unwrap();
    assert!(is_there(&world, "a"), "something is in doubt there");
    world.bring_up("b");
    assert!(!is_there(&world, "a"));
    world.servers.remove("a");
    world.settle();
    assert_eq!(world.status().queue.files(), 0);
    assert_eq!(world.servers["b"].copies.len(), 1);
}

#[test]
fn a_server_that_is_held_back_is_let_go_when_nothing_is_in_flight() {
    let mut world = World::up(&["a"]);
    order(&mut world, add("a", "directory of a", None)).unwrap();
    world.accept(1);
    world.step([]);
    let hold = MemberOrder::HoldBack {
        server: "a".into(),
        reason: Some("it leaves".into()),
    };
    order(&mut world, hold).unwrap();
    let seen = world.status().servers.remove(0);
    assert_eq!((seen.eligible, seen.drained), (false, false));
    assert_eq!(seen.reason.as_deref(), Some("drain: it leaves"));
    order(&mut world, remove("a")).unwrap();
    assert!(is_there(&world, "a"), "a file is in flight");
    world.settle();
    assert!(!is_there(&world, "a"));
}
