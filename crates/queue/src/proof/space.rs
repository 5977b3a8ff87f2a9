//! Room: what the journal takes, what it gives back, and what it does when there is none.

use std::collections::HashMap;

use bytes::Bytes;

use super::driver::{Driver, Stop, config, verify};
use super::model::{Change, File, Truth};
use crate::disk::Disk;
use crate::journal::Journal;
use crate::record::Record;
use crate::segment::{self, Framer, Item, Scan};
use crate::sim::{Fault, Shape, SimDisk};
use bilico_core::durability::Durability;

fn used(disk: &SimDisk) -> u64 {
    disk.list().unwrap().iter().map(|entry| entry.len).sum()
}

/// The bytes of the records that are needed, counted from what is on the disk.
fn needed(disk: &SimDisk, journal: &Journal, truth: &Truth) -> u64 {
    let (mut files, mut ended) = (HashMap::new(), HashMap::new());
    for entry in disk.list().unwrap() {
        let Some(id) = segment::parse_name(&entry.name) else {
            continue;
        };
        let bytes = Bytes::from(disk.contents(&entry.name));
        for item in Scan::new(Framer::new(&journal.id(), id), &bytes, true) {
            let Item::Record(found) = item else {
                panic!("{item:?}")
            };
            match found.record {
                Record::Accepted(accepted) => files.insert(accepted.number, found.len as u64),
                Record::Ended(end) => ended.insert(end.number, found.len as u64),
                _ => None,
            };
        }
    }
    let waiting = truth.sure.files.keys().map(|number| files[number]);
    waiting
        .chain(truth.sure.ended.keys().map(|number| ended[number]))
        .sum()
}

/// One file is stuck, a hundred thousand pass by.
#[test]
fn a_stuck_file_costs_its_own_bytes_only() {
    const PASSING: u64 = 100_000;
    const TOGETHER: u64 = 50;
    let disk = SimDisk::new();
    let mut driver = Driver::open(&disk, config(Durability::Disk, 1 << 20), Truth::default())
        .map_err(|stopped| stopped.0)
        .unwrap();
    driver
        .cycle(vec![Change::Accept(1, File::new(1, 1024, false))])
        .unwrap();
    let (mut most, segment) = (0, driver.journal.segment_size());
    for first in (2..PASSING).step_by(50) {
        let numbers = first..first + TOGETHER;
        driver
            .cycle(
                numbers
                    .clone()
                    .map(|number| Change::Accept(number, File::new(number, 1024, false)))
                    .collect(),
            )
            .unwrap();
        let undelivered: u64 = driver
            .truth
            .sure
            .files
            .values()
            .map(|file| file.meta.size)
            .sum();
        let mut ends: Vec<_> = numbers
            .map(|number| driver.truth.sure.ending(number, true))
            .collect();
        if first > 1000 {
            ends.push(Change::Forget(
                (first - 1000..first - 1000 + TOGETHER).collect(),
            ));
        }
        driver.cycle(ends).unwrap();
        driver.truth.sure.forgotten.clear();
        driver.journal.restore_reserve();
        let taken = used(&disk);
        most = most.max(taken);
        assert!(
            taken <= 3 * undelivered + 2 * segment,
            "{taken} bytes for {undelivered}"
        );
        if first % 10_000 == 2 {
            driver.check_locations();
            assert_eq!(
                driver.journal.usage().1,
                needed(&disk, &driver.journal, &driver.truth)
            );
        }
    }
    println!("at most {most} bytes in segments of {segment}");
    driver.truth.sure.ended.clear();
    assert_eq!(driver.truth.sure.files.len(), 1);
}

/// A disk that is nearly full all the time: what does not fit waits, and goes on when something was
/// delivered or room was made.
#[test]
fn a_disk_that_is_nearly_full_loses_nothing() {
    for room in (6_000..12_000).step_by(250) {
        let disk = SimDisk::new();
        disk.set_capacity(Some(room));
        let mut driver = Driver::open(&disk, config(Durability::Disk, 1024), Truth::default())
            .map_err(|stopped| stopped.0)
            .unwrap();
        let mut full = 0;
        for number in 1..120 {
            let mut changes = vec![Change::Accept(number, File::new(number, 200, false))];
            if let Some(first) = driver
                .truth
                .sure
                .files
                .keys()
                .copied()
                .next()
                .filter(|first| number - first > 4)
            {
                changes.extend([
                    driver.truth.sure.ending(first, true),
                    Change::Forget(vec![first]),
                ]);
            }
            if let Err(Stop::Full) = driver.cycle(changes) {
                full += 1;
                disk.set_capacity(Some(used(&disk) + 8_000));
                driver.idle().unwrap();
                driver.clean(100_000).unwrap();
                driver.idle().unwrap();
                disk.set_capacity(Some(room.max(used(&disk))));
            }
            driver.journal.restore_reserve();
            if number % 10 == 0 {
                verify(&disk.crash(Shape::None), driver.config, &driver.truth).unwrap();
            }
        }
        println!("{room}: full {full} times");
    }
}

/// The disk is full when the balancer starts: the reserve is enough to begin, and nothing is lost.
#[test]
fn a_full_disk_opens_with_the_reserve_or_says_why_not() {
    let disk = SimDisk::new();
    let mut driver = Driver::open(&disk, config(Durability::Disk, 2048), Truth::default())
        .map_err(|stopped| stopped.0)
        .unwrap();
    driver
        .cycle(
            (1..9)
                .map(|number| Change::Accept(number, File::new(number, 300, false)))
                .collect(),
        )
        .unwrap();
    driver.idle().unwrap();
    let (truth, config) = (driver.truth.clone(), driver.config);
    let image = disk.crash(Shape::None);
    image.set_capacity(Some(used(&image)));
    verify(&image, config, &truth).unwrap();
    // Without a reserve there is nothing to begin with.
    if image.open("reserve").is_ok() {
        image.remove("reserve").unwrap();
    }
    image.set_capacity(Some(used(&image)));
    let error = verify(&image, config, &truth).err();
    assert!(
        error
            .as_ref()
            .is_none_or(|error| error.contains("No space left")),
        "{error:?}"
    );
    image.set_capacity(None);
    verify(&image, config, &truth).unwrap();
}

/// At each operation there is no room once, and it is tried again: nothing is there twice, and
/// nothing is missing.
#[test]
fn what_is_tried_again_leaves_no_hole_and_nothing_twice() {
    let undisturbed = SimDisk::new();
    drop(Driver::open(
        &undisturbed,
        config(Durability::Disk, 1024),
        Truth::default(),
    ));
    for fault in [Fault::Enospc, Fault::ShortThenEnospc] {
        // Behind the start, for which nobody has kept room back.
        for operation in undisturbed.operations().. {
            let disk = SimDisk::new();
            disk.fail_at(operation, fault);
            let mut driver = Driver::open(&disk, config(Durability::Disk, 1024), Truth::default())
                .map_err(|stopped| stopped.0)
                .unwrap();
            let mut stopped = false;
            for number in 1..40 {
                let mut changes = vec![Change::Accept(number, File::new(number, 150, false))];
                if number > 3 {
                    changes.extend([
                        driver.truth.sure.ending(number - 2, true),
                        Change::Forget(vec![number - 3]),
                    ]);
                }
                stopped = driver.cycle(changes).and_then(|()| driver.idle()).is_err();
                if stopped {
                    break;
                }
            }
            let log = disk.log();
            let is_sync = log
                .get(operation)
                .is_some_and(|line| line.contains(" sync "));
            assert_eq!(
                stopped,
                is_sync,
                "only a failed sync is the end: {:?}",
                log.get(operation)
            );
            for shape in [Shape::All, Shape::None] {
                verify(&disk.crash(shape), driver.config, &driver.truth)
                    .unwrap_or_else(|error| panic!("{error}\n{}", log.join("\n")));
            }
            if operation > disk.operations() {
                break;
            }
        }
    }
}
