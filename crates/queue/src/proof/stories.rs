//! Bugs that the other tests here have found, or that reading the code has, each as short as it can
//! be told.

use std::sync::Arc;

use super::driver::{Driver, Stop, accept, begun, small, verify};
use super::model::{Change, File, attempt, death};
use crate::content::{self, Part};
use crate::disk::Disk;
use crate::journal::RESERVE;
use crate::recovery;
use crate::segment::HEADER_LEN;
use crate::sim::{Fault, Shape, SimDisk};
use bilico_core::durability::Durability;

/// Writes until the oldest segment holds nothing that is needed and the batch says so. File 2 ended
/// in it and is forgotten, file 1 was written again.
fn about_to_remove_a_segment(disk: &SimDisk) -> Driver {
    let mut driver = begun(disk);
    let step = |driver: &mut Driver, changes: Vec<Change>| {
        driver.prepare().unwrap();
        for change in changes {
            driver.apply(change);
        }
        driver.commit().unwrap();
    };
    step(&mut driver, vec![accept(1, 300), accept(2, 700)]);
    for number in 3..9 {
        let end = driver.truth.sure.ending(number - 1, true);
        step(
            &mut driver,
            vec![end, Change::Forget(vec![number - 1]), accept(number, 600)],
        );
    }
    driver.prepare().unwrap();
    assert!(
        driver.journal.clean(disk.space().unwrap()).unwrap() > 0,
        "there is something to clean"
    );
    driver
}

/// The crash came after the record that says a segment is not needed any more was durable, and
/// before the segment was removed. Recovery read the segment, took in the ends of files that were
/// forgotten for good, and counted them as needed of a segment that it then removed: the journal
/// thought it held more than it did, and ever more.
#[test]
fn what_a_segment_says_that_is_not_needed_does_not_count() {
    let disk = SimDisk::new();
    let mut driver = about_to_remove_a_segment(&disk);
    // Written and synced: the next operation removes.
    disk.crash_at(disk.operations() + 2);
    assert!(driver.commit().is_err());
    assert!(
        disk.log().last().unwrap().contains("remove"),
        "{:?}",
        disk.log().last()
    );
    let image = disk.crash(Shape::None);
    verify(&image, small(), &driver.truth).unwrap();
    let (journal, recovered) = recovery::open(Arc::new(disk.crash(Shape::None)), small()).unwrap();
    journal.check_invariants();
    assert!(
        recovered.ended.iter().all(|ended| ended.number != 2),
        "forgotten, and its segment done with"
    );
}

/// A removal that found no room (file systems that copy on write do that) was tried again with the
/// commit, and took the next segment, with files in it that nothing else held.
#[test]
fn a_removal_that_is_tried_again_takes_no_other_segment() {
    let disk = SimDisk::new();
    let mut driver = about_to_remove_a_segment(&disk);
    disk.fail_at(disk.operations() + 2, Fault::Enospc);
    driver.commit().unwrap();
    assert!(
        disk.log()
            .iter()
            .any(|line| line.contains("remove") && line.contains("No space")),
        "{:?}",
        disk.log()
    );
    verify(&disk.crash(Shape::None), small(), &driver.truth).unwrap();
}

/// A failed sync that spoke of room counted as a full disk and was tried again. What a sync has
/// failed to write the next one does not write either.
#[test]
fn a_sync_that_failed_for_lack_of_room_is_the_end() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 10)]).unwrap();
    driver.idle().unwrap();
    driver.apply(accept(2, 10));
    disk.fail_at(disk.operations() + 1, Fault::Enospc);
    assert!(matches!(driver.commit(), Err(Stop::Dead(_))));
    for shape in disk.shapes(1) {
        verify(&disk.crash(shape), small(), &driver.truth).unwrap();
    }
}

/// A mark is not synced, but the batch behind it claimed that all before it was. A power cut that
/// kept the batch and lost the mark was reported as damage.
#[test]
fn a_mark_lost_before_a_batch_that_was_kept_is_no_damage() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 10)]).unwrap();
    driver.idle().unwrap();
    driver.apply(accept(2, 600));
    disk.crash_at(disk.operations() + 1);
    assert!(driver.commit().is_err());
    for shape in disk.shapes(1) {
        verify(&disk.crash(shape), small(), &driver.truth)
            .unwrap_or_else(|error| panic!("{shape:?}: {error}"));
    }
}

/// A mark that did not fit was cut off again, but the next record did not take its place in the
/// count of all records: one seemed to be lost.
#[test]
fn a_mark_that_does_not_fit_leaves_no_gap() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 10)]).unwrap();
    disk.fail_at(disk.operations(), Fault::Enospc);
    driver.idle().unwrap();
    driver.cycle(vec![accept(2, 10)]).unwrap();
    verify(&disk.crash(Shape::None), small(), &driver.truth).unwrap();
}

/// A segment that held nothing was removed at the next start, and its number not given again: two
/// idle starts and a file later a segment seemed to be missing.
#[test]
fn starts_without_files_between_them_are_no_damage() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    for number in 1..5 {
        driver.cycle(vec![accept(number, 10)]).unwrap();
        for _ in 0..3 {
            driver = driver.reopen().map_err(|stopped| stopped.0).unwrap();
        }
    }
    verify(&disk.crash(Shape::None), small(), &driver.truth).unwrap();
}

/// A part outlived a sync that failed. When the upload went on, the bytes before were read back
/// from memory and taken for good, and the next sync did not write them.
#[test]
fn a_part_that_goes_on_after_a_failed_sync_is_written_again() {
    let disk = SimDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut part = Part::create(shared.clone(), 7).unwrap();
    part.write(b"content").unwrap();
    disk.fail_at(disk.operations(), Fault::Eio);
    part.finish(7, Durability::Disk).unwrap_err();
    Part::resume(shared, 7, 7)
        .unwrap()
        .finish(7, Durability::Disk)
        .unwrap();
    assert_eq!(
        disk.crash(Shape::None).contents(&content::name(7)),
        b"content"
    );
}

/// A crash while the reserve was made left an empty file, which counted as the reserve for ever.
#[test]
fn a_reserve_without_room_is_made_again() {
    let disk = SimDisk::new();
    disk.put(RESERVE, b"");
    drop(begun(&disk));
    assert_eq!(disk.contents(RESERVE).len(), 512);
}

/// What came with a file when it was accepted was lost at the next attempt, as soon as the file was
/// written again.
#[test]
fn a_history_that_comes_with_a_file_is_carried_over_with_it() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    let mut file = File::new(1, 10, false);
    file.history.add(attempt(1), true);
    file.death = Some(death(2));
    driver
        .cycle(vec![
            Change::Accept(1, file),
            Change::Attempt(1, attempt(3), true),
        ])
        .unwrap();
    for number in 2..40 {
        driver.cycle(vec![accept(number, 300)]).unwrap();
        let end = driver.truth.sure.ending(number, true);
        driver
            .cycle(vec![end, Change::Forget(vec![number])])
            .unwrap();
    }
    assert!(
        disk.list()
            .unwrap()
            .iter()
            .all(|entry| entry.name != "0000000000000001.log"),
        "it was cleaned"
    );
    verify(&disk.crash(Shape::None), small(), &driver.truth).unwrap();
}

/// The last batch was read, secured and handed out; a bit of it that flipped later was taken for a
/// torn tail, though the segment begun behind it proves that it was whole.
#[test]
fn a_tail_behind_which_a_segment_was_begun_is_not_torn() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 100)]).unwrap();
    drop(driver.reopen().map_err(|stopped| stopped.0).unwrap());
    let name = "0000000000000001.log";
    disk.flip_bit(name, (disk.contents(name).len() - 20) * 8);
    let report = recovery::check(&disk).unwrap().report;
    assert!(!report.is_sound() && report.torn.is_none(), "{report:?}");
}

/// The first seven bytes of a segment say what it is, the eighth its version. One cut to seven was
/// refused as one of a version that this program does not know.
#[test]
fn a_header_cut_before_its_version_has_none() {
    let disk = SimDisk::new();
    disk.put("0000000000000001.log", b"BILICOJ");
    assert!(recovery::check(&disk).unwrap().files.is_empty());
}

/// Recovery ignores a segment that a durable record names as not needed, so one that came back
/// would do no harm by itself. But if that record were damaged, too, files would come back whose
/// ends went with the segment behind it.
#[test]
fn a_segment_that_was_removed_stays_removed() {
    let disk = SimDisk::new();
    let mut driver = about_to_remove_a_segment(&disk);
    let oldest = "0000000000000001.log";
    assert!(disk.contents(oldest).len() > HEADER_LEN);
    driver.commit().unwrap();
    for shape in disk.shapes(1) {
        assert!(
            disk.crash(shape)
                .list()
                .unwrap()
                .iter()
                .all(|entry| entry.name != oldest),
            "{shape:?}"
        );
    }
}
