//! Answers what people ask about files.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::files::{Files, Tag, Where, being_written};
use crate::access::shown_key;
use crate::balancer::dispatch::{Delivery, Queued};
use crate::balancer::query::{self, Answer, FileReport, MAX_LISTED, Place, Query};
use crate::balancer::saved::Content;
use crate::protocol::CANCELLED;
use crate::protocol::limits::MAX_LIST_BYTES;
use crate::queue::backlog_entry::{BacklogEntry, ReadBack};
use crate::queue::disk::Disk;
use crate::queue::record::{self, End, Ended, History, Meta};
use crate::queue::{DeadLetter, FileBody, INLINE};

/// Why a file waits for which there is no other reason.
const TURN: &str = "its turn has not come";

/// All files, with the records that were read back to answer one query.
pub(super) struct Reports<'a> {
    pub(super) files: &'a Files,
    pub(super) looked: &'a BTreeMap<u64, ReadBack>,
    /// Where large content is.
    pub(super) disk: &'a Arc<dyn Disk>,
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

impl Reports<'_> {
    /// Answers a question.
    pub(super) fn answer(&self, query: &Query) -> Answer {
        match *query {
            Query::Waiting { after, limit } => self.waiting(after, limit),
            Query::Dead { after, limit } => self.dead(after, limit),
            Query::Show { number } => match self.show(number) {
                Some(report) => Answer::File(Box::new(report)),
                None => Answer::Failed {
                    reason: unknown(number),
                },
            },
            Query::Content { number } => self.content(number),
            Query::Find { .. }
            | Query::Replay { .. }
            | Query::Drop { .. }
            | Query::Cancel { .. }
            | Query::Bulk(..) => Answer::Failed {
                reason: "a question changes and searches nothing".to_owned(),
            },
        }
    }

    /// The files of the backlog whose records must be read before this can be answered.
    pub(super) fn needed(&self, query: &Query) -> Vec<u64> {
        match *query {
            Query::Waiting { after, limit } => self
                .listed(after, limit)
                .filter(|number| self.files.backlog.contains(*number))
                .collect(),
            Query::Show { number }
            | Query::Drop { number }
            | Query::Cancel { number }
            | Query::Content { number }
                if self.files.backlog.contains(number) =>
            {
                vec![number]
            }
            _ => Vec::new(),
        }
    }

    /// The next files that wait, in order.
    pub(super) fn listed(&self, after: u64, limit: usize) -> impl Iterator<Item = u64> {
        let mut warm = self
            .files
            .dispatcher
            .queue()
            .after(after)
            .map(|(number, _)| number)
            .peekable();
        let mut cold = self
            .files
            .backlog
            .above(after)
            .map(|(number, _)| number)
            .peekable();
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
        let depth = self.files.dispatcher.queue().depth();
        Answer::Files {
            files,
            total: depth.files() + self.files.backlog.len(),
            total_bytes: depth.bytes + self.files.backlog.bytes(),
        }
    }

    /// The result of a search: the files of these numbers, as far as they are still known.
    pub(super) fn found(&self, numbers: &[u64], complete: bool) -> Answer {
        let reports = numbers.iter().filter_map(|number| self.show(*number));
        Answer::Found {
            files: page(reports),
            complete,
        }
    }

    fn dead(&self, after: u64, limit: usize) -> Answer {
        let letters = self.files.ledger.dead();
        let listed = letters
            .range((Excluded(after), Unbounded))
            .take(limit.min(MAX_LISTED));
        let files = page(listed.filter_map(|(number, _)| self.show(*number)));
        Answer::Files {
            files,
            total: letters.len(),
            total_bytes: self.files.ledger.dead_bytes(),
        }
    }

    /// Where the content of a file is that waits or is a dead letter.
    fn content(&self, number: u64) -> Answer {
        let known = |meta: &Meta, body: FileBody| {
            Answer::Content(Box::new(Content {
                number,
                title: meta.title.clone(),
                size: meta.size,
                crc32c: meta.crc32c,
                body,
                disk: self.disk.clone(),
            }))
        };
        let cannot = |reason: String| Answer::Failed { reason };
        match self.files.whereabouts(number) {
            Where::Accepting(_) => Answer::Conflict {
                reason: being_written(number),
            },
            Where::Queued(file) => known(&file.meta, file.tag.tag.content.clone()),
            Where::Dead(letter) => known(&letter.meta, letter.content.clone()),
            Where::Backlog(entry) => {
                let location = self.files.backlog.location(number);
                match (self.looked.get(&number), location) {
                    (Some(ReadBack::File(accepted)), Some(location)) => {
                        let body = match accepted.content {
                            record::Content::Inline(_) => FileBody::Journal(location),
                            record::Content::Own(id) => FileBody::Own(id),
                        };
                        known(&accepted.meta, body)
                    }
                    // A file whose content is in its record ends with it, whatever is damaged.
                    (Some(ReadBack::Unreadable { meta, .. }), Some(location))
                        if entry.size() <= INLINE =>
                    {
                        let unread = entry.stand_in();
                        let meta = meta.as_deref().unwrap_or(&unread);
                        known(meta, FileBody::Journal(location))
                    }
                    (Some(ReadBack::Unreadable { reason, .. } | ReadBack::NotNow(reason)), _) => {
                        cannot(format!("file {number} cannot be read: {reason}"))
                    }
                    _ => Answer::Conflict {
                        reason: format!("file {number} has just moved in the queue: try again"),
                    },
                }
            }
            Where::Ended(_) => cannot(format!(
                "the balancer no longer has the content of file {number}; \
                 see `bilico queue show {number}`"
            )),
            Where::Unknown => cannot(unknown(number)),
        }
    }

    /// Everything that is known of a file.
    fn show(&self, number: u64) -> Option<FileReport> {
        match self.files.whereabouts(number) {
            Where::Accepting(file) => Some(report(
                number,
                &file.meta,
                &History::default(),
                Place::Accepting,
            )),
            Where::Queued(file) => Some(self.show_queued(number, file)),
            Where::Backlog(entry) => Some(self.show_backlog(number, entry)),
            Where::Dead(letter) => Some(dead_report(number, letter)),
            Where::Ended(ended) => Some(ended_report(ended)),
            Where::Unknown => None,
        }
    }

    fn show_queued(&self, number: u64, file: &Queued<Delivery<Tag>>) -> FileReport {
        let dispatcher = &self.files.dispatcher;
        let known = |place| report(number, &file.meta, &file.history, place);
        match dispatcher.server_with(number) {
            Some(server) => FileReport {
                server: Some(server.to_string()),
                ..known(Place::InFlight)
            },
            None => FileReport {
                reason: Some(why_or_turn(dispatcher.why_it_waits(number))),
                ..known(Place::Waiting)
            },
        }
    }

    /// A file of the backlog, as far as its record was read back.
    fn show_backlog(&self, number: u64, entry: &BacklogEntry) -> FileReport {
        let unread = || Arc::new(entry.stand_in());
        let (meta, history) = match self.looked.get(&number) {
            Some(ReadBack::File(accepted)) => (accepted.meta.clone(), accepted.history.clone()),
            Some(ReadBack::Unreadable { meta, .. }) => {
                (meta.clone().unwrap_or_else(unread), History::default())
            }
            Some(ReadBack::NotNow(_)) | None => (unread(), History::default()),
        };
        let history = self.files.backlog.history(number).unwrap_or(&history);
        let why = self.files.dispatcher.why_it_comes_later(number);
        FileReport {
            reason: Some(why_or_turn(why)),
            ..report(number, &meta, history, Place::Waiting)
        }
    }
}

fn unknown(number: u64) -> String {
    format!("file {number} is not known: it was never accepted, or is forgotten")
}

fn why_or_turn(why: Option<String>) -> String {
    why.unwrap_or_else(|| TURN.to_owned())
}

/// As many reports as one answer may hold, and at least one: each page gets a reader further.
fn page(reports: impl Iterator<Item = FileReport>) -> Vec<FileReport> {
    let mut page = Vec::new();
    let mut room = usize::try_from(MAX_LIST_BYTES).unwrap_or(usize::MAX);
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

/// The length of a report as JSON, rounded up.
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

fn dead_report(number: u64, letter: &DeadLetter) -> FileReport {
    FileReport {
        ended_ms: Some(letter.death.at_ms),
        reason: Some(letter.death.reason.to_string()),
        ..report(number, &letter.meta, &letter.history, Place::Dead)
    }
}

fn ended_report(ended: &Ended) -> FileReport {
    let known = |place| report(ended.number, &ended.meta, &ended.history, place);
    let ended_ms = Some(ended.at_ms);
    match &ended.end {
        End::Delivered {
            server, confirmed, ..
        } => FileReport {
            server: Some(server.to_string()),
            ended_ms,
            confirmed: Some(*confirmed),
            ..known(Place::Delivered)
        },
        End::Dropped { reason } => FileReport {
            reason: Some(reason.to_string()),
            ended_ms,
            ..known(if &**reason == CANCELLED {
                Place::Cancelled
            } else {
                Place::Dropped
            })
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
        key: meta.key.as_deref().map(|key| shown_key(key).to_owned()),
        accepted_ms: meta.accepted_ms,
        server: None,
        ended_ms: None,
        confirmed: None,
        reason: None,
        attempts: history.attempts,
        history: history.first.iter().map(attempt).collect(),
    }
}
