//! Waiting files that operators cancel, one by one and many at once, and the content that they save.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::peers::unnamed;
use super::world::World;
use crate::balancer::events::Kind;
use crate::balancer::hub::errands::SLICE_CANCELS;
use crate::balancer::messages::{Ask, ToHub};
use crate::balancer::query::{Answer, Bulk, BulkDone, Place, Query, Selection};
use crate::queue::sim::Shape;

const RECEIPT: &str = "cancelled by an operator while it waited";

fn all() -> Selection {
    Selection::all()
}

fn titled(title: &str) -> Selection {
    Selection {
        title: Some(title.to_owned()),
        ..all()
    }
}

fn cancel(which: Selection) -> Query {
    Query::Bulk(Bulk::Cancel, Box::new(which))
}

impl World {
    fn cancel_file(&mut self, number: u64) -> Result<(), String> {
        match self.ask_now(Query::Cancel { number }) {
            Answer::Done { files: 1 } => Ok(()),
            Answer::Failed { reason } | Answer::Conflict { reason } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn cancel_many(&mut self, which: Selection) -> BulkDone {
        match self.ask_now(cancel(which)) {
            Answer::Bulk(done) => *done,
            other => panic!("{other:?}"),
        }
    }

    fn copies(&self, name: &str) -> Vec<u64> {
        self.servers[name].copies.keys().copied().collect()
    }
}

#[test]
fn a_cancelled_file_goes_nowhere_also_after_a_crash_and_the_others_do() {
    let mut world = World::new(&["a"]);
    let client = world.accept(12);
    assert!(world.hub.files.backlog.contains(11));
    for number in [3, 11] {
        let mut answer = world.ask(Query::Cancel { number });
        assert!(answer.try_recv().is_err(), "it is not durable yet");
        world.commit();
        assert_eq!(answer.try_recv().unwrap(), Answer::Done { files: 1 });
        let told = format!("{number}: dead {number}: {RECEIPT}");
        assert_eq!(world.told(client).last(), Some(&told));
        assert_eq!(world.show(number).unwrap().place, Place::Cancelled);
    }
    assert_eq!(world.noted(|event| event.kind == Kind::Cancelled).len(), 2);
    let error = world.cancel_file(3).unwrap_err();
    assert!(error.contains("it waits no longer"), "{error}");
    let error = world.cancel_file(99).unwrap_err();
    assert!(error.contains("it is not known"), "{error}");
    for mut world in [world.after_crash(Shape::None), world] {
        world.bring_up("a");
        world.settle();
        assert_eq!(world.copies("a"), [1, 2, 4, 5, 6, 7, 8, 9, 10, 12]);
        assert_eq!(world.hub.in_memory, 0);
    }
}

#[test]
fn a_file_that_a_server_has_or_may_have_is_left_alone_and_says_why() {
    let mut world = World::up(&["a", "b"]);
    world.accept(2);
    let number = world.unanswered("a")[0];
    let error = world.cancel_file(number).unwrap_err();
    assert!(
        error.contains("it is with a, which has not acknowledged it yet"),
        "{error}"
    );
    assert!(
        error.contains(&format!("`bilico queue drop {number}`")),
        "{error}"
    );
    for name in ["a", "b"] {
        world.cut_link(name);
        world.fail_probes(name);
    }
    let error = world.cancel_file(number).unwrap_err();
    assert!(
        error.contains("it was sent to a before, which may have stored it"),
        "{error}"
    );
    let done = world.cancel_many(all());
    assert_eq!((done.files, done.left_files), (0, 2));
    let left: BTreeSet<u64> = done.left.iter().map(|left| left.number).collect();
    assert_eq!(left, BTreeSet::from([1, 2]));

    // After a restart any server may have any file, until it has said what it has.
    let mut world = world.crash(Shape::None);
    let error = world.cancel_file(number).unwrap_err();
    assert!(
        error.contains("these servers have not said yet whether they have it: a, b"),
        "{error}"
    );
    assert_eq!(world.cancel_many(all()).left_files, 2);
    world.bring_up("a");
    world.bring_up("b");
    world.settle();
    assert_eq!(world.copies("a").len() + world.copies("b").len(), 2);
}

#[test]
fn files_are_chosen_by_title_and_user_wherever_they_wait() {
    let mut world = World::new(&["a"]);
    let client = world.accept(30);
    assert!(world.hub.files.backlog.len() > 20);
    let done = world.cancel_many(titled("file *1"));
    assert_eq!((done.files, done.left_files, done.after), (3, 0, None));
    let told = world.told(client);
    let cancelled: Vec<&String> = told.iter().filter(|told| told.contains(RECEIPT)).collect();
    assert_eq!(cancelled.len(), 3, "{cancelled:?}");
    let nobody = Selection {
        user: Some("nobody".to_owned()),
        ..all()
    };
    assert_eq!(world.cancel_many(nobody).files, 0);
    assert_eq!(
        world.noted(|event| event.kind == Kind::Cancelled),
        ["3 waiting files with titles like \"file *1\" cancelled"]
    );
    world.bring_up("a");
    world.settle();
    let kept: Vec<u64> = (1..=30).filter(|number| number % 10 != 1).collect();
    assert_eq!(world.copies("a"), kept);
}

#[test]
fn an_order_that_ends_at_its_limit_is_gone_on_with_and_leaves_later_files_alone() {
    let mut world = World::new(&["a"]);
    world.accept(20);
    let mut which = Selection { limit: 7, ..all() };
    let mut cancelled = 0;
    let mut orders = 0;
    loop {
        let done = world.cancel_many(which.clone());
        cancelled += done.files;
        orders += 1;
        if orders == 1 {
            // Comes in while the orders are given.
            world.accept(1);
        }
        let Some(after) = done.after else { break };
        (which.after, which.up_to) = (after, Some(done.up_to));
    }
    assert_eq!((cancelled, orders), (20, 3));
    world.bring_up("a");
    world.settle();
    assert_eq!(world.copies("a"), [21]);
}

/// While many files are cancelled, what clients send is accepted and what is asked is answered.
#[test]
fn other_messages_are_handled_between_the_slices_of_a_cancellation() {
    let mut world = World::new(&["a"]);
    let files = 3 * SLICE_CANCELS;
    world.hub.deps.limits.read_back_files = SLICE_CANCELS;
    world.hub.deps.limits.ready = files;
    world.gate.set_limits(
        crate::balancer::room::QueueLimits {
            files: 10_000,
            bytes: 1 << 30,
        },
        1024,
    );
    world.accept(files);
    let (to, mut answer) = oneshot::channel();
    world
        .hub
        .step([ToHub::Ask(Ask::Files(cancel(all()), to))], world.now)
        .unwrap();
    let client = world.client();
    let mut commits = 0;
    while answer.try_recv().is_err() {
        let slice = world.open_ops();
        assert!(slice <= SLICE_CANCELS + 2, "{slice} operations at once");
        world.send(client, 1 + commits, unnamed(b"new"));
        let (to, mut status) = oneshot::channel();
        world.step([ToHub::Ask(Ask::Status(to))]);
        assert!(status.try_recv().is_ok());
        world.commit_once();
        commits += 1;
        assert!(commits < 20);
    }
    assert!(commits >= 3, "{commits}");
    let undelivered = world.hub.files.undelivered() as u64;
    assert_eq!(undelivered, commits, "what came meanwhile stays");
}

#[test]
fn a_crash_in_the_middle_brings_back_no_cancelled_file_and_loses_no_other() {
    let mut world = World::new(&["a"]);
    world.accept(20);
    let _answer = world.ask(cancel(titled("file 1*")));
    for shape in [Shape::None, Shape::All] {
        let mut after = world.after_crash(shape);
        let waits: BTreeSet<u64> = (1..=20)
            .filter(|number| after.show(*number).unwrap().place == Place::Waiting)
            .collect();
        after.bring_up("a");
        after.settle();
        assert_eq!(after.copies("a"), waits.iter().copied().collect::<Vec<_>>());
        let others = [2, 3, 4, 5, 6, 7, 8, 9, 20];
        assert!(others.iter().all(|number| waits.contains(number)));
    }
}

#[test]
fn the_content_of_a_file_is_found_wherever_it_waits() {
    let mut world = World::new(&["a"]);
    world.accept(12);
    assert!(world.hub.files.backlog.contains(12));
    for mut world in [world.after_crash(Shape::None), world] {
        for number in [1, 12] {
            let Answer::Content(content) = world.ask_now(Query::Content { number }) else {
                panic!("no content of {number}");
            };
            let mut reader = content.open(false).unwrap();
            let piece = reader.piece().unwrap();
            assert_eq!(piece, format!("content {number}").as_bytes());
            assert_eq!((reader.rest(), reader.piece().unwrap().len()), (0, 0));
        }
        let gone = world.ask_now(Query::Content { number: 99 });
        assert!(matches!(gone, Answer::Failed { .. }));
    }
}
