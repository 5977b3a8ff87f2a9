//! Files that wait behind many others: they leave memory, and come back in time for their turn.

use std::time::Duration;

use super::peers::{named, unnamed};
use super::world::{LIMITS, World};
use crate::balancer::cold::ColdReport;
use crate::balancer::hub::reading::Reading;
use crate::balancer::messages::{ToHub, ToServer};
use crate::balancer::query::{Answer, Place, Query};
use crate::protocol::lists::StoredFile;
use crate::queue::FileBody;
use crate::queue::backlog_entry::ReadBack;
use crate::queue::disk::Disk;
use crate::queue::journal::Committed;
use crate::queue::sim::Shape;
use crate::queue::{Progress, segment};

/// The only segment of a journal that has one.
fn segment(world: &World) -> String {
    let entries = world.disk.list().unwrap();
    let mut names = entries.into_iter().map(|entry| entry.name);
    names
        .find(|name| segment::parse_name(name).is_some())
        .unwrap()
}

#[test]
fn files_beyond_the_bound_wait_in_the_backlog_and_go_in_the_order_they_came_in() {
    let mut world = World::new(&["a"]);
    let client = world.accept(40);
    assert_eq!(world.hub.files.dispatcher.ready().0, LIMITS.ready);
    assert_eq!(world.hub.files.backlog.len(), 40 - LIMITS.ready);
    let status = world.status();
    assert_eq!((status.queue.ready, status.accepted), (40, 40));
    world.bring_up("a");
    let mut stored = Vec::new();
    loop {
        let did = world.serve("a");
        if did.is_empty() {
            break;
        }
        stored.extend(did);
        world.commit();
    }
    stored.retain(|did| did.starts_with("store"));
    let in_order: Vec<_> = (1..=40).map(|number| format!("store {number}")).collect();
    assert_eq!(stored, in_order);
    let told = world.told(client);
    assert_eq!(told.len(), 80);
    assert!(told.contains(&"40: delivered 40 by a".to_owned()));
    assert_eq!(world.hub.in_memory, 0);
}

/// A file of the backlog goes before those that came after it, even if they are ready.
#[test]
fn a_new_file_does_not_pass_the_backlog() {
    let mut world = World::new(&["a"]);
    world.accept(10);
    world.holds_jobs = true;
    world.bring_up("a");
    for _ in 0..4 {
        world.serve("a");
        world.commit();
    }
    let client = world.client();
    world.send(client, 1, unnamed(b"late"));
    world.commit();
    assert_eq!(
        world.serve("a"),
        [""; 0],
        "9 and 10 are still being read back"
    );
    assert!(world.hub.files.backlog.contains(11));
    world.holds_jobs = false;
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 11);
}

#[test]
fn content_beyond_the_bound_is_read_from_the_journal_when_it_is_sent() {
    let mut world = World::new(&["a"]);
    let client = world.client();
    for id in 1..=3 {
        world.send(client, id, unnamed(&[7; 2000]));
    }
    world.commit();
    assert_eq!(world.hub.in_memory, 4000);
    world.bring_up("a");
    let in_memory: Vec<bool> = world.servers["a"]
        .inbox
        .iter()
        .map(|message| match message {
            ToServer::Parcel(parcel) => matches!(parcel.content, FileBody::Memory(..)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(in_memory, [true, true, false]);
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 3);
    assert_eq!(world.hub.in_memory, 0);
}

#[test]
fn a_file_whose_record_is_damaged_is_a_dead_letter_and_its_neighbours_are_delivered() {
    let mut world = World::new(&["a"]);
    let client = world.accept(12);
    let spot = world.hub.files.backlog.get(10).unwrap().spot;
    let last_bit = spot.end as usize * 8 - 3;
    let name = segment(&world);
    world.disk.flip_bit(&name, last_bit);
    world.bring_up("a");
    world.settle();
    let dead = "10: dead 10: the content is damaged in the journal";
    assert!(world.told(client).contains(&dead.to_owned()));
    let report = world.show(10).unwrap();
    assert_eq!((report.place, &*report.title), (Place::Dead, "file 10"));
    assert_eq!(world.servers["a"].copies.len(), 11);
}

#[test]
fn a_shortage_of_the_system_is_waited_for_and_buries_nothing() {
    let mut world = World::new(&["a"]);
    world.accept(9);
    world.holds_jobs = true;
    world.bring_up("a");
    world.serve("a");
    world.commit();
    let short = ReadBack::NotNow("too many open files".to_owned());
    world.step([ToHub::ReadBack(vec![(9, short)])]);
    let next_try = world.now + Duration::from_secs(1);
    assert_eq!(world.hub.reading, Reading::PausedUntil(next_try));
    assert_eq!(world.hub.next_due(), Some(next_try));
    // What was under way is no longer: another try is made when its time has come.
    world.run_jobs();
    world.holds_jobs = false;
    world.wait(Duration::from_millis(1001));
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 9);
}

#[test]
fn a_file_that_is_dropped_while_it_is_read_back_stays_dropped() {
    let mut world = World::new(&["a"]);
    let client = world.accept(9);
    let looked = world.ask(Query::Drop { number: 9 });
    drop(looked);
    world.holds_jobs = true;
    world.bring_up("a");
    world.serve("a");
    world.holds_jobs = false;
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 8);
    let told = world.told(client);
    assert!(
        told.iter()
            .any(|told| told.starts_with("9: dead 9: cancelled by an operator")),
        "{told:?}"
    );
}

/// The read-back that is under way must not bring a file back that an operator has dropped
/// meanwhile.
#[test]
fn a_file_that_was_read_back_after_it_was_dropped_is_ignored() {
    let mut world = World::new(&["a"]);
    world.accept(9);
    let place = world.hub.files.backlog.location(9).unwrap();
    assert_eq!(world.drop_file(9), Ok(1));
    let back =
        crate::queue::backlog_entry::read_back(&world.hub.deps.journal, vec![(9, place)], true);
    world.step([ToHub::ReadBack(back)]);
    world.bring_up("a");
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 8);
}

/// Cleaning writes records again and gives their old segment back.
#[test]
fn a_record_that_was_moved_is_read_at_its_new_place() {
    let mut world = World::new(&["a"]);
    world.accept(12);
    let one = world.hub.files.backlog.location(9).unwrap();
    let other = world.hub.files.backlog.location(10).unwrap();
    let committed = |moved| {
        ToHub::Journal(Progress::Committed(Committed {
            ops: 0,
            stored: Vec::new(),
            moved,
        }))
    };
    world.step([committed(vec![(9, other.clone()), (1, other)])]);
    assert_ne!(
        world.hub.files.backlog.location(9).unwrap().spot().offset,
        one.spot().offset
    );
    world.step([committed(vec![(9, one)])]);
    world.bring_up("a");
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 12);
}

#[test]
fn files_of_the_backlog_are_listed_with_their_titles_and_counted() {
    let mut world = World::new(&["a"]);
    world.accept(10);
    match world.ask_now(Query::Waiting { after: 7, limit: 5 }) {
        Answer::Files {
            files,
            total,
            total_bytes,
        } => {
            let listed: Vec<_> = files.iter().map(|it| (it.number, &*it.title)).collect();
            assert_eq!(listed, [(8, "file 8"), (9, "file 9"), (10, "file 10")]);
            assert_eq!((total, total_bytes), (10, 91));
        }
        other => panic!("{other:?}"),
    }
    let report = world.show(9).unwrap();
    assert_eq!(report.place, Place::Waiting);
    assert!(report.reason.unwrap().contains("no server can take files"));
}

#[test]
fn a_file_that_a_server_reports_is_read_back_at_once_and_cannot_be_dropped_any_more() {
    let mut world = World::new(&["a"]);
    world.accept(9);
    let entry = *world.hub.files.backlog.get(9).unwrap();
    let report = ColdReport {
        slot: world.slot("a"),
        held: StoredFile(9, entry.size(), entry.crc32c),
        identity: "d".into(),
    };
    let server = world.servers.get_mut("a").unwrap();
    server.copies.insert(9, report.held);
    assert!(!world.hub.files.backlog.has_claims());
    world.holds_jobs = true;
    let mut answer = world.ask(Query::Drop { number: 9 });
    world.hub.files.backlog.claim(9, report);
    world.step([]);
    world.holds_jobs = false;
    world.run_jobs();
    world.step([]);
    world.commit();
    match answer.try_recv().unwrap() {
        Answer::Failed { reason } => {
            assert!(reason.contains("turns out to be delivered"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.show(9).unwrap().place, Place::Delivered);
}

#[test]
fn the_backlog_is_there_after_a_restart_with_keys_and_attempts() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    for id in 1..=12 {
        world.send(client, id, named(&format!("k{id}"), b"content"));
    }
    world.commit();
    world.cut_link("a");
    world.commit();
    let mut world = world.crash(Shape::None);
    assert_eq!(world.hub.files.backlog.len(), 12);
    assert_eq!(world.show(1).unwrap().attempts, 1);
    let client = world.client();
    world.send(client, 1, named("k12", b"content"));
    assert_eq!(world.told(client), ["1: accepted 12"]);
    world.bring_up("a");
    world.settle();
    assert_eq!(world.servers["a"].copies.len(), 12);
    assert_eq!(world.told(client), ["1: delivered 12 by a"]);
    assert_eq!(world.show(1).unwrap().attempts, 1);
}

/// A replayed dead letter is ready at once, though it came in later than the backlog.
#[test]
fn a_file_that_is_ready_waits_for_those_before_it_in_the_backlog() {
    let mut world = World::up(&["a"]);
    world.accept(3);
    world.reject("a", 3);
    world.commit();
    let mut world = world.crash(Shape::None);
    world.holds_jobs = true;
    world.bring_up("a");
    let _answer = world.ask(Query::Replay { number: 3 });
    world.commit();
    assert_eq!(world.serve("a"), [""; 0], "1 and 2 are being read back");
    world.holds_jobs = false;
    world.step([]);
    assert_eq!(world.serve("a"), ["store 1", "store 2", "store 3"]);
}
