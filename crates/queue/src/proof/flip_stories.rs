//! The journals in which the proof flips bits.

use std::sync::Arc;

use bilico_core::durability::Durability;

use super::damage::{Frozen, closed, frozen, segments};
use super::driver::{Driver, config};
use super::model::{Change, File, Model, Truth, attempt, death};
use crate::recovery;
use crate::segment::{HEAD_LEN, HEADER_LEN, KIND_AT, parse_name};
use crate::sim::SimDisk;

/// The kind of a record that is a mark.
const MARK: u8 = 6;

/// A journal in which bits flip.
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) files: Frozen,
    /// All that it holds, and what it held before its last batch.
    pub(super) model: Model,
    pub(super) before: Model,
    /// Where its last batch begins, if nothing was written behind it.
    pub(super) open: Option<(String, usize)>,
}

/// A journal of one segment with all kinds of records, as a kill leaves it: with a mark at its end,
/// or before there was one.
pub(super) fn one_segment(name: &'static str, is_marked: bool, is_adopted: bool) -> Story {
    let disk = SimDisk::new();
    let config = config(Durability::Disk, 8 * 1024);
    let mut driver = Driver::open(&disk, config, Truth::default())
        .map_err(|stopped| stopped.0)
        .unwrap();
    let large = File::new(3, 300, true);
    assert!(driver.upload(3, &large.content, false).unwrap());
    let accept = |number, size| Change::Accept(number, File::new(number, size, false));
    driver
        .cycle(vec![accept(1, 100), accept(2, 0), Change::Accept(3, large)])
        .unwrap();
    let end = driver.truth.sure.ending(2, true);
    driver
        .cycle(vec![
            end,
            Change::Attempt(1, attempt(6), true),
            accept(4, 200),
        ])
        .unwrap();
    driver
        .cycle(vec![
            Change::Bury(1, death(7)),
            Change::Bury(4, death(8)),
            Change::Replay(4),
        ])
        .unwrap();
    let before = driver.truth.sure.clone();
    let segment = "0000000000000001.log".to_owned();
    let open = (!is_marked).then(|| (segment.clone(), disk.contents(&segment).len()));
    driver.cycle(vec![accept(5, 150), accept(6, 50)]).unwrap();
    if is_marked {
        driver.idle().unwrap();
    }
    let model = driver.truth.sure.clone();
    drop(driver);
    if is_adopted {
        recovery::adopt(Arc::new(disk.clone()), config)
            .unwrap()
            .unwrap();
    }
    disk.put("lock", b"4711\n");
    let files = frozen(&disk);
    assert_eq!(
        segments(&files).len(),
        if is_adopted { 2 } else { 1 },
        "{name}"
    );
    Story {
        name,
        files,
        model,
        before,
        open,
    }
}

/// A journal of several segments that was closed in an orderly way.
pub(super) fn several_segments() -> Story {
    let (disk, model) = closed();
    let files = frozen(&disk);
    assert!(segments(&files).len() >= 4);
    Story {
        name: "several segments",
        files,
        before: model.clone(),
        model,
        open: None,
    }
}

impl Story {
    /// What part of a file each of its bytes belongs to.
    pub(super) fn parts(&self, name: &str) -> Vec<&'static str> {
        let bytes = &self.files.0[name];
        if name == "journal-id" {
            return (0..bytes.len())
                .map(|at| if at < 42 { "first line" } else { "second line" })
                .collect();
        }
        if parse_name(name).is_none() {
            return vec!["all"; bytes.len()];
        }
        let mut parts = vec!["header"; HEADER_LEN];
        while let Some(head) = bytes.get(parts.len()..parts.len() + HEAD_LEN) {
            let offset = parts.len();
            let body = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
            let is_open = self
                .open
                .as_ref()
                .is_some_and(|(file, start)| file == name && *start <= offset);
            let part = |usual| {
                if is_open {
                    "last batch, nothing behind it"
                } else {
                    usual
                }
            };
            if head[KIND_AT] == MARK {
                parts.resize(offset + HEAD_LEN, "mark at the end");
            } else {
                parts.resize(offset + HEAD_LEN, part("records: heads"));
                parts.resize(offset + HEAD_LEN + body, part("records: bodies"));
                parts.resize(
                    (offset + HEAD_LEN + body).next_multiple_of(8),
                    part("records: padding"),
                );
            }
        }
        assert_eq!(parts.len(), bytes.len(), "{name}");
        parts
    }
}
