//! What operators order, and how the hub fares when its journal cannot write.

use std::time::Duration;

use tokio::sync::oneshot;

use super::peers::{named, unnamed};
use super::world::World;
use crate::balancer::BalancerError;
use crate::balancer::events::{Kind, Level};
use crate::balancer::messages::{Ask, ToHub};
use crate::balancer::orders::{Order, OrderError};
use crate::balancer::query::{Answer, Attempt, Bulk, BulkDone, Place, Query, Selection};
use crate::config::ServerSpec;
use crate::queue::sim::Shape;
use crate::queue::{JournalError, Progress};

fn weight(server: &str, weight: u32) -> Order {
    Order::SetWeight {
        server: server.to_owned(),
        weight,
    }
}

/// A file that every server refused, and its client.
fn dead(world: &mut World) -> usize {
    let client = world.client();
    world.send(client, 1, named("k", b"dead"));
    world.commit();
    world.reject("a", 1);
    client
}

#[test]
fn a_dead_letter_is_told_when_it_is_durable_and_waits_again_when_it_is_replayed() {
    let mut world = World::up(&["a"]);
    let client = dead(&mut world);
    assert_eq!(world.told(client), ["1: accepted 1"]);
    world.commit();
    let told = "1: dead 1: every server refuses it: too large here";
    assert_eq!(world.told(client), [told]);
    assert_eq!(world.status().queue.dead, 1);
    assert_eq!(world.hub.in_memory, 0);
    let noted = world.noted(|event| event.kind == Kind::Dead && event.number == Some(1));
    assert_eq!(noted, ["file 1: every server refuses it: too large here"]);

    let mut answer = world.ask(Query::Replay { number: 1 });
    assert!(answer.try_recv().is_err(), "it is not durable yet");
    world.commit();
    assert_eq!(answer.try_recv().unwrap(), Answer::Done { files: 1 });
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 1);
    assert_eq!(world.show(1).unwrap().place, Place::Delivered);
    assert!(matches!(
        world.ask_now(Query::Replay { number: 1 }),
        Answer::Failed { .. }
    ));
}

#[test]
fn a_replay_that_was_answered_is_one_after_a_crash_too() {
    let mut world = World::up(&["a"]);
    dead(&mut world);
    world.commit();
    let replayed = world.ask_now(Query::Bulk(Bulk::Replay, Box::new(Selection::all())));
    let done = BulkDone {
        files: 1,
        up_to: 1,
        ..BulkDone::default()
    };
    assert_eq!(replayed, Answer::Bulk(Box::new(done)));
    let told = "dead letter since then: every server refuses it: too large here";
    let history = |world: &mut World| -> Vec<String> {
        let history = world.show(1).unwrap().history.into_iter();
        let line = |attempt: Attempt| match &*attempt.server {
            "" => format!("dead letter since then: {}", attempt.reason),
            server => format!("{server}: {}", attempt.reason),
        };
        history.map(line).collect()
    };
    assert_eq!(history(&mut world), ["a: too large here", told]);
    let mut world = world.crash(Shape::None);
    assert_eq!(world.show(1).unwrap().place, Place::Waiting);
    assert_eq!(history(&mut world), ["a: too large here", told]);
    world.bring_up("a");
    world.settle();
    assert_eq!(world.show(1).unwrap().place, Place::Delivered);
}

/// The death becomes durable after the replay was ordered: whoever asks in between waits for the
/// delivery.
#[test]
fn who_waits_for_a_replay_does_not_hear_of_the_death_before_it() {
    let mut world = World::up(&["a"]);
    let first = dead(&mut world);
    let _answer = world.ask(Query::Bulk(Bulk::Replay, Box::new(Selection::all())));
    let second = world.client();
    world.send(second, 2, named("k", b"dead"));
    world.settle();
    let told = world.told(first);
    assert_eq!(
        told[1],
        "1: dead 1: every server refuses it: too large here"
    );
    assert_eq!(world.told(second), ["2: accepted 1", "2: delivered 1 by a"]);
}

#[test]
fn a_dead_letter_that_is_dropped_is_gone_when_the_answer_comes_also_after_a_crash() {
    let mut world = World::up(&["a"]);
    dead(&mut world);
    world.commit();
    let mut answer = world.ask(Query::Drop { number: 1 });
    assert!(answer.try_recv().is_err(), "it is not durable yet");
    world.commit();
    assert_eq!(answer.try_recv().unwrap(), Answer::Done { files: 1 });
    let mut world = world.crash(Shape::None);
    assert_eq!(world.show(1).unwrap().place, Place::Dropped);
    world.bring_up("a");
    world.settle();
    assert!(world.servers["a"].copies.is_empty());
}

#[test]
fn files_are_dropped_wherever_they_wait_and_their_clients_hear_of_it() {
    let mut world = World::new(&["a"]);
    let client = world.accept(10);
    assert!(world.hub.files.backlog.contains(10));
    for number in [3, 10] {
        assert_eq!(world.drop_file(number), Ok(1));
        let dead = format!("{number}: dead {number}: cancelled by an operator while it waited");
        assert_eq!(world.told(client).last(), Some(&dead));
    }
    world.bring_up("a");
    world.settle();
    let copies: Vec<u64> = world.servers["a"].copies.keys().copied().collect();
    assert_eq!(copies, [1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.hub.in_memory, 0);
}

#[test]
fn a_file_that_is_dropped_while_a_server_has_it_is_removed_there() {
    let mut world = World::up(&["a"]);
    let client = world.accept(1);
    assert_eq!(world.unanswered("a"), [1]);
    let mut answer = world.ask(Query::Drop { number: 1 });
    assert_eq!(world.serve("a"), ["store 1"]);
    assert!(answer.try_recv().is_err());
    world.commit();
    assert_eq!(answer.try_recv().unwrap(), Answer::Done { files: 1 });
    assert_eq!(world.serve("a"), ["remove 1"]);
    assert!(world.servers["a"].copies.is_empty());
    let told = world.told(client);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("cancelled by an operator"));
}

#[test]
fn what_cannot_be_dropped_says_why() {
    let mut world = World::new(&["a"]);
    let client = world.client();
    world.send(client, 1, unnamed(b"content"));
    let mut answer = world.ask(Query::Drop { number: 1 });
    match answer.try_recv().unwrap() {
        Answer::Failed { reason } => assert!(reason.contains("being written"), "{reason}"),
        other => panic!("{other:?}"),
    }
    world.commit();
    world.bring_up("a");
    world.settle();
    let error = world.drop_file(1).unwrap_err();
    assert!(error.contains("it waits no longer"), "{error}");
    let error = world.drop_file(2).unwrap_err();
    assert!(error.contains("it is not known"), "{error}");
}

#[test]
fn weights_and_drains_decide_who_gets_files() {
    let mut world = World::up(&["a", "b"]);
    world
        .order(Order::Drain {
            server: "a".to_owned(),
        })
        .unwrap();
    world.accept(4);
    world.settle();
    assert!(world.servers["a"].sent.is_empty());
    world
        .order(Order::Undrain {
            server: "a".to_owned(),
        })
        .unwrap();
    world.order(weight("a", 3)).unwrap();
    world.accept(4);
    world.settle();
    assert_eq!(world.servers["a"].sent.len(), 3);
    assert_eq!(
        world.order(weight("c", 1)),
        Err(OrderError::UnknownServer("c".to_owned()))
    );
    let drains = world.noted(|event| event.kind == Kind::Drain);
    assert_eq!(drains.len(), 2);
    assert_eq!(
        world.noted(|event| event.kind == Kind::Weight),
        ["weight 3"]
    );
}

/// The next server gets its slot, and must not get words that were meant for this one.
#[test]
fn a_server_that_leaves_goes_when_nothing_is_in_flight_and_nothing_will_be_told_to_it() {
    let mut world = World::up(&["a"]);
    world.accept(1);
    world
        .order(Order::Remove {
            server: "a".to_owned(),
        })
        .unwrap();
    assert!(world.hub.files.dispatcher.slot_of("a").is_some());
    assert_eq!(world.serve("a"), ["store 1"]);
    assert!(
        world.hub.files.dispatcher.slot_of("a").is_some(),
        "it is not told yet that it may forget the file"
    );
    world.commit();
    assert_eq!(world.serve("a"), ["confirm [1]"]);
    world.step([]);
    assert!(world.hub.files.dispatcher.slot_of("a").is_none());
    let texts = world.noted(|event| event.kind == Kind::Removed);
    assert_eq!(texts.len(), 2);
    let again = ServerSpec {
        address: "a".to_owned(),
        weight: 2,
    };
    world.order(Order::Add(again.clone())).unwrap();
    assert!(matches!(
        world.order(Order::Add(again)),
        Err(OrderError::Spec(_))
    ));
}

#[test]
fn new_settings_add_remove_and_weigh_servers() {
    let mut world = World::up(&["a", "b"]);
    world.apply(&[("b", 5), ("c", 1)]).unwrap();
    let servers = world.status().servers;
    let names: Vec<_> = servers.iter().map(|it| (&*it.name, it.weight)).collect();
    assert_eq!(names, [("b", 5), ("c", 1)]);
}

#[test]
fn a_journal_that_cannot_write_is_told_until_it_can_and_one_that_failed_ends_the_hub() {
    let mut world = World::new(&["a"]);
    let full = Progress::Full("no space left".to_owned());
    world.step([ToHub::Journal(full)]);
    let trouble = world.status().trouble.unwrap();
    assert!(trouble.contains("no space left"), "{trouble}");
    world.step([ToHub::Journal(Progress::Room)]);
    assert_eq!(world.status().trouble, None);
    let levels: Vec<Level> = world
        .events
        .after(0)
        .into_iter()
        .filter(|event| event.kind == Kind::Journal)
        .map(|event| event.level)
        .collect();
    assert_eq!(levels, [Level::Error, Level::Info]);
    let failed = Progress::Failed(JournalError::NameLost);
    let ended = world.try_step([ToHub::Journal(failed)]);
    assert!(matches!(ended, Err(BalancerError::Journal(_))));
}

/// An upload whose directory cannot be synced ends the balancer under its own name: it used to
/// pass itself off as the journal's writer.
#[test]
fn a_content_store_that_fails_ends_the_hub() {
    let mut world = World::new(&["a"]);
    let failed = ToHub::ContentStoreFailed(JournalError::NameLost);
    let ended = world.try_step([failed]);
    assert!(matches!(ended, Err(BalancerError::Journal(_))));
    let noted = world.noted(|event| event.kind == Kind::Journal);
    assert_eq!(noted.len(), 1);
    assert!(noted[0].contains("nothing more can be accepted"));
}

#[test]
fn a_sample_has_the_times_and_counts_of_what_passed() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    world.send(client, 1, unnamed(b"content"));
    world.now += Duration::from_millis(20);
    world.commit();
    world.now += Duration::from_millis(300);
    world.settle();
    let (to, mut sample) = oneshot::channel();
    world.step([ToHub::Ask(Ask::Sample(to))]);
    let sample = sample.try_recv().unwrap();
    assert_eq!((sample.status.accepted, sample.status.delivered), (1, 1));
    assert!(
        (19_000..21_000).contains(&sample.accept.max()),
        "{}",
        sample.accept.max()
    );
    assert!(
        (310_000..330_000).contains(&sample.deliver.max()),
        "{}",
        sample.deliver.max()
    );
    let at = world.hub.deps.clock.instant(world.now).into_std();
    assert_eq!(sample.at, at);
}
