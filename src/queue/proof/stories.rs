//! Bugs that the other tests here have found, or that reading the code has, each as short as it can be told.

use std::sync::Arc;

use super::driver::{Driver, config, verify};
use super::model::{Change, File, Truth, attempt, death};
use crate::queue::content::{self, Part};
use crate::queue::disk::Disk;
use crate::queue::journal::{Durability, JournalConfig, RESERVE};
use crate::queue::recovery;
use crate::queue::sim::{Fault, Shape, SimDisk};

fn small() -> JournalConfig {
    config(Durability::Disk, 2048)
}

fn begun(disk: &SimDisk) -> Driver {
    Driver::open(disk, small(), Truth::default()).map_err(|(stop, _)| stop).unwrap()
}

fn accept(number: u64, size: usize) -> Change {
    Change::Accept(number, File::new(number, size, false))
}

/// Writes until the oldest segment holds nothing that is needed and the batch says so. File 2 ended in it and is
/// forgotten, file 1 was written again.
fn about_to_remove_a_segment(disk: &SimDisk) -> Driver {
    let mut driver = begun(disk);
    let step = |driver: &mut Driver, changes: Vec<Change>| {
        driver.prepare().unwrap();
        changes.into_iter().for_each(|change| driver.apply(change));
        driver.commit().unwrap();
    };
    step(&mut driver, vec![accept(1, 300), accept(2, 700)]);
    for number in 3..9 {
        let end = driver.truth.sure.ending(number - 1, true);
        step(&mut driver, vec![end, Change::Forget(vec![number - 1]), accept(number, 600)]);
    }
    driver.prepare().unwrap();
    assert!(driver.journal.clean(disk.space().unwrap()).unwrap() > 0, "there is something to clean");
    driver
}

/// The crash came after the record that says a segment is not needed any more was lasting, and before the segment was
/// removed. Recovery read the segment, took in the ends of files that were forgotten for good, and counted them as
/// needed of a segment that it then removed: the journal thought it held more than it did, and ever more.
#[test]
fn what_a_segment_says_that_is_not_needed_does_not_count() {
    let disk = SimDisk::new();
    let mut driver = about_to_remove_a_segment(&disk);
    // Written and synced: the next operation removes.
    disk.crash_at(disk.operations() + 2);
    assert!(driver.commit().is_err());
    assert!(disk.log().last().unwrap().contains("remove"), "{:?}", disk.log().last());
    let image = disk.crash(Shape::None);
    verify(&image, small(), &driver.truth).unwrap();
    let (journal, recovered) = recovery::open(Arc::new(disk.crash(Shape::None)), small(), |_| false).unwrap();
    journal.check_invariants();
    assert!(recovered.ended.iter().all(|ended| ended.number != 2), "forgotten, and its segment done with");
}
