//! Recovery of the journal from a directory that holds anything.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bilico_queue::disk::Disk;
use bilico_queue::sim::SimDisk;
use bilico_queue::{Durability, JournalConfig, recovery};

use crate::TIME;

/// A change of a file: which file, where, and to which byte; or its end, if there is none.
type Change = (u8, u16, Option<u8>);

/// The journal that all releases must read.
fn sample() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/journal-v1");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// A check changes nothing; and what an opening has found, the next one finds again, with no damage
/// that was not known.
fn holds(disk: &SimDisk) {
    let before = disk.operations();
    let _ = recovery::check(disk);
    assert_eq!(disk.operations(), before, "a check changes nothing");
    let config = JournalConfig {
        durability: Durability::Disk,
        segment_size: None,
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone_deep());
    let Ok((journal, first)) = recovery::open(disk.clone(), config) else {
        return;
    };
    drop(journal);
    let (_, second) = recovery::open(disk, config).unwrap();
    assert_eq!(second.files.len(), first.files.len());
    assert!(second.next_number >= first.next_number);
    assert!(second.report.torn.is_none(), "{:?}", second.report.torn);
}

#[test]
fn a_journal_with_changed_bytes() {
    let sample = sample();
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<Change>>()
        .for_each(|changes| {
            let mut files = sample.clone();
            for (file, at, byte) in changes.iter().take(8) {
                let place = usize::from(*file) % files.len();
                let bytes = &mut files[place].1;
                let at = usize::from(*at) % bytes.len().max(1);
                match byte {
                    Some(byte) if at < bytes.len() => bytes[at] = *byte,
                    _ => bytes.truncate(at),
                }
            }
            let disk = SimDisk::new();
            for (name, bytes) in &files {
                disk.put(name, bytes);
            }
            holds(&disk);
        });
}

#[test]
fn a_segment_of_any_bytes() {
    let name = sample()
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| Path::new(name).extension().is_some_and(|end| end == "log"))
        .unwrap();
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| {
            let disk = SimDisk::new();
            disk.put(&name, bytes);
            holds(&disk);
        });
}
