//! Every bit of every file of a journal, flipped one at a time: in journals of one segment and of
//! several.
//!
//! Each flip must be reported or change nothing. Only in a batch behind which nothing was written
//! may it be taken for a torn tail: nothing on the disk says then that the batch was synced. The
//! printed table is in `docs/testing.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::damage::{Frozen, judge, judge_kept, segments};
use super::driver::config;
use super::flip_stories::{Story, one_segment, several_segments};
use super::sample::Sample;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::recovery;
use crate::segment::parse_name;
use crate::sim::SimDisk;
use bilico_core::durability::Durability;

/// What recovery makes of a flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It reports damage.
    Told,
    /// It does not open the journal.
    Refused,
    /// It takes it for a torn tail, which is copied aside and reported.
    Torn,
    /// It finds the same.
    Same,
}

/// For each part of each file, how many of its bits had which verdict.
type Counts = BTreeMap<(String, &'static str), BTreeMap<Verdict, usize>>;

impl Story {
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

    /// Flips each bit of the sample, on as many threads as there are cores.
    fn flip(&self, sample: Sample) -> Counts {
        let mut bytes: Vec<(&String, usize, &'static str)> = Vec::new();
        for name in self.files.0.keys() {
            let parts = self.parts(name).into_iter().enumerate();
            bytes.extend(parts.map(|(at, part)| (name, at, part)));
        }
        let next = AtomicUsize::new(0);
        let counts = Mutex::new(Counts::new());
        let flip = || {
            while let Some((name, at, part)) = bytes.get(next.fetch_add(1, Ordering::Relaxed)) {
                for bit in (0..8).filter(|bit| sample.takes(*at * 8 + bit)) {
                    let verdict = self.flip_bit(name, *at, bit, part).unwrap_or_else(|error| {
                        panic!("{}: bit {bit} of byte {at} of {name}: {error}", self.name)
                    });
                    let row = (kind(name).to_owned(), *part);
                    let mut counts = counts.lock().unwrap();
                    *counts.entry(row).or_default().entry(verdict).or_default() += 1;
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

    /// What recovery makes of one flipped bit; an error if it is wrong.
    fn flip_bit(&self, name: &str, at: usize, bit: usize, part: &str) -> Result<Verdict, String> {
        let mut files = self.files.clone();
        Arc::make_mut(files.0.get_mut(name).unwrap())[at] ^= 1 << bit;
        let costs_no_file = ["first line", "second line", "header", "mark at the end"];
        if costs_no_file.contains(&part)
            && let Some(number) = self.lost(&files)
        {
            return Err(format!("{number} is lost, though it is elsewhere, too"));
        }
        self.verdict(&files)
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

/// Each eighth bit; all with `BILICO_PROOF=full`.
///
/// Regression: in a journal of one segment a flipped bit in `journal-id` made the whole segment a
/// torn tail. The test had only a journal of several segments, in which all segments but the last
/// reported damage.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let sample = Sample::of_this_run();
    let stories = [
        one_segment("one segment", true, false),
        one_segment("one segment, killed before the mark", false, false),
        one_segment("one segment, adopted", true, true),
        several_segments(),
    ];
    println!(
        "| journal | file | part | flips | told of, exit code 6 | refused | taken for torn | \
         no difference |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for story in stories {
        let counts = story.flip(sample);
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
