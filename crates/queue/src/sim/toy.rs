//! A toy journal, right and with each of the classic bugs: the simulated disk has to show them.

use std::io;
use std::sync::Arc;

use super::{Fault, Shape, SimDisk, at_every_operation};
use crate::disk::{Disk, DiskFile, read_full_at, write_all_at};
use bilico_core::checksum;

const SEED: u64 = 7;
/// More than a sector, so that a record can be torn.
const RECORD: usize = 700;
const RECORDS: u32 = 6;
const DAMAGED: u32 = u32::MAX;

/// What the toy journal does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    AckBeforeSync,
    NamesNotSynced,
    RenameBeforeSync,
    SyncAgain,
    RemoveOldFirst,
    TrustTheLength,
    RecoveredNotSynced,
}

/// A journal of numbers in `log.0`; a new generation is written to `tmp` and renamed to
/// `log.1`, and so on.
struct Toy {
    disk: SimDisk,
    bug: Bug,
    generation: u32,
    file: Option<Arc<dyn DiskFile>>,
    records: Vec<u32>,
}

fn record(number: u32) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().repeat(RECORD / 4 - 1);
    bytes.extend(checksum::crc32c(&bytes).to_le_bytes());
    bytes
}

impl Toy {
    fn open(disk: &SimDisk, bug: Bug) -> io::Result<Self> {
        let names = disk.list()?.into_iter().map(|entry| entry.name);
        let generations = names.filter_map(|name| name.strip_prefix("log.")?.parse().ok());
        let newest = generations.max();
        let mut toy = Self {
            disk: disk.clone(),
            bug,
            generation: newest.unwrap_or(0),
            file: None,
            records: vec![],
        };
        if let Some(generation) = newest {
            let file = disk.open(&format!("log.{generation}"))?;
            toy.read(&*file)?;
            toy.file = Some(file);
        }
        if newest.is_none() || bug != Bug::RecoveredNotSynced {
            toy.rotate()?;
        }
        Ok(toy)
    }

    fn read(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        let mut buffer = vec![0; RECORD];
        while read_full_at(file, &mut buffer, (self.records.len() * RECORD) as u64)? == RECORD {
            let number = u32::from_le_bytes(buffer[..4].try_into().unwrap());
            match (buffer == record(number), self.bug) {
                (true, _) => self.records.push(number),
                (false, Bug::TrustTheLength) => self.records.push(DAMAGED),
                (false, _) => break,
            }
        }
        Ok(())
    }

    /// Writes all that is known to a new generation, so that nothing depends on what was found.
    fn rotate(&mut self) -> io::Result<()> {
        if self.disk.open("tmp").is_ok() {
            self.disk.remove("tmp")?;
        }
        let file = self.disk.create("tmp")?;
        let bytes: Vec<_> = self
            .records
            .iter()
            .flat_map(|number| record(*number))
            .collect();
        write_all_at(&*file, &bytes, 0)?;
        self.generation += 1;
        if self.bug == Bug::RemoveOldFirst {
            self.remove_others()?;
        }
        if self.bug != Bug::RenameBeforeSync {
            file.sync()?;
        }
        self.disk.rename("tmp", &self.name())?;
        if self.bug == Bug::RenameBeforeSync {
            file.sync()?;
        }
        if self.bug != Bug::NamesNotSynced {
            self.disk.sync_dir()?;
        }
        self.file = Some(file);
        self.remove_others()
    }

    fn name(&self) -> String {
        format!("log.{}", self.generation)
    }

    fn remove_others(&self) -> io::Result<()> {
        let name = self.name();
        let others = self
            .disk
            .list()?
            .into_iter()
            .filter(|entry| entry.name != name && entry.name != "tmp");
        others
            .map(|entry| entry.name)
            .try_for_each(|name| self.disk.remove(&name))
    }

    fn append(&mut self, number: u32, acked: &mut Vec<u32>) -> io::Result<()> {
        let file = self.file.clone().unwrap();
        write_all_at(
            &*file,
            &record(number),
            (self.records.len() * RECORD) as u64,
        )?;
        if self.bug == Bug::AckBeforeSync {
            acked.push(number);
        }
        match file.sync() {
            Err(_) if self.bug == Bug::SyncAgain => file.sync()?,
            result => result?,
        }
        self.records.push(number);
        if self.bug != Bug::AckBeforeSync {
            acked.push(number);
        }
        Ok(())
    }
}

/// Appends all records, starts over after an error, and gives back what was acknowledged.
fn run(disk: &SimDisk, bug: Bug) -> Vec<u32> {
    let mut acked = Vec::new();
    let mut toy = None;
    for number in 0..RECORDS {
        let mut step = || -> io::Result<()> {
            let mut open = match toy.take() {
                Some(open) => open,
                None => Toy::open(disk, bug)?,
            };
            open.append(number, &mut acked)?;
            if number == 2 {
                open.rotate()?;
            }
            toy = Some(open);
            Ok(())
        };
        if step().is_err() && disk.is_crashed() {
            break;
        }
    }
    acked
}

fn recovered(disk: &SimDisk, bug: Bug) -> Result<Vec<u32>, String> {
    Toy::open(disk, bug)
        .map(|toy| toy.records)
        .map_err(|error| error.to_string())
}

/// What was acknowledged is there, once and in order, nothing else than what was appended, and
/// it stays.
fn check(image: &SimDisk, acked: &[u32], bug: Bug) -> Result<(), String> {
    let found = recovered(image, bug)?;
    let lost = acked.iter().any(|number| !found.contains(number));
    if lost || !found.is_sorted_by(|a, b| a < b) || found.contains(&DAMAGED) {
        return Err(format!("{acked:?} became {found:?}"));
    }
    let again = recovered(&image.crash(Shape::None), bug)?;
    if again == found {
        Ok(())
    } else {
        Err(format!("recovered {found:?} became {again:?}"))
    }
}

fn after_crashes(bug: Bug) -> Result<usize, String> {
    let run = |disk: &SimDisk| run(disk, bug);
    at_every_operation(
        &SimDisk::new(),
        SEED,
        SimDisk::crash_at,
        run,
        |image, acked| check(image, acked, bug),
    )
}

fn after_faults(bug: Bug, fault: Fault) -> Result<usize, String> {
    let run = |disk: &SimDisk| run(disk, bug);
    let arm = |disk: &SimDisk, operation| disk.fail_at(operation, fault);
    at_every_operation(&SimDisk::new(), SEED, arm, run, |image, acked| {
        check(image, acked, bug)
    })
}

#[test]
fn a_correct_journal_survives_every_crash() {
    let checked = after_crashes(Bug::None).unwrap();
    assert!(checked > 200, "only {checked}");
}

#[test]
fn a_correct_journal_survives_every_fault() {
    for fault in Fault::ALL {
        after_faults(Bug::None, fault).unwrap();
    }
}

/// What was found after the first crash has to be there after one during, and after, recovery.
#[test]
fn a_correct_journal_survives_a_second_crash() {
    let again = |image: &SimDisk, acked: &Vec<u32>| {
        let open = |disk: &SimDisk| drop(Toy::open(disk, Bug::None));
        let arm = SimDisk::crash_at;
        at_every_operation(image, SEED, arm, open, |image, ()| {
            check(image, acked, Bug::None)
        })
        .map(drop)
    };
    let run = |disk: &SimDisk| run(disk, Bug::None);
    at_every_operation(&SimDisk::new(), SEED, SimDisk::crash_at, run, again).unwrap();
}

#[test]
fn every_classic_bug_is_caught_by_a_crash() {
    let bugs = [
        Bug::AckBeforeSync,
        Bug::NamesNotSynced,
        Bug::RenameBeforeSync,
        Bug::RemoveOldFirst,
        Bug::TrustTheLength,
        Bug::RecoveredNotSynced,
    ];
    for bug in bugs {
        let error = after_crashes(bug).expect_err(&format!("{bug:?} was not caught"));
        assert!(error.contains("became"), "{error}");
    }
}

#[test]
fn a_sync_tried_again_is_caught_by_a_fault() {
    after_crashes(Bug::SyncAgain).unwrap();
    let error = after_faults(Bug::SyncAgain, Fault::Eio).unwrap_err();
    // It tells how to get there again: the seed, and the operations, of which one failed.
    assert!(error.contains("seed 7, operation"), "{error}");
    assert!(error.contains("sync log.2: Input/output error"), "{error}");
    assert!(after_faults(Bug::SyncAgain, Fault::Enospc).is_err());
}
