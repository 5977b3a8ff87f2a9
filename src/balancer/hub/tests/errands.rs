//! Searches and replays that go in slices, while other things happen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::peers::unnamed;
use super::world::World;
use crate::balancer::hub::errands::{MOST_ERRANDS, SLICE_FILES};
use crate::balancer::messages::{Ask, ToHub};
use crate::balancer::query::{Answer, Bulk, Query, Selection};
use crate::queue::Retention;
use crate::queue::record::{Death, End, Ended, History, Meta};
use crate::queue::{DeadLetter, FileBody, Op};

fn meta(title: &str) -> Arc<Meta> {
    Arc::new(Meta {
        title: title.into(),
        key: None,
        from: "client".into(),
        size: 1,
        crc32c: 2,
        accepted_ms: 3,
    })
}

fn find(title: &str, limit: usize) -> Query {
    let title = title.to_owned();
    Query::Find { title, limit }
}

impl World {
    /// Files of these numbers and this title that ended now, and are remembered.
    fn remember(&mut self, numbers: std::ops::Range<u64>, title: &str) {
        self.hub.files.ledger.set_retention(Retention {
            time: Duration::from_mins(1),
            files: 1_000_000,
        });
        self.hub.next_number = self.hub.next_number.max(numbers.end);
        for number in numbers {
            let end = End::Delivered {
                server: "a".into(),
                identity: None,
                confirmed: true,
            };
            let at_ms = u64::try_from(self.now.as_millis()).unwrap();
            self.hub.files.ledger.end(Arc::new(Ended {
                number,
                at_ms,
                end,
                meta: meta(title),
                history: History::default(),
            }));
        }
    }

    /// Dead letters of these numbers.
    fn bury(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let letter = DeadLetter {
                meta: meta("dead"),
                content: FileBody::Own(number),
                history: History::default(),
                death: Death {
                    at_ms: 1,
                    reason: "nobody took it".into(),
                },
            };
            self.hub.files.ledger.bury(number, letter);
        }
    }

    /// Asks, and handles nothing that the hub has told itself since.
    fn begin(&mut self, query: Query) -> oneshot::Receiver<Answer> {
        let (to, answer) = oneshot::channel();
        let ask = ToHub::Ask(Ask::Files(query, to));
        self.hub.step([ask], self.now).unwrap();
        answer
    }

    /// Handles the oldest message that has arrived.
    fn handle_next(&mut self) {
        let message = self.hub.inbox.try_recv().unwrap();
        self.hub.step([message], self.now).unwrap();
    }

    /// Takes the hub's message to itself away, so that the errand stands still.
    #[track_caller]
    fn hold_errand(&mut self) {
        assert!(matches!(self.hub.inbox.try_recv(), Ok(ToHub::GoOn)));
    }
}

#[track_caller]
fn found(answer: &mut oneshot::Receiver<Answer>) -> (Vec<u64>, bool) {
    match answer.try_recv().unwrap() {
        Answer::Found { files, complete } => {
            (files.iter().map(|file| file.number).collect(), complete)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_messages_are_handled_between_the_slices_of_a_search() {
    let mut world = World::up(&["a"]);
    let files = 10 * SLICE_FILES as u64;
    world.remember(1..files, "another");
    world.remember(files..files + 1, "the newest: Wanted");
    world.remember(files + 1..files + 2, "another");
    let mut answer = world.begin(find("wanted", 100));
    let mut slices = 0;
    while answer.try_recv() == Err(TryRecvError::Empty) {
        let (to, mut status) = oneshot::channel();
        let ask = ToHub::Ask(Ask::Status(to));
        world.hub.deps.to_self.send(ask).unwrap();
        world.handle_next();
        slices += 1;
        // A second message of the search would come before the answer.
        world.handle_next();
        assert!(status.try_recv().is_ok(), "it waited behind slice {slices}");
        assert!(slices < 100);
        if slices > 10 {
            break;
        }
    }
    assert!(slices > 10, "{slices} slices");
}

#[test]
fn a_search_gives_the_newest_first_and_stops_when_it_has_enough() {
    let mut world = World::up(&["a"]);
    world.remember(1..5_000, "wanted");
    let mut answer = world.begin(find("WANT", 3));
    world.handle_next();
    assert_eq!(found(&mut answer), (vec![4_999, 4_998, 4_997], true));
    assert!(world.hub.inbox.try_recv().is_err(), "nothing goes on");
}

#[test]
fn files_that_come_go_and_move_during_a_search_are_in_it_once_at_most() {
    let mut world = World::up(&["a"]);
    let client = world.client();
    for id in 1..=4 {
        world.send(client, id, unnamed(b"old"));
    }
    world.commit();
    let files = 4 * SLICE_FILES as u64;
    world.remember(5..files, "file that ended");
    world.bury(files..files + 10);
    world.hub.next_number = files + 10;
    for id in 5..=8 {
        world.send(client, id, unnamed(b"new"));
    }
    world.commit();

    let mut answer = world.begin(find("file", 1000));
    world.handle_next();
    world.hold_errand();
    // Those that were passed and those that were not: all of them are delivered.
    world.settle();
    world.send(client, 9, unnamed(b"newest"));
    world.settle();
    world.hub.files.ledger.remove_dead(files).unwrap();
    world.hub.files.ledger.set_retention(Retention {
        time: Duration::from_mins(1),
        files: 10,
    });
    world.wait(Duration::from_secs(30));
    assert!(answer.try_recv().is_err(), "it stands still");
    world.step([ToHub::GoOn]);
    let (numbers, complete) = found(&mut answer);
    assert!(complete);
    assert!(
        numbers.is_sorted_by(|one, other| one > other),
        "{numbers:?}"
    );
    assert!(numbers.contains(&(files + 13)), "{numbers:?}");
    for number in &numbers {
        assert_eq!(world.hub.files.places(*number), 1, "{number}");
    }
}

#[test]
fn a_search_is_not_complete_if_files_were_in_the_backlog_at_any_time() {
    let mut world = World::new(&["a"]);
    world.accept(12);
    world.remember(100..100 + 2 * SLICE_FILES as u64, "file");
    let mut answer = world.begin(find("file", 1000));
    world.handle_next();
    world.hold_errand();
    world.bring_up("a");
    world.settle();
    assert_eq!(world.hub.files.backlog.len(), 0);
    world.step([ToHub::GoOn]);
    let (numbers, complete) = found(&mut answer);
    assert_eq!((numbers.len(), complete), (1000, false));
}

#[test]
fn few_searches_go_on_at_once_and_those_that_nobody_waits_for_make_way() {
    let mut world = World::up(&["a"]);
    world.remember(1..2 * SLICE_FILES as u64, "file");
    let mut kept: Vec<_> = (0..MOST_ERRANDS)
        .map(|_| world.begin(find("other", 1)))
        .collect();
    let mut one_more = world.begin(find("other", 1));
    assert_eq!(one_more.try_recv().unwrap(), Answer::Busy);
    drop(kept.remove(0));
    kept.push(world.begin(find("other", 1)));
    world.step([]);
    for answer in &mut kept {
        assert_eq!(found(answer), (vec![], true));
    }
    assert!(world.hub.inbox.try_recv().is_err(), "nothing goes on");
}

#[test]
fn all_dead_letters_are_replayed_in_slices_each_once() {
    let mut world = World::new(&["a"]);
    world.bury(1..301);
    world.hub.next_number = 301;
    let answer = world.begin(Query::Bulk(Bulk::Replay, Box::new(Selection::all())));
    world.handle_next();
    let left = world.hub.files.ledger.dead().len();
    assert!(left > 200 && left < 300, "{left} are left after one slice");
    world.hold_errand();
    // One that dies meanwhile stays.
    world.bury(301..302);
    // Who gave the order has gone; it is carried out all the same.
    drop(answer);
    world.step([ToHub::GoOn]);
    let dead: Vec<u64> = world.hub.files.ledger.dead().keys().copied().collect();
    assert_eq!(dead, [301]);
    let ops = world.ops.0.lock().unwrap();
    let replayed = ops.iter().filter(|op| matches!(op, Op::Replay { .. }));
    assert_eq!(replayed.count(), 300);
}
