//! Answers what people ask about files.

use std::ops::Bound::{Excluded, Unbounded};

use super::hub::Hub;
use crate::protocol::limits::MAX_LIST_BYTES;
use crate::protocol::query::{self, Answer, FileReport, MAX_LISTED, Place, Query};
use crate::queue::record::{End, Ended, History, Meta};

/// Answers a query, or carries it out.
pub(super) fn answer(hub: &mut Hub, query: &Query) -> Answer {
    match *query {
        Query::Waiting { after, limit } => waiting(hub, after, limit),
        Query::Dead { after, limit } => dead(hub, after, limit),
        Query::Show { number } => match show(hub, number) {
            Some(report) => Answer::File(Box::new(report)),
            None => {
                Answer::Failed { reason: format!("file {number} is not known: it was never accepted, or is forgotten") }
            }
        },
        Query::Replay { number: Some(number) } => done(hub.replay(number), number),
        Query::Replay { number: None } => {
            let numbers: Vec<u64> = hub.ledger.dead().keys().copied().collect();
            Answer::Done { files: numbers.into_iter().filter(|number| hub.replay(*number)).count() }
        }
        Query::Drop { number } => done(hub.throw_away(number), number),
    }
}

fn done(was_there: bool, number: u64) -> Answer {
    if was_there {
        return Answer::Done { files: 1 };
    }
    Answer::Failed { reason: format!("there is no dead letter with number {number}") }
}

fn waiting(hub: &Hub, after: u64, limit: usize) -> Answer {
    let files = hub.dispatcher.queue().after(after).map(|(number, _)| number).take(limit.min(MAX_LISTED));
    let files = page(files.filter_map(|number| show(hub, number)));
    let depth = hub.dispatcher.queue().depth();
    Answer::Files { files, total: depth.files(), total_bytes: depth.bytes }
}

fn dead(hub: &Hub, after: u64, limit: usize) -> Answer {
    let letters = hub.ledger.dead();
    let listed = letters.range((Excluded(after), Unbounded)).take(limit.min(MAX_LISTED));
    let files = page(listed.filter_map(|(number, _)| show(hub, *number)));
    Answer::Files { files, total: letters.len(), total_bytes: hub.ledger.dead_bytes() }
}

/// As many of the reports as one answer may hold. One is always among them, so that pages come to an end.
fn page(reports: impl Iterator<Item = FileReport>) -> Vec<FileReport> {
    let (mut page, mut room) = (Vec::new(), usize::try_from(MAX_LIST_BYTES).unwrap_or(usize::MAX));
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
    let texts =
        [Some(&report.title), Some(&report.from), report.key.as_ref(), report.server.as_ref(), report.reason.as_ref()];
    let history = report.history.iter().map(|attempt| 96 + escaped(&attempt.server) + escaped(&attempt.reason));
    512 + texts.into_iter().flatten().map(|text| escaped(text)).sum::<usize>() + history.sum::<usize>()
}

/// All that is known of a file.
fn show(hub: &Hub, number: u64) -> Option<FileReport> {
    if let Some(file) = hub.accepting.get(&number) {
        return Some(report(number, &file.meta, &History::default(), Place::Accepting));
    }
    if let Some(file) = hub.dispatcher.queue().get(number) {
        let server = hub.dispatcher.server_with(number).map(ToString::to_string);
        let place = if server.is_some() { Place::InFlight } else { Place::Waiting };
        let waits = || hub.dispatcher.why_it_waits(number).unwrap_or_else(|| "its turn has not come".to_owned());
        let reason = server.is_none().then(waits);
        return Some(FileReport { server, reason, ..report(number, &file.meta, &file.history, place) });
    }
    if let Some(letter) = hub.ledger.dead().get(&number) {
        let (ended_ms, reason) = (Some(letter.death.at_ms), Some(letter.death.reason.to_string()));
        return Some(FileReport { ended_ms, reason, ..report(number, &letter.meta, &letter.history, Place::Dead) });
    }
    hub.ledger.ended(number).map(|ended| ended_report(ended))
}

fn ended_report(ended: &Ended) -> FileReport {
    let known = |place| report(ended.number, &ended.meta, &ended.history, place);
    let ended_ms = Some(ended.at_ms);
    match &ended.end {
        End::Delivered { server, confirmed, .. } => {
            let (server, confirmed) = (Some(server.to_string()), Some(*confirmed));
            FileReport { server, ended_ms, confirmed, ..known(Place::Delivered) }
        }
        End::Dropped { reason } => FileReport { reason: Some(reason.to_string()), ended_ms, ..known(Place::Dropped) },
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
