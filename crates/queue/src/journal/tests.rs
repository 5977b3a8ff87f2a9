//! The journal on a disk that crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::backlog_entry::{self, ReadBack};
use crate::content::{self, Part};
use crate::disk::Disk;
use crate::journal::{Committed, Journal, JournalConfig, Op};
use crate::record::{Accepted, Attempt, Content, Death, End, Ended, History, Meta};
use crate::recovery::{self, Recovered};
use crate::segment;
use crate::sim::SimDisk;
use bilico_core::durability::Durability;

const CONFIG: JournalConfig = JournalConfig {
    durability: Durability::Disk,
    segment_size: None,
};

fn open(disk: &SimDisk) -> (Journal, Recovered) {
    recovery::open(Arc::new(disk.clone()), CONFIG).unwrap()
}

fn content(number: u64, size: usize) -> Bytes {
    (0..size)
        .map(|at| u8::try_from((at as u64 * 31 + number * 7) % 251).unwrap())
        .collect::<Vec<u8>>()
        .into()
}

fn meta(number: u64, content: &[u8]) -> Arc<Meta> {
    Arc::new(Meta {
        title: format!("file-{number}.json").into(),
        key: Some(format!("key-{number}").into()),
        from: "127.0.0.1:40000".into(),
        size: content.len() as u64,
        crc32c: crc32c::crc32c(content),
        accepted_ms: 1000 + number,
    })
}

fn accept(number: u64, size: usize) -> Op {
    let content = content(number, size);
    let meta = meta(number, &content);
    let history = History::default();
    Op::Accept(Box::new(Accepted {
        number,
        meta,
        history,
        death: None,
        content: Content::Inline(content),
    }))
}

fn delivered(number: u64, size: usize) -> Op {
    let end = End::Delivered {
        server: "s1".into(),
        identity: Some("00".repeat(16).into()),
        confirmed: true,
    };
    let meta = meta(number, &content(number, size));
    Op::End(Box::new(Ended {
        number,
        at_ms: 5000 + number,
        end,
        meta,
        history: History::default(),
    }))
}

fn write(journal: &mut Journal, ops: Vec<Op>) -> Committed {
    journal.prepare().unwrap();
    for op in ops {
        journal.apply(op);
    }
    journal.commit().unwrap()
}

/// Cleans until there is nothing left to do, as the writer does when nothing else happens.
fn clean(journal: &mut Journal, disk: &SimDisk) -> Vec<(u64, crate::journal::Location)> {
    let mut moved = Vec::new();
    loop {
        journal.prepare().unwrap();
        let looked_at = journal.clean(disk.space().unwrap()).unwrap();
        moved.extend(journal.commit().unwrap().moved);
        if looked_at == 0 {
            return moved;
        }
    }
}

fn numbers(recovered: &Recovered) -> Vec<u64> {
    recovered.found_files().unwrap().into_keys().collect()
}

#[test]
fn what_was_committed_is_found_again_with_its_history() {
    let disk = SimDisk::new();
    let (mut journal, recovered) = open(&disk);
    assert_eq!((numbers(&recovered).len(), recovered.next_number), (0, 1));
    let committed = write(
        &mut journal,
        (1..=5).map(|number| accept(number, 100)).collect(),
    );
    assert_eq!((committed.ops, committed.stored.len()), (5, 5));
    let (number, location) = &committed.stored[2];
    assert_eq!(
        location
            .read(crc32c::crc32c(&content(*number, 100)))
            .unwrap(),
        content(3, 100)
    );
    let attempt = Attempt {
        at_ms: 77,
        server: "s2".into(),
        reason: "too large".into(),
    };
    let death = Death {
        at_ms: 78,
        reason: "refused by all".into(),
    };
    write(
        &mut journal,
        vec![
            delivered(2, 100),
            Op::Attempt {
                number: 3,
                attempt: attempt.clone(),
                is_failure: true,
            },
            Op::Bury {
                number: 3,
                death: death.clone(),
            },
            Op::Bury {
                number: 4,
                death: death.clone(),
            },
            Op::Replay { number: 4 },
            Op::Attempt {
                number: 99,
                attempt: attempt.clone(),
                is_failure: true,
            },
            delivered(99, 1),
        ],
    );
    let (_, recovered) = open(&disk);
    assert_eq!(numbers(&recovered), [1, 3, 4, 5]);
    assert_eq!(recovered.next_number, 6);
    assert!(recovered.report.is_sound(), "{:?}", recovered.report);
    let kept = recovered.found_files().unwrap();
    let third = &kept[&3].accepted;
    assert_eq!((third.history.attempts, third.history.failures), (1, 1));
    assert_eq!(
        (&third.history.first[0], third.death.as_ref()),
        (&attempt, Some(&death))
    );
    assert_eq!(kept[&4].accepted.death, None);
    let location = kept[&5].location.as_ref().unwrap();
    assert_eq!(
        location.read(third.meta.crc32c).map_err(drop),
        Err(()),
        "another file's checksum"
    );
    assert_eq!(
        location.read(kept[&5].accepted.meta.crc32c).unwrap(),
        content(5, 100)
    );
    assert_eq!(recovered.ended.len(), 1);
    assert_eq!(&*recovered.ended[0].meta.title, "file-2.json");
}

/// One file that waits for ever costs its own bytes, not those of all that pass by.
#[test]
fn room_is_given_back_while_an_old_file_waits() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(16 << 20));
    let (mut journal, _) = open(&disk);
    assert_eq!(journal.segment_size(), 1 << 20);
    write(&mut journal, vec![accept(1, 50_000)]);
    let mut most = 0;
    let mut moved = BTreeMap::new();
    for number in 2..3000 {
        write(&mut journal, vec![accept(number, 10_000)]);
        write(&mut journal, vec![delivered(number, 10_000)]);
        if number > 100 {
            write(&mut journal, vec![Op::Forget(vec![number - 100])]);
        }
        moved.extend(clean(&mut journal, &disk));
        most = most.max(journal.usage().0);
    }
    assert!(most < 3 * 50_000 + 2 * journal.segment_size(), "{most}");
    assert!(moved.contains_key(&1), "it was written again");
    assert_eq!(
        moved[&1].read(crc32c::crc32c(&content(1, 50_000))).unwrap(),
        content(1, 50_000)
    );
    let (_, recovered) = open(&disk);
    assert_eq!(numbers(&recovered), [1]);
    assert!(recovered.report.is_sound(), "{:?}", recovered.report);
    assert_eq!(recovered.next_number, 3000);
}

/// Closing them gives their room back, which takes long for large ones: the disk does that.
#[test]
fn removed_files_are_closed_by_the_disk() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(16 << 20));
    let (mut journal, _) = open(&disk);
    let mut part = Part::create(Arc::new(disk.clone()), 7).unwrap();
    part.write(&content(1, 100)).unwrap();
    part.finish(7, Durability::Disk).unwrap();
    let Op::Accept(mut accepted) = accept(1, 100) else {
        unreachable!()
    };
    accepted.content = Content::Own(7);
    write(&mut journal, vec![Op::Accept(accepted)]);
    assert_eq!(disk.closed(), 0);
    write(&mut journal, vec![delivered(1, 100)]);
    assert_eq!(disk.closed(), 1, "the content");
    assert!(disk.open(&content::name(7)).is_err());
    let first = segment::name(1);
    assert!(disk.open(&first).is_ok());
    for number in 2..200 {
        write(&mut journal, vec![accept(number, 10_000)]);
        write(&mut journal, vec![delivered(number, 10_000)]);
        write(&mut journal, vec![Op::Forget(vec![number])]);
        clean(&mut journal, &disk);
    }
    assert!(disk.open(&first).is_err());
    assert!(disk.closed() > 1, "the segment");
}

#[test]
fn many_restarts_leave_few_segments() {
    let disk = SimDisk::new();
    for number in 1..100 {
        let (mut journal, _) = open(&disk);
        write(&mut journal, vec![accept(number, 10)]);
        clean(&mut journal, &disk);
    }
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.files.len(), 99);
    assert!(disk.list().unwrap().len() < 25, "{:?}", disk.list());
}

fn read_back_all(
    journal: &Journal,
    places: &[(u64, crate::journal::Location)],
) -> BTreeMap<u64, ReadBack> {
    backlog_entry::read_back(&journal.id(), places.to_vec(), true)
        .into_iter()
        .collect()
}

fn is_whole(back: &ReadBack, number: u64, size: usize) -> bool {
    match back {
        ReadBack::File(accepted) => {
            let whole = content(number, size);
            *accepted.meta == *meta(number, &whole) && accepted.content == Content::Inline(whole)
        }
        _ => false,
    }
}

#[test]
fn files_are_read_back_from_wherever_they_stand() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(16 << 20));
    let (mut journal, _) = open(&disk);
    let mut places = Vec::new();
    for batch in 0..40 {
        let ops = (1..=10).map(|at| accept(batch * 10 + at, 9_000)).collect();
        places.extend(write(&mut journal, ops).stored);
    }
    assert!(
        journal.usage().0 > 2 * journal.segment_size(),
        "they stand in several segments"
    );
    places.reverse();
    let back = read_back_all(&journal, &places);
    assert_eq!(back.len(), 400);
    assert!(
        back.iter()
            .all(|(number, back)| is_whole(back, *number, 9_000))
    );

    // What was removed can be read on, and what was moved is found where it was moved to.
    for number in (1..=400).filter(|number| number % 8 != 0) {
        write(&mut journal, vec![delivered(number, 9_000)]);
    }
    let moved = clean(&mut journal, &disk);
    assert!(!moved.is_empty());
    let kept = |(number, _): &(u64, _)| number % 8 == 0;
    let old: Vec<_> = places.into_iter().filter(kept).collect();
    for places in [&old, &moved] {
        assert!(
            read_back_all(&journal, places)
                .iter()
                .all(|(number, back)| is_whole(back, *number, 9_000))
        );
    }
}

/// One record that cannot be read does not take its neighbours with it.
#[test]
fn a_record_that_is_damaged_is_told_of_and_its_neighbours_are_read() {
    let disk = SimDisk::new();
    let (mut journal, _) = open(&disk);
    let places = write(
        &mut journal,
        (1..=5).map(|number| accept(number, 100)).collect(),
    )
    .stored;
    let spot = places[2].1.spot();
    disk.flip_bit(
        &segment::name(places[2].1.handle().segment),
        (spot.end as usize - 10) * 8,
    );
    let back = read_back_all(&journal, &places);
    assert!(
        [1, 2, 4, 5]
            .iter()
            .all(|number| is_whole(&back[number], *number, 100))
    );
    let ReadBack::Unreadable {
        meta: Some(meta),
        reason,
    } = &back[&3]
    else {
        panic!("{:?}", back[&3])
    };
    assert_eq!(
        (&*meta.title, &**reason),
        ("file-3.json", "the content is damaged in the journal")
    );
    // The record of another file is not read for this one.
    let wrong = vec![(1, places[1].1.clone()), (9, places[4].1.clone())];
    let back = read_back_all(&journal, &wrong);
    assert!(
        back.values()
            .all(|back| matches!(back, ReadBack::Unreadable { meta: None, .. })),
        "{back:?}"
    );
}
