//! The journal's directory in the hands of others: moved while it is written, a segment planted or
//! taken away; and an adoption that is cut short.

use std::sync::Arc;

use super::driver::{Driver, Stop, Workload, accept, begun, small, verify};
use super::model::Truth;
use crate::disk::Disk;
use crate::recovery;
use crate::segment;
use crate::sim::{Shape, SimDisk, at_every_operation};

/// Works until the disk, or the journal, stops it. Nothing may be committed once the directory is
/// elsewhere: whoever starts next would not find it.
fn work_until_moved(disk: &SimDisk) -> (Truth, bool) {
    let mut workload = Workload::new(3);
    let mut driver = match Driver::open(disk, small(), Truth::default()) {
        Ok(driver) => driver,
        Err(stopped) => return (stopped.1, true),
    };
    for _ in 0..30 {
        let was_here = disk.is_here();
        let sure = driver.truth.sure.clone();
        let done = workload
            .changes(&driver)
            .and_then(|changes| driver.cycle(changes))
            .and_then(|()| driver.idle());
        assert!(
            was_here || driver.truth.sure == sure,
            "committed where nobody will look:\n{}",
            disk.log().join("\n")
        );
        if done.is_err() {
            return (driver.truth, true);
        }
    }
    // When nobody sends anything, the writer looks once a second.
    let is_noticed = driver.journal.verify().is_err();
    (driver.truth, is_noticed)
}

/// The directory is moved before each operation of a workload. Files were accepted on.
#[test]
fn nothing_is_committed_once_the_directory_is_elsewhere() {
    let undisturbed = SimDisk::new();
    assert!(!work_until_moved(&undisturbed).1);
    let operations = undisturbed.operations();
    assert!(operations > 100, "only {operations}");
    for operation in 0..operations {
        let disk = SimDisk::new();
        disk.move_at(operation);
        let (truth, is_noticed) = work_until_moved(&disk);
        assert!(is_noticed, "moved at {operation}");
        // It is all there where the directory lies now.
        verify(&disk.crash(Shape::None), small(), &truth)
            .unwrap_or_else(|error| panic!("moved at {operation}: {error}"));
    }
}

/// Whoever finds a segment that it did not make stops, and leaves it alone: it was removed, with
/// what another balancer had accepted.
#[test]
fn a_segment_that_another_made_is_not_touched() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 100)]).unwrap();
    let planted = segment::name(2);
    disk.put(&planted, b"another's");
    let mut number = 2;
    let error = loop {
        match driver.cycle(vec![accept(number, 500)]) {
            Ok(()) if number < 100 => number += 1,
            Ok(()) => panic!("the journal did not notice another program's segment"),
            Err(Stop::Dead(error)) => break error,
            Err(Stop::Full) => panic!("full"),
        }
    };
    assert!(
        error.contains("another program") && error.contains(&planted),
        "{error}"
    );
    assert_eq!(disk.contents(&planted), b"another's");
    assert!(
        disk.log()
            .iter()
            .all(|line| !line.contains("remove") || !line.contains(&planted)),
        "{:?}",
        disk.log()
    );
}

/// What is written to a segment whose name is gone is lost with the process.
#[test]
fn nothing_is_committed_to_a_segment_that_was_removed() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 100)]).unwrap();
    disk.take_away(&segment::name(1));
    assert!(
        driver.journal.verify().is_err(),
        "it is noticed without a commit, too"
    );
    driver.prepare().unwrap();
    driver.apply(accept(2, 100));
    let Err(Stop::Dead(error)) = driver.commit() else {
        panic!("committed")
    };
    assert!(
        error.contains(&segment::name(1)) && error.contains("removed"),
        "{error}"
    );
}

/// A crash at each operation of an adoption, in each shape: files, ends and numbers are kept,
/// servers know the journal by the one name or the other, and never by the new one while numbers
/// could be given again.
#[test]
fn an_adoption_that_is_cut_short_loses_nothing() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    driver.cycle(vec![accept(1, 100), accept(2, 10)]).unwrap();
    let end = driver.truth.sure.ending(2, true);
    driver.cycle(vec![end, accept(3, 1500)]).unwrap();
    driver.idle().unwrap();
    let truth = driver.truth.clone();
    drop(driver);
    let own = recovery::check(&disk).unwrap().journal;
    let start = disk.crash(Shape::None);
    let run = |disk: &SimDisk| {
        recovery::adopt(Arc::new(disk.clone()), small())
            .ok()
            .flatten()
            .map(|found| found.known_as)
    };
    let check = |image: &SimDisk, adopted: &Option<_>| {
        let found = recovery::check(image).map_err(|error| error.to_string())?;
        if !found.report.is_sound() || found.journal != own {
            return Err(format!("{:?}", found.report));
        }
        if adopted.is_some_and(|adopted| found.known_as != adopted) {
            return Err("adopted, and not by the name that was told".to_owned());
        }
        if found.known_as != own && found.next_number <= recovery::SKIPPED {
            return Err(format!("a new name, and number {}", found.next_number));
        }
        verify(image, small(), &truth).map(drop)
    };
    let checked = at_every_operation(&start, 7, SimDisk::crash_at, run, check).unwrap();
    assert!(checked > 20, "only {checked}");
    let known_as = run(&start).unwrap();
    assert_ne!(known_as, own);
    let again = recovery::adopt(Arc::new(start.clone()), small())
        .unwrap()
        .unwrap();
    assert!(again.known_as != known_as && again.next_number > 2 * recovery::SKIPPED);
}

/// There is nothing to adopt, and nothing is made.
#[test]
fn without_a_journal_nothing_is_adopted() {
    let disk = SimDisk::new();
    assert!(
        recovery::adopt(Arc::new(disk.clone()), small())
            .unwrap()
            .is_none()
    );
    assert!(disk.list().unwrap().is_empty());
}
