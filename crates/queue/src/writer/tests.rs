//! The thread, from outside: nothing is lost or counted twice.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;

use super::{Progress, Writer};
use crate::disk::Disk;
use crate::journal::{JournalConfig, Op};
use crate::record::{Accepted, Content, End, Ended, History, Meta};
use crate::recovery;
use crate::sim::{Fault, SimDisk};
use bilico_core::durability::Durability;

/// Long enough for a thread on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

fn config(durability: Durability) -> JournalConfig {
    JournalConfig {
        durability,
        segment_size: Some(64 * 1024),
    }
}

fn start(disk: &SimDisk, durability: Durability) -> (Writer, Receiver<Progress>) {
    let disk = Arc::new(disk.clone());
    let (journal, _) = recovery::open(disk.clone(), config(durability)).unwrap();
    let (tell, told) = mpsc::channel();
    let writer = Writer::start(journal, disk, move |progress| drop(tell.send(progress)));
    (writer.unwrap(), told)
}

fn meta(size: u64, crc32c: u32) -> Arc<Meta> {
    Arc::new(Meta {
        title: "title".into(),
        key: None,
        from: "client".into(),
        size,
        crc32c,
        accepted_ms: 1,
    })
}

fn accept(number: u64, size: usize) -> Op {
    let content = Bytes::from(vec![7; size]);
    Op::Accept(Box::new(Accepted {
        number,
        meta: meta(size as u64, crc32c::crc32c(&content)),
        history: History::default(),
        death: None,
        content: Content::Inline(content),
    }))
}

fn end(number: u64) -> Op {
    Op::End(Box::new(Ended {
        number,
        at_ms: 2,
        end: End::Dropped {
            reason: "old".into(),
        },
        meta: meta(1, 1),
        history: History::default(),
    }))
}

/// How many operations the thread commits, up to `ops` of them.
#[track_caller]
fn in_thread(told: &Receiver<Progress>, ops: usize) {
    let mut counted = 0;
    while counted < ops {
        match told.recv_timeout(DEADLINE).unwrap() {
            Progress::Committed(committed) => counted += committed.ops,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counted, ops);
}

fn found(disk: &SimDisk) -> Vec<u64> {
    let (_, recovered) = recovery::open(Arc::new(disk.clone()), config(Durability::Os)).unwrap();
    recovered.found_files().unwrap().into_keys().collect()
}

#[test]
fn operations_are_counted_in_their_order_and_found_again() {
    for durability in [Durability::Disk, Durability::Os] {
        let disk = SimDisk::new();
        let (writer, told) = start(&disk, durability);
        for number in 1..=3 {
            writer.submit(accept(number, 100));
        }
        writer.submit(end(2));
        in_thread(&told, 4);
        drop(writer);
        assert!(told.recv().is_err(), "it was all told");
        assert_eq!(found(&disk), [1, 3]);
    }
}

/// What waits for room is written when there is some, once.
#[test]
fn on_a_full_disk_the_thread_waits_for_room() {
    let disk = SimDisk::new();
    let (writer, told) = start(&disk, Durability::Disk);
    writer.submit(accept(1, 100));
    in_thread(&told, 1);
    let used = disk.list().unwrap().iter().map(|entry| entry.len).sum();
    disk.set_capacity(Some(used));
    // The reserve is given up for the first ones.
    let mut number = 1;
    let full = loop {
        number += 1;
        writer.submit(accept(number, 10_000));
        match told.recv_timeout(DEADLINE).unwrap() {
            Progress::Committed(committed) => assert_eq!(committed.ops, 1),
            Progress::Full(text) => break text,
            other => panic!("{other:?}"),
        }
    };
    assert!(full.contains("No space left"), "{full}");
    disk.set_capacity(None);
    assert!(matches!(told.recv_timeout(DEADLINE), Ok(Progress::Room)));
    in_thread(&told, 1);
    drop(writer);
    assert_eq!(found(&disk), (1..=number).collect::<Vec<_>>());
}

#[test]
fn a_failure_is_told_and_nothing_is_written_after_it() {
    let disk = SimDisk::new();
    let (writer, told) = start(&disk, Durability::Os);
    writer.submit(accept(1, 100));
    in_thread(&told, 1);
    disk.fail_at(disk.operations(), Fault::Eio);
    writer.submit(accept(2, 100));
    let failed = told.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(failed, Progress::Failed(_)), "{failed:?}");
    writer.submit(accept(3, 100));
    drop(writer);
    assert!(told.recv().is_err(), "it was told once");
    assert_eq!(found(&disk), [1]);
}

#[test]
fn the_journal_stays_small_however_much_passes() {
    let disk = SimDisk::new();
    let (writer, told) = start(&disk, Durability::Os);
    let mut most = 0;
    for number in 1..=2000 {
        writer.submit(accept(number, 1000));
        in_thread(&told, 1);
        writer.submit(end(number));
        writer.submit(Op::Forget(vec![number]));
        in_thread(&told, 2);
        let used: u64 = disk.list().unwrap().iter().map(|entry| entry.len).sum();
        most = most.max(used);
    }
    assert!(most < 2_000_000, "{most} bytes for 2 MB that passed");
    drop(writer);
    assert_eq!(found(&disk), [0; 0]);
}
