//! Servers that have registered: who they are, and where they have moved.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::peers::Server;
use super::world::World;
use crate::balancer::members::wanted;
use crate::balancer::messages::ToHub;
use crate::balancer::orders::{Command, MemberOrder, Order, OrderError};
use crate::config::ServerSpec;
use crate::fleet::Membership;
use crate::fleet_core::registry::Registration;
use crate::fleet_core::{Facts, MemberState};

fn order(world: &mut World, order: MemberOrder) -> Result<(), OrderError> {
    let (to, mut done) = oneshot::channel();
    world.step([ToHub::Control(Command::Member(order, to))]);
    done.try_recv().unwrap()
}

fn add(server: &str, directory: &str) -> MemberOrder {
    MemberOrder::Add {
        spec: ServerSpec {
            address: server.to_owned(),
            weight: 2,
        },
        directory: Some(directory.into()),
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
    order(&mut world, add("b", "the one")).unwrap();
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
    let moved = MemberOrder::Moved {
        from: "a".into(),
        to: "b".into(),
        directory: Some("directory of a".into()),
    };
    order(&mut world, moved).unwrap();
    order(&mut world, add("b", "directory of a")).unwrap();
    order(&mut world, remove("a")).unwrap();
    assert!(is_there(&world, "a"), "something is in doubt there");
    world.bring_up("b");
    assert!(!is_there(&world, "a"));
    world.servers.remove("a");
    world.settle();
    assert_eq!(world.status().queue.files(), 0);
    assert_eq!(world.servers["b"].copies.len(), 1);
}

/// It got none: its address was held back with the move, and nothing took that back.
#[test]
fn a_server_that_comes_back_before_the_address_that_it_left_is_drained_gets_files() {
    let mut world = World::up(&["a"]);
    let moved = MemberOrder::Moved {
        from: "a".into(),
        to: "b".into(),
        directory: Some("directory of a".into()),
    };
    order(&mut world, moved).unwrap();
    order(&mut world, add("a", "directory of a")).unwrap();
    assert!(is_eligible(&mut world, "a"));
}

#[test]
fn a_server_that_is_held_back_is_let_go_when_nothing_is_in_flight() {
    let mut world = World::up(&["a"]);
    order(&mut world, add("a", "directory of a")).unwrap();
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

/// Does what the fleet wants, as the driver does.
fn drive(world: &mut World) {
    while let Some(action) = world.hub.deps.fleet.take_action() {
        if let Ok(wanted) = wanted(action) {
            order(world, wanted).unwrap();
        }
    }
}

/// A server with this directory registers at an address, and is added.
fn register(world: &mut World, directory: &str, address: &str) -> Membership {
    let registration = Registration {
        directory: directory.into(),
        instance: Some(format!("process of {address}").into()),
        address: address.into(),
        weight: 2,
        name: None,
        ticket: None,
        is_proved: true,
        peer: None,
        lease: Duration::from_secs(15),
        facts: Facts::default(),
    };
    let member = world.hub.deps.fleet.register(registration).unwrap();
    drive(world);
    world
        .servers
        .entry(address.to_owned())
        .or_default()
        .identity = directory.to_owned();
    member
}

/// It answers probes and links, and the fleet hears of it.
fn bring_up(world: &mut World, address: &str) {
    world.bring_up(address);
    drive(world);
}

fn is_eligible(world: &mut World, address: &str) -> bool {
    let servers = world.status().servers;
    servers
        .iter()
        .any(|seen| seen.name == address && seen.eligible)
}

fn state(world: &World, address: &str) -> MemberState {
    world.hub.deps.fleet.find(address).unwrap().state
}

/// The disk of a registered server was replaced: its directory is another one, at the same address.
#[test]
fn a_server_with_a_new_directory_at_its_address_gets_files_again() {
    for is_seen_between in [true, false] {
        let mut world = World::new(&[]);
        let before = register(&mut world, "old", "b");
        bring_up(&mut world, "b");
        assert!(is_eligible(&mut world, "b"));
        drop(before);
        world.cut_link("b");
        world.servers.get_mut("b").unwrap().identity = "new".to_owned();
        if is_seen_between {
            world.answer_probe("b");
            drive(&mut world);
            assert!(!is_eligible(&mut world, "b"));
            assert_eq!(state(&world, "b"), MemberState::Late);
        } else {
            world.fail_probes("b");
            drive(&mut world);
        }
        let _after = register(&mut world, "new", "b");
        world.answer_probe("b");
        drive(&mut world);
        bring_up(&mut world, "b");
        assert!(is_eligible(&mut world, "b"));
        assert_eq!(state(&world, "b"), MemberState::Active);
        assert_eq!(world.hub.deps.fleet.find("b").unwrap().id, "directory:new");
    }
}

/// The server comes back with the directory that registered, though an operator drained it meanwhile.
#[test]
fn who_comes_back_to_its_address_counts_again() {
    let mut world = World::new(&[]);
    let _member = register(&mut world, "one", "b");
    bring_up(&mut world, "b");
    world.cut_link("b");
    world.servers.get_mut("b").unwrap().identity = "other".to_owned();
    world.answer_probe("b");
    drive(&mut world);
    let server = "b".to_owned();
    world
        .order(Order::Drain {
            server: server.clone(),
        })
        .unwrap();
    world.servers.get_mut("b").unwrap().identity = "one".to_owned();
    bring_up(&mut world, "b");
    world.order(Order::Undrain { server }).unwrap();
    drive(&mut world);
    assert!(is_eligible(&mut world, "b"));
    assert_eq!(state(&world, "b"), MemberState::Active);
}

/// Moved while it is drained and heavier by order, there and back.
#[test]
fn orders_move_with_a_server_there_and_back() {
    let mut world = World::new(&[]);
    let mut member = register(&mut world, "d", "a");
    bring_up(&mut world, "a");
    let server = "a".to_owned();
    let weight = Order::SetWeight {
        server: server.clone(),
        weight: 7,
    };
    world.order(weight).unwrap();
    world.order(Order::Drain { server }).unwrap();
    let kept = world.hub.deps.fleet.directories();
    assert_eq!(
        kept,
        [(Arc::from("a"), Arc::from("d"))],
        "it is no server of an order"
    );
    for (from, to) in [("a", "b"), ("b", "a")] {
        drop(member);
        world.fail_probes(from);
        drive(&mut world);
        member = register(&mut world, "d", to);
        bring_up(&mut world, to);
        world.settle();
        drive(&mut world);
        let servers = world.status().servers;
        let seen = servers.iter().find(|seen| seen.name == to).unwrap();
        assert_eq!((seen.weight, seen.drained), (7, true), "{to}");
        assert!(!is_there(&world, from), "{from}");
    }
}

/// Two addresses have one directory: the first one's registration breaks, and probes find it.
#[test]
fn trouble_with_a_registration_takes_no_server_away() {
    let mut world = World::new(&[]);
    let first = register(&mut world, "d", "a");
    bring_up(&mut world, "a");
    let _second = register(&mut world, "d", "b");
    drop(first);
    drive(&mut world);
    assert!(is_eligible(&mut world, "a"));
    assert!(!is_there(&world, "b"));
    world.servers.get_mut("a").unwrap().identity = "gone".to_owned();
    world.fail_probes("a");
    drive(&mut world);
    bring_up(&mut world, "b");
    assert!(is_eligible(&mut world, "b"));
}

#[test]
fn what_operators_order_about_a_registered_server_is_what_counts() {
    let mut world = World::new(&[]);
    let server = "b".to_owned();
    let member = register(&mut world, "d", "b");
    bring_up(&mut world, "b");
    let remove = || Order::Remove {
        server: server.clone(),
    };
    world.order(remove()).unwrap();
    drive(&mut world);
    assert!(!is_there(&world, "b"));
    drop(member);
    let _member = register(&mut world, "d", "b");
    assert!(!is_there(&world, "b"), "it stays away");
    let heavy = ServerSpec {
        address: server.clone(),
        weight: 5,
    };
    world.order(Order::Add(heavy)).unwrap();
    drive(&mut world);
    bring_up(&mut world, "b");
    let seen = world.status().servers.remove(0);
    assert_eq!((seen.weight, seen.eligible), (5, true), "as it was ordered");

    world.order(remove()).unwrap();
    drive(&mut world);
    assert!(!is_there(&world, "b"));
    world
        .order(Order::Forget {
            server: server.clone(),
        })
        .unwrap();
    drive(&mut world);
    bring_up(&mut world, "b");
    let seen = world.status().servers.remove(0);
    assert_eq!((seen.weight, seen.eligible), (2, true), "as it registered");
}

/// The balancer is killed between an order and the next writing of the fleet.
#[test]
fn what_stands_as_removed_does_not_begin_as_a_member() {
    let mut world = World::up(&["a", "b"]);
    let server = "a".to_owned();
    world
        .order(Order::Remove {
            server: server.clone(),
        })
        .unwrap();
    let world = world.crash(crate::queue::sim::Shape::All);
    assert!(world.hub.deps.fleet.find("a").is_err());
    let mut world = world;
    world.order(Order::Forget { server }).unwrap();
    assert!(is_there(&world, "a") && world.hub.deps.fleet.find("a").is_ok());
}

#[test]
fn a_server_that_is_configured_now_may_have_any_directory() {
    let mut world = World::new(&[]);
    let _member = register(&mut world, "d", "b");
    bring_up(&mut world, "b");
    world.apply(&[("b", 2)]).unwrap();
    drive(&mut world);
    world.cut_link("b");
    world.servers.get_mut("b").unwrap().identity = "other".to_owned();
    world.answer_probe("b");
    bring_up(&mut world, "b");
    assert!(is_eligible(&mut world, "b"));
}
