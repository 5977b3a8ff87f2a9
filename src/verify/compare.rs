//! Matches receipts with stored files. Does no I/O.
//!
//! First, receipts with a request number claim the files of their number and title. Then receipts
//! without a number claim, by title and content, from the files that are left.

use std::collections::HashMap;

use super::ledger::{ReceiptLine, Receipts};
use super::names;
use super::report::{Finding, Report};
use super::shelf::{Shelf, Stored};
use crate::client::receipts::State;
use crate::server::name::stored_name;

/// Compares receipts with stored files; see [`super::verify`] for `others`.
pub fn compare(ledger: &Receipts, shelf: &Shelf, others: bool) -> Report {
    let mut comparison = Comparison {
        shelf,
        others,
        claimed: vec![false; shelf.files.len()],
        report: Report {
            receipts: ledger.entries.len(),
            files: shelf.files.len(),
            notes: ledger.notes.clone(),
            ..Report::default()
        },
    };
    comparison.numbered(ledger);
    comparison.unnumbered(ledger);
    let parts = shelf.parts.iter().map(|part| Finding {
        receipt: None,
        files: vec![part.clone()],
    });
    comparison.report.partial.extend(parts);
    comparison.report
}

struct Comparison<'a> {
    shelf: &'a Shelf,
    others: bool,
    /// By file: whether it was claimed or reported.
    claimed: Vec<bool>,
    report: Report,
}

/// The receipts that an unclaimed file may belong to, by the start of its name and its content.
type Unclaimed<'a> = HashMap<(String, Option<blake3::Hash>), Vec<&'a ReceiptLine>>;

impl<'a> Comparison<'a> {
    /// Matches the receipts with a number, name by name. One name has one receipt, unless the
    /// receipts are of several journals.
    fn numbered(&mut self, ledger: &'a Receipts) {
        let files = by_number(self.shelf);
        let mut entries: Vec<(u64, String, &ReceiptLine)> =
            ledger.entries.iter().filter_map(named).collect();
        entries.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
        for same in entries.chunk_by(|(_, one, _), (_, other, _)| one == other) {
            let Some((number, name, _)) = same.first() else {
                continue;
            };
            let start = files.partition_point(|(other, ..)| other < number);
            let numbered = files
                .iter()
                .skip(start)
                .take_while(|(other, ..)| other == number);
            let called = numbered.filter(|(_, _, file)| is_called(file, name));
            let mut called: Vec<(usize, &Stored)> =
                called.map(|(_, place, file)| (*place, *file)).collect();
            // The plain name before the marked ones.
            called.sort_by_key(|(_, file)| (file.name.len(), file.dir));
            for (place, _) in &called {
                self.claim(*place);
            }
            let entries = same.iter().map(|(_, _, entry)| *entry).collect();
            self.settle(entries, called.into_iter().map(|(_, file)| file).collect());
        }
    }

    fn claim(&mut self, place: usize) {
        if let Some(claimed) = self.claimed.get_mut(place) {
            *claimed = true;
        }
    }

    /// Matches the receipts of one name with the files of that name.
    fn settle(&mut self, mut entries: Vec<&ReceiptLine>, mut files: Vec<&'a Stored>) {
        // Receipts whose file must be stored choose first.
        entries
            .sort_by_key(|entry| entry.state != State::Accepted && entry.state != State::Delivered);
        let (dead, alive): (Vec<&ReceiptLine>, Vec<&ReceiptLine>) =
            entries.iter().partition(|entry| entry.state == State::Dead);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for entry in alive {
            match files
                .iter()
                .position(|file| entry.fits(file.size, &file.hash))
            {
                Some(own) => with.push((entry, files.remove(own))),
                None => without.push(entry),
            }
        }
        self.report.stored += with.len();
        let is_copy = |file: &&Stored| {
            with.iter()
                .any(|(entry, _)| entry.fits(file.size, &file.hash))
        };
        let (copies, files): (Vec<&Stored>, Vec<&Stored>) = files.into_iter().partition(is_copy);
        for copy in copies {
            let of = with
                .iter()
                .find(|(entry, _)| entry.fits(copy.size, &copy.hash));
            self.report
                .double
                .extend(of.map(|(entry, own)| self.finding(Some(entry), &[own, copy])));
        }
        let mut files = files.into_iter();
        for entry in without {
            self.is_not_stored(entry, files.next());
        }
        let named = with.first().map(|(entry, _)| *entry);
        for file in files {
            self.is_left(file, named, dead.first().copied());
        }
    }

    /// No file has the receipt's content: reports a file of its name with other content, or that it
    /// is missing.
    fn is_not_stored(&mut self, entry: &ReceiptLine, file: Option<&Stored>) {
        match file {
            Some(file) => self
                .report
                .differing
                .push(self.finding(Some(entry), &[file])),
            None if entry.state == State::Forgotten => self.report.absent += 1,
            None => self.report.missing.push(self.finding(Some(entry), &[])),
        }
    }

    /// Reports a file with the name of a receipt that has its file already, or of a dead letter.
    fn is_left(&mut self, file: &Stored, named: Option<&ReceiptLine>, dead: Option<&ReceiptLine>) {
        let dead = dead.filter(|dead| !self.others || dead.fits(file.size, &file.hash));
        match (dead, named) {
            (Some(dead), _) => self
                .report
                .unexpected
                .push(self.finding(Some(dead), &[file])),
            (None, _) if self.others => self.report.others += 1,
            (None, Some(entry)) => self
                .report
                .differing
                .push(self.finding(Some(entry), &[file])),
            (None, None) => self.report.unexpected.push(self.finding(None, &[file])),
        }
    }

    /// Matches the unclaimed files with the receipts without a number.
    fn unnumbered(&mut self, ledger: &'a Receipts) {
        let mut unclaimed = Unclaimed::new();
        let entries = ledger.entries.iter().filter(|entry| entry.number.is_none());
        for entry in entries {
            if entry.state == State::Unknown {
                self.report.absent += 1;
            }
            unclaimed
                .entry((names::beginning(&entry.title), entry.hash))
                .or_default()
                .push(entry);
        }
        let mut found = Unclaimed::new();
        let files: &'a [Stored] = &self.shelf.files;
        for (file, is_claimed) in files.iter().zip(std::mem::take(&mut self.claimed)) {
            if !is_claimed {
                self.find_receipt(file, &mut unclaimed, &mut found);
            }
        }
    }

    /// Matches an unclaimed file with a receipt without a number.
    fn find_receipt(
        &mut self,
        file: &'a Stored,
        unclaimed: &mut Unclaimed<'a>,
        found: &mut Unclaimed<'a>,
    ) {
        for key in keys(file) {
            if let Some(entry) = unclaimed
                .get_mut(&key)
                .and_then(|entries| take(entries, file, true))
            {
                self.report.stored += 1;
                self.report.absent = self.report.absent.saturating_sub(1);
                found.entry(key).or_default().push(entry);
                return;
            }
        }
        if self.others {
            self.report.others += 1;
            return;
        }
        for key in keys(file) {
            if let Some(entry) = found
                .get_mut(&key)
                .and_then(|entries| take(entries, file, true))
            {
                self.report.double.push(self.finding(Some(entry), &[file]));
                found.entry(key).or_default().push(entry);
                return;
            }
            if let Some(entry) = unclaimed
                .get_mut(&key)
                .and_then(|entries| take(entries, file, false))
            {
                self.report
                    .unexpected
                    .push(self.finding(Some(entry), &[file]));
                return;
            }
        }
        self.report.unexpected.push(self.finding(None, &[file]));
    }

    fn finding(&self, entry: Option<&ReceiptLine>, files: &[&Stored]) -> Finding {
        let files = files.iter().map(|file| self.shelf.path(file)).collect();
        Finding {
            receipt: entry.map(ReceiptLine::claim),
            files,
        }
    }
}

/// The stored files with a number in their name, ordered by number.
fn by_number(shelf: &Shelf) -> Vec<(u64, usize, &Stored)> {
    let files = shelf.files.iter().enumerate();
    let numbered =
        files.filter_map(|(place, file)| Some((names::number(file.name.to_str()?)?, place, file)));
    let mut numbered: Vec<_> = numbered.collect();
    numbered.sort_unstable_by_key(|(number, place, _)| (*number, *place));
    numbered
}

/// A receipt with a number, and the name that its file should have.
fn named(entry: &ReceiptLine) -> Option<(u64, String, &ReceiptLine)> {
    entry
        .number
        .map(|number| (number, stored_name(number, &entry.title), entry))
}

fn is_called(file: &Stored, expected: &str) -> bool {
    file.name
        .to_str()
        .is_some_and(|name| names::is_called(name, expected))
}

/// The keys of the receipts that a file may belong to.
fn keys(file: &Stored) -> Vec<(String, Option<blake3::Hash>)> {
    let beginnings = file
        .name
        .to_str()
        .map(names::beginnings)
        .unwrap_or_default();
    let of = |hash: Option<blake3::Hash>| {
        beginnings
            .iter()
            .map(move |beginning| (beginning.clone(), hash))
    };
    of(Some(file.hash)).chain(of(None)).collect()
}

/// Removes and returns a receipt that the file may belong to: one that says that the file may be
/// stored, otherwise one that says that it is not.
fn take<'a>(
    entries: &mut Vec<&'a ReceiptLine>,
    file: &Stored,
    is_open: bool,
) -> Option<&'a ReceiptLine> {
    let name = file.name.to_str()?;
    let number = names::number(name)?;
    let may_be = |entry: &&ReceiptLine| {
        (entry.state == State::Unknown) == is_open
            && entry.fits(file.size, &file.hash)
            && names::is_called(name, &stored_name(number, &entry.title))
    };
    entries
        .iter()
        .position(may_be)
        .map(|place| entries.swap_remove(place))
}
