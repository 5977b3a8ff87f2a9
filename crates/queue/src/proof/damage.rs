//! Bits that flip, and files that are cut, gone, or not ours.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::driver::{Driver, config};
use super::model::{Change, File, Model, Truth, attempt, death, read_content};
use super::sample::Sample;
use crate::disk::{DirEntry, Disk, DiskFile, FileId, Space};
use crate::error::JournalError;
use crate::journal::JournalConfig;
use crate::recovery::{self, Recovered, Report};
use crate::segment::{self, HEADER_LEN};
use crate::sim::SimDisk;
use bilico_core::durability::Durability;

const SEGMENT: u64 = 12 * 1024;

fn medium() -> JournalConfig {
    config(Durability::Disk, SEGMENT)
}

/// Files that can only be read; cheap to change one of.
#[derive(Clone, Default)]
pub(super) struct Frozen(pub(super) BTreeMap<String, Arc<Vec<u8>>>);

struct FrozenFile(Arc<Vec<u8>>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Frozen {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, bytes): (&String, &Arc<Vec<u8>>)| DirEntry {
            name: name.clone(),
            len: bytes.len() as u64,
            is_file: true,
        };
        Ok(self.0.iter().map(entry).collect())
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FrozenFile(bytes.clone())))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self) -> io::Result<()> {
        refused()
    }

    fn space(&self) -> io::Result<Space> {
        refused()
    }

    fn is_in_place(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn id_of(&self, _: &str) -> io::Result<Option<FileId>> {
        refused()
    }
}

impl DiskFile for FrozenFile {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self
            .0
            .get(usize::try_from(offset).unwrap()..)
            .unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        refused()
    }
}

/// A journal of at least 64 KiB that was closed in an orderly way, and all that it holds.
pub(super) fn closed() -> (SimDisk, Model) {
    let disk = SimDisk::new();
    let mut driver = Driver::open(&disk, medium(), Truth::default())
        .map_err(|stopped| stopped.0)
        .unwrap();
    for number in 1..=33 {
        let size = [0, 100, 3000, 5000][usize::try_from(number % 4).unwrap()];
        let file = File::new(number, size, number == 9);
        if file.own {
            assert!(driver.upload(number, &file.content, true).unwrap());
        }
        let mut changes = vec![Change::Accept(number, file)];
        match number {
            5 | 12 | 20 => changes.push(driver.truth.sure.ending(number - 1, number != 12)),
            6 => changes.push(Change::Attempt(3, attempt(6), true)),
            7 => changes.extend([Change::Bury(5, death(7)), Change::Bury(6, death(7))]),
            8 => changes.push(Change::Replay(6)),
            _ => {}
        }
        driver.cycle(changes).unwrap();
    }
    driver.idle().unwrap();
    (disk, driver.truth.sure)
}

pub(super) fn frozen(disk: &SimDisk) -> Frozen {
    Frozen(
        disk.list()
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name.clone(), Arc::new(disk.contents(&entry.name))))
            .collect(),
    )
}

pub(super) fn segments(files: &Frozen) -> Vec<String> {
    files
        .0
        .keys()
        .filter(|name| segment::parse_name(name).is_some())
        .cloned()
        .collect()
}

/// Checks that nothing is invented, that whatever is found is read or reported as unreadable, and
/// that everything missing or changed is reported.
pub(super) fn judge(disk: &dyn Disk, model: &Model, recovered: &Recovered) -> Result<(), String> {
    judge_kept(disk, model, recovered, !recovered.report.is_sound())
}

/// The same, where `is_told` says whether losses were reported.
pub(super) fn judge_kept(
    disk: &dyn Disk,
    model: &Model,
    recovered: &Recovered,
    is_told: bool,
) -> Result<(), String> {
    let report = &recovered.report;
    for (number, kept) in &recovered.found_files()? {
        let was = model.files.get(number);
        let ended = model.ended.get(number).map(|ended| &ended.meta);
        let Some(meta) = was.map(|file| &file.meta).or(ended) else {
            return Err(format!("{number} is invented"));
        };
        if kept.accepted.meta != *meta {
            return Err(format!("{number} has become {:?}", kept.accepted));
        }
        let as_it_was = was.is_some_and(|file| {
            (&file.history, &file.death) == (&kept.accepted.history, &kept.accepted.death)
        });
        if !as_it_was && !is_told {
            return Err(format!("{number} has another history, in silence"));
        }
        if let (Ok(content), Some(file)) = (read_content(disk, kept), was)
            && content != file.content
        {
            return Err(format!("{number} has another content"));
        }
    }
    for ended in &recovered.ended {
        if model.ended.get(&ended.number) != Some(ended) {
            return Err(format!("the end of {} is invented", ended.number));
        }
    }
    let lost = model
        .files
        .keys()
        .any(|number| !recovered.files.contains(*number));
    let forgotten = model.ended.len() > recovered.ended.len();
    if (lost || forgotten) && !is_told {
        return Err(format!("a file is lost in silence: {report:?}"));
    }
    if recovered.next_number <= model.highest {
        Err("a number is given again".into())
    } else {
        Ok(())
    }
}

/// The report of a check that must pass [`judge`]; `None` if the journal is refused as a whole.
fn judge_read(disk: &Frozen, model: &Model) -> Result<Option<Report>, String> {
    match recovery::check(disk) {
        Ok(recovered) => judge(disk, model, &recovered).map(|()| Some(recovered.report)),
        Err(JournalError::Foreign { .. } | JournalError::NoIdentity) => Ok(None),
        Err(error) => Err(format!("an error that should not be: {error}")),
    }
}

#[test]
fn a_journal_that_is_repaired_is_found_the_same_again() {
    let (disk, model) = closed();
    for name in segments(&frozen(&disk)) {
        for byte in (0..disk.contents(&name).len()).step_by(97) {
            let image = disk.clone_deep();
            image.flip_bit(&name, byte * 8 + 3);
            let open = || recovery::open(Arc::new(image.clone()), medium()).unwrap();
            let (journal, first) = open();
            journal.check_invariants();
            judge(&image, &model, &first)
                .unwrap_or_else(|error| panic!("byte {byte} of {name}: {error}"));
            let (_, second) = open();
            assert_eq!(first.report.damage.len(), second.report.damage.len());
            assert!(
                second.report.damage.iter().all(|damage| damage.is_known),
                "{:?}",
                second.report
            );
            let numbers = |recovered: &Recovered| {
                recovered
                    .files
                    .iter()
                    .map(|(number, _)| number)
                    .collect::<Vec<_>>()
            };
            assert_eq!(numbers(&first), numbers(&second));
        }
    }
}

/// At each eighth byte; at all with `BILICO_PROOF=full`.
#[test]
fn a_cut_segment_loses_only_what_was_cut() {
    let sample = Sample::of_this_run();
    let (disk, model) = closed();
    let files = frozen(&disk);
    let names = segments(&files);
    for name in &names {
        let is_last = Some(name) == names.last();
        for len in (0..files.0[name].len()).filter(|len| sample.takes(*len)) {
            let mut files = files.clone();
            Arc::make_mut(files.0.get_mut(name).unwrap()).truncate(len);
            let recovered = recovery::check(&files).unwrap();
            let told = judge(&files, &model, &recovered);
            // At the very end a cut looks as if nothing had been written there.
            assert!(is_last || told.is_ok(), "{name} cut to {len}: {told:?}");
            assert!(
                !is_last
                    || !told
                        .is_err_and(|error| error.contains("invented") || error.contains("become"))
            );
        }
    }
}

#[test]
fn a_segment_that_is_missing_or_elsewhere_is_told_of() {
    let (disk, model) = closed();
    let files = frozen(&disk);
    let names = segments(&files);
    for (place, name) in names.iter().enumerate() {
        let mut gone = files.clone();
        gone.0.remove(name);
        if place + 1 < names.len() {
            assert!(
                !judge_read(&gone, &model).unwrap().unwrap().is_sound(),
                "without {name}"
            );
        }
        let mut swapped = files.clone();
        let other = &names[(place + 1) % names.len()];
        swapped.0.insert(name.clone(), files.0[other].clone());
        swapped.0.insert(other.clone(), files.0[name].clone());
        assert!(
            matches!(recovery::check(&swapped), Err(JournalError::Foreign { .. })),
            "{name} and {other}"
        );
        let mut foreign = files.clone();
        foreign
            .0
            .insert(name.clone(), frozen(&closed().0).0[name].clone());
        assert!(
            matches!(recovery::check(&foreign), Err(JournalError::Foreign { .. })),
            "another's {name}"
        );
        let mut empty = files.clone();
        empty.0.insert(name.clone(), Arc::default());
        if place + 1 < names.len() {
            assert!(
                !judge_read(&empty, &model).unwrap().unwrap().is_sound(),
                "{name} empty"
            );
        }
        for start in (0..files.0[name].len()).step_by(512) {
            let mut zeros = files.clone();
            let bytes = Arc::make_mut(zeros.0.get_mut(name).unwrap());
            let end = bytes.len().min(start + 4096);
            bytes[start..end].fill(0);
            let recovered = recovery::check(&zeros).unwrap();
            // Zeros up to the end of all look as if the last batch had not been synced.
            let is_tail = place + 1 == names.len() && recovered.report.torn.is_some();
            judge(&zeros, &model, &recovered)
                .or_else(|error| if is_tail { Ok(()) } else { Err(error) })
                .unwrap();
        }
    }
}

#[test]
fn another_version_is_refused_and_unknown_files_are_left_alone() {
    let (disk, model) = closed();
    let name = segments(&frozen(&disk)).remove(1);
    let mut bytes = disk.contents(&name);
    bytes[7] = 9;
    let crc = crc32c::crc32c(&bytes[..56]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    let newer = disk.clone_deep();
    newer.put(&name, &bytes);
    let error = recovery::open(Arc::new(newer), medium())
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, JournalError::Version { version: 9, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("version 9"), "{error}");

    let unknown = [
        "notes.txt",
        "0.log",
        "content-1",
        "content-zz",
        "journal-id.bak",
        "0000000000000001.log~",
        "part-1",
    ];
    for name in unknown {
        disk.put(name, b"what is this");
    }
    let (_, recovered) = recovery::open(Arc::new(disk.clone()), medium()).unwrap();
    assert!(recovered.report.is_sound());
    judge(&disk, &model, &recovered).unwrap();
    for name in unknown {
        assert_eq!(disk.contents(name), b"what is this");
    }
}

/// Bytes that are no segment, under the highest name that a segment can have.
#[test]
fn garbage_under_the_names_of_segments_does_not_end_the_program() {
    for len in [0, 1, HEADER_LEN, HEADER_LEN + 1, 5000] {
        let (disk, model) = closed();
        disk.put(&segment::name(u64::MAX), &vec![0xA5; len]);
        match recovery::open(Arc::new(disk.clone()), medium()) {
            Ok((_, recovered)) => judge(&disk, &model, &recovered).unwrap(),
            Err(error) => assert!(
                error.to_string().contains("ffffffffffffffff.log"),
                "{error}"
            ),
        }
    }
}
