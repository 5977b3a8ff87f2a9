//! Answers what people ask about files.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::cold::Cold;
use super::dispatch::Dispatcher;
use super::hub::stand_in;
use super::query::{self, Answer, FileReport, MAX_LISTED, Place, Query};
use crate::protocol::limits::MAX_LIST_BYTES;
use crate::queue::Ledger;
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::{End, Ended, History, Meta};

/// Why a file waits that waits for nothing but others.
const TURN: &str = "its turn has not come";

/// All files that are known, wherever they are.
pub(super) struct Files<'a, T> {
    /// Those that wait.
    pub(super) dispatcher: &'a Dispatcher<T>,
    /// Those that come to the dispatcher later.
    pub(super) cold: &'a Cold,
    /// What was read back of some of those.
    pub(super) looked: &'a BTreeMap<u64, ReadBack>,
    /// Those that do not.
    pub(super) ledger: &'a Ledger,
    /// Those that are being written to the journal.
    pub(super) accepting: &'a dyn Fn(u64) -> Option<Arc<Meta>>,
}

/// The answer to an order about the dead letter with this number.
pub(super) fn done(was_there: bool, number: u64) -> Answer {
    if was_there {
        return Answer::Done { files: 1 };
    }
    Answer::Failed {
        reason: format!("there is no dead letter with number {number}"),
    }
}

impl<T> Files<'_, T> {
    /// Answers a question; an order is none.
    pub(super) fn answer(&self, query: &Query) -> Answer {
        match *query {
            Query::Waiting { after, limit } => self.waiting(after, limit),
            Query::Find { ref title, limit } => self.find(title, limit),
            Query::Dead { after, limit } => self.dead(after, limit),
            Query::Show { number } => {
                let unknown = || {
                    format!("file {number} is not known: it was never accepted, or is forgotten")
                };
                let report = self
                    .show(number)
                    .map(|report| Answer::File(Box::new(report)));
                report.unwrap_or_else(|| Answer::Failed { reason: unknown() })
            }
            Query::Replay { .. } | Query::Drop { .. } => Answer::Failed {
                reason: "an order is no question".to_owned(),
            },
        }
    }

    /// The files that must be read back before this can be answered.
    pub(super) fn cold_ones(&self, query: &Query) -> Vec<u64> {
        match *query {
            Query::Waiting { after, limit } => self
                .listed(after, limit)
                .filter(|number| self.cold.contains(*number))
                .collect(),
            Query::Show { number } | Query::Drop { number } if self.cold.contains(number) => {
                vec![number]
            }
            _ => Vec::new(),
        }
    }

    /// The next files that wait, in order.
    fn listed(&self, after: u64, limit: usize) -> impl Iterator<Item = u64> {
        let mut warm = self
            .dispatcher
            .queue()
            .after(after)
            .map(|(number, _)| number)
            .peekable();
        let mut cold = self.cold.above(after).map(|(number, _)| number).peekable();
        let next = move || match (warm.peek(), cold.peek()) {
            (Some(one), Some(other)) if other < one => cold.next(),
            (Some(_), _) => warm.next(),
            (None, _) => cold.next(),
        };
        std::iter::from_fn(next).take(limit.min(MAX_LISTED))
    }

    fn waiting(&self, after: u64, limit: usize) -> Answer {
        let files = page(
            self.listed(after, limit)
                .filter_map(|number| self.show(number)),
        );
        let depth = self.dispatcher.queue().depth();
        let (total, total_bytes) = (
            depth.files() + self.cold.len(),
            depth.bytes + self.cold.bytes(),
        );
        Answer::Files {
            files,
            total,
            total_bytes,
        }
    }

    /// What was read back of a file that comes to the dispatcher later.
    fn show_cold(&self, number: u64) -> Option<FileReport> {
        let brief = self.cold.get(number)?;
        let (meta, history) = match self.looked.get(&number) {
            Some(ReadBack::File(accepted)) => (accepted.meta.clone(), accepted.history.clone()),
            Some(ReadBack::Unreadable {
                meta: Some(meta), ..
            }) => (meta.clone(), History::default()),
            _ => (Arc::new(stand_in(brief)), History::default()),
        };
        let history = self.cold.history(number).unwrap_or(&history);
        let why = self.dispatcher.why_it_comes_later(number);
        let reason = Some(why.unwrap_or_else(|| TURN.to_owned()));
        Some(FileReport {
            reason,
            ..report(number, &meta, history, Place::Waiting)
        })
    }

    /// The files whose titles contain this text, newest first, as far as titles are in memory.
    fn find(&self, title: &str, limit: usize) -> Answer {
        let wanted = title.to_lowercase();
        let has_it = |title: &str| title.to_lowercase().contains(&wanted);
        let of_meta = |meta: &Meta| has_it(&meta.title);
        let waiting = self
            .dispatcher
            .queue()
            .after(0)
            .filter(|(_, file)| of_meta(&file.meta))
            .map(|(number, _)| number);
        let dead = self
            .ledger
            .dead()
            .iter()
            .filter(|(_, letter)| of_meta(&letter.meta))
            .map(|(number, _)| *number);
        let ended = self
            .ledger
            .all_ended()
            .filter(|ended| of_meta(&ended.meta))
            .map(|ended| ended.number);
        let mut newest: Vec<u64> = waiting.chain(dead).chain(ended).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.truncate(limit.min(MAX_LISTED));
        let files = page(newest.into_iter().filter_map(|number| self.show(number)));
        Answer::Found {
            files,
            complete: self.cold.len() == 0,
        }
    }

    fn dead(&self, after: u64, limit: usize) -> Answer {
        let letters = self.ledger.dead();
        let listed = letters
            .range((Excluded(after), Unbounded))
            .take(limit.min(MAX_LISTED));
        let files = page(listed.filter_map(|(number, _)| self.show(*number)));
        Answer::Files {
            files,
            total: letters.len(),
            total_bytes: self.ledger.dead_bytes(),
        }
    }

    /// All that is known of a file.
    fn show(&self, number: u64) -> Option<FileReport> {
        if let Some(meta) = (self.accepting)(number) {
            return Some(report(number, &meta, &History::default(), Place::Accepting));
        }
        if let Some(file) = self.dispatcher.queue().get(number) {
            let server = self.dispatcher.server_with(number).map(ToString::to_string);
            let place = if server.is_some() {
                Place::InFlight
            } else {
                Place::Waiting
            };
            let waits = || {
                self.dispatcher
                    .why_it_waits(number)
                    .unwrap_or_else(|| TURN.to_owned())
            };
            let reason = server.is_none().then(waits);
            return Some(FileReport {
                server,
                reason,
                ..report(number, &file.meta, &file.history, place)
            });
        }
        if let Some(report) = self.show_cold(number) {
            return Some(report);
        }
        if let Some(letter) = self.ledger.dead().get(&number) {
            let (ended_ms, reason) = (
                Some(letter.death.at_ms),
                Some(letter.death.reason.to_string()),
            );
            return Some(FileReport {
                ended_ms,
                reason,
                ..report(number, &letter.meta, &letter.history, Place::Dead)
            });
        }
        self.ledger.ended(number).map(|ended| ended_report(ended))
    }
}

/// As many of the reports as one answer may hold. One is always among them, so that pages come to
/// an end.
fn page(reports: impl Iterator<Item = FileReport>) -> Vec<FileReport> {
    let (mut page, mut room) = (
        Vec::new(),
        usize::try_from(MAX_LIST_BYTES).unwrap_or(usize::MAX),
    );
    for report in reports {
        let len = json_len(&report);
        if len > room && !page.is_empty() {
            break;
        }
        room = room.saturating_sub(len);
        page.push(report);
    }
    page
}

/// How long a report is as JSON, rounded up.
fn json_len(report: &FileReport) -> usize {
    let escaped = |text: &str| -> usize {
        let len = |byte| match byte {
            0..0x20 => 6,
            b'"' | b'\\' => 2,
            _ => 1,
        };
        text.bytes().map(len).sum()
    };
    let texts = [
        Some(&report.title),
        Some(&report.from),
        report.key.as_ref(),
        report.server.as_ref(),
        report.reason.as_ref(),
    ];
    let history = report
        .history
        .iter()
        .map(|attempt| 96 + escaped(&attempt.server) + escaped(&attempt.reason));
    512 + texts
        .into_iter()
        .flatten()
        .map(|text| escaped(text))
        .sum::<usize>()
        + history.sum::<usize>()
}

fn ended_report(ended: &Ended) -> FileReport {
    let known = |place| report(ended.number, &ended.meta, &ended.history, place);
    let ended_ms = Some(ended.at_ms);
    match &ended.end {
        End::Delivered {
            server, confirmed, ..
        } => {
            let (server, confirmed) = (Some(server.to_string()), Some(*confirmed));
            FileReport {
                server,
                ended_ms,
                confirmed,
                ..known(Place::Delivered)
            }
        }
        End::Dropped { reason } => FileReport {
            reason: Some(reason.to_string()),
            ended_ms,
            ..known(Place::Dropped)
        },
    }
}

fn report(number: u64, meta: &Meta, history: &History, place: Place) -> FileReport {
    let attempt = |attempt: &crate::queue::record::Attempt| query::Attempt {
        at_ms: attempt.at_ms,
        server: attempt.server.to_string(),
        reason: attempt.reason.to_string(),
    };
    FileReport {
        number,
        title: meta.title.to_string(),
        size: meta.size,
        crc32c: format!("{:08x}", meta.crc32c),
        place,
        from: meta.from.to_string(),
        key: meta.key.as_deref().map(str::to_owned),
        accepted_ms: meta.accepted_ms,
        server: None,
        ended_ms: None,
        confirmed: None,
        reason: None,
        attempts: history.attempts,
        history: history.first.iter().map(attempt).collect(),
    }
}
