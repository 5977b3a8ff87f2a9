//! A pass of recovery that starts over, because a record says that fewer segments are needed than
//! the youngest header knew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::damage::{Frozen, frozen, segments};
use super::driver::{Workload, begun};
use crate::recovery::{self, Report};
use crate::segment::{self, HEADER_LEN, Header};
use crate::sim::SimDisk;

const SEED: u64 = 11;
const CYCLES: usize = 400;

/// What a recovery found, to be compared.
#[derive(Debug, PartialEq)]
struct Found {
    files: BTreeMap<u64, String>,
    ended: String,
    own: BTreeMap<u64, u64>,
    keys: Vec<Option<u64>>,
    next_number: u64,
    report: Report,
}

impl Found {
    /// What a recovery finds in `files`, and the numbers that it knows for these keys.
    fn in_files(files: &Frozen, keys: &[String]) -> Self {
        let found = recovery::check(files).unwrap();
        let kept = found.found_files().unwrap();
        Self {
            files: kept
                .into_iter()
                .map(|(number, file)| (number, format!("{:?}", file.accepted)))
                .collect(),
            ended: format!("{:?}", found.ended),
            own: found.own.clone(),
            keys: keys.iter().map(|key| found.keys.get(key)).collect(),
            next_number: found.next_number,
            report: found.report,
        }
    }
}

/// The oldest segment that the header of the last one names.
fn oldest(files: &Frozen) -> Option<u64> {
    let last = segments(files).pop()?;
    Some(Header::decode(files.0[&last].get(..HEADER_LEN)?)?.oldest)
}

/// A removed segment, as a crash before its removal leaves it, and damaged.
fn left_behind(bytes: &Arc<Vec<u8>>) -> [Arc<Vec<u8>>; 4] {
    let flipped = |at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        Arc::new(bytes)
    };
    let half = Arc::new(bytes[..bytes.len() / 2].to_vec());
    [bytes.clone(), flipped(24), flipped(bytes.len() / 2), half]
}

/// Nothing of what the first pass collected in a segment that is not needed may be left: neither
/// files, ends and keys, nor damage.
#[test]
fn a_pass_that_starts_over_finds_what_a_fresh_one_finds() {
    let disk = SimDisk::new();
    let mut driver = begun(&disk);
    let mut workload = Workload::new(SEED);
    let mut keys = Vec::new();
    let mut restarts = 0;
    for _ in 0..CYCLES {
        let before = frozen(&disk);
        let changes = workload.changes(&driver).unwrap();
        driver.cycle(changes).unwrap();
        let files = driver.truth.sure.files.values();
        keys.extend(files.filter_map(|file| file.meta.key.as_deref().map(str::to_owned)));
        keys.sort();
        keys.dedup();
        let after = frozen(&disk);
        for name in segments(&before) {
            let id = segment::parse_name(&name).unwrap();
            let is_removed = !after.0.contains_key(&name);
            // Otherwise the header says already that it is not needed.
            if !is_removed || oldest(&after).is_none_or(|oldest| oldest > id) {
                continue;
            }
            let fresh = Found::in_files(&after, &keys);
            for bytes in left_behind(&before.0[&name]) {
                let mut image = after.clone();
                image.0.insert(name.clone(), bytes);
                assert_eq!(Found::in_files(&image, &keys), fresh, "{name}");
                restarts += 1;
            }
        }
    }
    assert!(restarts >= 20, "only {restarts} passes started over");
}
