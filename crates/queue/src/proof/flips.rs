//! Every bit of every file of a journal, flipped one at a time: in journals of one segment and of
//! several.
//!
//! Each flip has to be told of, or to change nothing. Only in a batch behind which nothing was
//! written yet may it be taken for a torn tail: nothing on the disk says then that the batch was
//! synced. The table that is printed stands in `docs/testing.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::damage::{Frozen, closed, frozen, judge, judge_kept, segments};
use super::driver::{Driver, config};
use super::from_environment;
use super::model::{Change, File, Model, Truth, attempt, death};
use crate::Durability;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::recovery;
use crate::segment::{HEAD_LEN, HEADER_LEN, KIND_AT, parse_name};
use crate::sim::SimDisk;

/// The kind of a record that is a mark.
const MARK: u8 = 6;

/// A journal in which bits flip.
struct Story {
    name: &'static str,
    files: Frozen,
    /// All that it holds, and what it held before its last batch.
    model: Model,
    before: Model,
    /// Where its last batch begins, if nothing was written behind it.
    open: Option<(String, usize)>,
}

/// What becomes of a flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It is told of as damage.
    Told,
    /// The journal is not opened.
    Refused,
    /// It is taken for a torn tail, copied aside and told of.
    Torn,
    /// Nothing is different.
    Same,
}

/// For each part of each file, how many of its bits had which verdict.
type Counts = BTreeMap<(String, &'static str), BTreeMap<Verdict, usize>>;

/// A journal of one segment with all kinds of records, as a kill leaves it: with a mark at its end,
/// or before there was one.
fn one_segment(name: &'static str, is_marked: bool, is_adopted: bool) -> Story {
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

fn several_segments() -> Story {
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
    fn parts(&self, name: &str) -> Vec<&'static str> {
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

    fn verdict(&self, files: &Frozen) -> Result<Verdict, String> {
        let recovered = match recovery::check(files) {
            Ok(recovered) => recovered,
            Err(
                JournalError::Foreign { .. }
                | JournalError::NoIdentity
                | JournalError::SegmentsGone { .. },
            ) => {
                return Ok(Verdict::Refused);
            }
            Err(error) => return Err(format!("an error that should not be: {error}")),
        };
        let report = &recovered.report;
        let Some(torn) = report.torn.as_ref().filter(|_| report.is_sound()) else {
            judge(files, &self.model, &recovered)?;
            return Ok(if report.is_sound() {
                Verdict::Same
            } else {
                Verdict::Told
            });
        };
        let is_in_last =
            |(name, start): &(String, usize)| torn.name == *name && torn.offset >= *start as u64;
        let is_mark = judge(files, &self.model, &recovered).is_ok();
        if !is_mark && !self.open.as_ref().is_some_and(is_in_last) {
            return Err(format!(
                "more than the last batch is taken for torn: {torn:?}"
            ));
        }
        judge_kept(files, &self.model, &recovered, true)?;
        let lost = self
            .before
            .files
            .keys()
            .find(|number| !recovered.files.contains(**number));
        lost.map_or(Ok(Verdict::Torn), |lost| {
            Err(format!("{lost} is lost with the tail"))
        })
    }

    /// A file that is not found any more.
    fn lost(&self, files: &Frozen) -> Option<u64> {
        let recovered = recovery::check(files).ok()?;
        self.model
            .files
            .keys()
            .copied()
            .find(|number| !recovered.files.contains(*number))
    }

    /// Flips each bit, or one of `step`, on as many threads as there are cores.
    fn flip(&self, step: usize) -> Counts {
        let parts = self
            .files
            .0
            .keys()
            .map(|name| (name.clone(), self.parts(name)));
        let bytes: Vec<(String, usize, &str)> = parts
            .flat_map(|(name, parts)| {
                parts
                    .into_iter()
                    .enumerate()
                    .map(move |(at, part)| (name.clone(), at, part))
                    .collect::<Vec<_>>()
            })
            .collect();
        let (next, counts) = (AtomicUsize::new(0), Mutex::new(Counts::new()));
        let flip = || {
            while let Some((name, at, part)) = bytes.get(next.fetch_add(1, Ordering::Relaxed)) {
                for bit in (0..8).filter(|bit| (*at * 8 + bit).is_multiple_of(step)) {
                    let mut files = self.files.clone();
                    Arc::make_mut(files.0.get_mut(name).unwrap())[*at] ^= 1 << bit;
                    let spares =
                        ["first line", "second line", "header", "mark at the end"].contains(part);
                    let lost = if spares { self.lost(&files) } else { None };
                    let verdict = match lost {
                        Some(number) => {
                            Err(format!("{number} is lost, though it stands elsewhere"))
                        }
                        None => self.verdict(&files),
                    };
                    let verdict = verdict.unwrap_or_else(|error| {
                        panic!("{}: bit {bit} of byte {at} of {name}: {error}", self.name)
                    });
                    let row = (kind(name).to_owned(), *part);
                    *counts
                        .lock()
                        .unwrap()
                        .entry(row)
                        .or_default()
                        .entry(verdict)
                        .or_default() += 1;
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(flip)).collect();
            for thread in threads {
                thread.join().unwrap();
            }
        });
        counts.into_inner().unwrap()
    }

    fn print(&self, counts: &Counts) {
        for ((file, part), verdicts) in counts {
            let count = |verdict| verdicts.get(&verdict).copied().unwrap_or(0);
            let [told, refused, torn, same] = [
                Verdict::Told,
                Verdict::Refused,
                Verdict::Torn,
                Verdict::Same,
            ]
            .map(count);
            let flips = told + refused + torn + same;
            println!(
                "| {} | {file} | {part} | {flips} | {told} | {refused} | {torn} | {same} |",
                self.name
            );
        }
    }
}

fn kind(name: &str) -> &str {
    if parse_name(name).is_some() {
        "segment"
    } else if name.starts_with("content-") {
        "content"
    } else {
        name
    }
}

/// Of the journal of several segments each eleventh bit; all with `BILICO_EVERY_BIT=1`.
///
/// In journals of one segment a flipped bit in `journal-id` made all of it a torn tail. The test
/// that flips bits there had a journal of several segments, in which all but the last told of
/// damage whatever the identity was taken for.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let stories = [
        one_segment("one segment", true, false),
        one_segment("one segment, killed before the mark", false, false),
        one_segment("one segment, adopted", true, true),
        several_segments(),
    ];
    println!(
        "| journal | file | part | flips | told of, exit code 6 | refused | taken for torn | no difference |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for story in stories {
        // The long one takes minutes.
        let is_long =
            segments(&story.files).len() > 2 && from_environment("BILICO_EVERY_BIT").is_none();
        let counts = story.flip(if is_long { 11 } else { 1 });
        story.print(&counts);
        for ((file, part), verdicts) in &counts {
            let only = |verdicts: &[Verdict], found: &BTreeMap<Verdict, usize>| {
                assert!(
                    found.keys().all(|found| verdicts.contains(found)),
                    "{}: {file}, {part}: {found:?}",
                    story.name
                );
            };
            match (file.as_str(), *part) {
                ("lock" | "reserve", _) => only(&[Verdict::Same], verdicts),
                ("segment", "last batch, nothing behind it" | "mark at the end") => {
                    only(&[Verdict::Told, Verdict::Torn], verdicts);
                }
                _ => only(&[Verdict::Told], verdicts),
            }
        }
    }
}

/// Whatever is missing of a journal of one segment: it is told of, or nothing is opened.
#[test]
fn no_missing_or_emptied_file_goes_unnoticed() {
    for story in [
        one_segment("one segment", true, false),
        one_segment("adopted", true, true),
    ] {
        let last = segments(&story.files).pop().unwrap();
        for name in story.files.0.keys() {
            for is_gone in [true, false] {
                let mut files = story.files.clone();
                if is_gone {
                    drop(files.0.remove(name));
                } else {
                    drop(files.0.insert(name.clone(), Arc::default()));
                }
                let verdict = story
                    .verdict(&files)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                // One that was begun and holds nothing looks as if it had never been begun.
                let says_nothing = matches!(name.as_str(), "lock" | "reserve")
                    || (segments(&story.files).len() > 1 && *name == last);
                assert_eq!(
                    verdict == Verdict::Same,
                    says_nothing,
                    "{name}, gone: {is_gone}: {verdict:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_flipped_bit_says_is_set_aside_and_the_journal_goes_on() {
    let story = one_segment("one segment", true, false);
    for bit in 0..42 * 8 {
        let disk = SimDisk::new();
        story
            .files
            .0
            .iter()
            .for_each(|(name, bytes)| disk.put(name, bytes));
        disk.flip_bit("journal-id", bit);
        let damaged = disk.contents("journal-id");
        let (_, recovered) =
            recovery::open(Arc::new(disk.clone()), config(Durability::Disk, 8 * 1024)).unwrap();
        judge(&disk, &story.model, &recovered).unwrap();
        assert!(
            !recovered.report.is_sound() && recovered.report.torn.is_none(),
            "bit {bit}"
        );
        assert_eq!(disk.contents("damaged-journal-id"), damaged);
        assert_eq!(
            &disk.contents("journal-id"),
            &*story.files.0["journal-id"],
            "bit {bit}"
        );
        assert!(
            recovery::check(&disk).unwrap().report.is_sound(),
            "bit {bit}"
        );
        assert!(
            disk.list()
                .unwrap()
                .iter()
                .all(|entry| entry.name != "journal-id.part")
        );
    }
}
