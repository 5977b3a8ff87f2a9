//! The text of `bilico queue show`: a file's way, an event a line.

use std::time::Duration;

use chrono::{Local, TimeZone};

use crate::balancer::query::{Attempt, FileReport, Place};
use crate::text::Printable;
use crate::units::format_duration;

/// The file, who sent it, each attempt to deliver it, and where it is at `now_ms`.
pub(super) fn trace(file: &FileReport, now_ms: u64) -> String {
    let mut lines = vec![
        format!("file {}: {:?}", file.number, file.title),
        content(file),
        format!(
            "  {}  accepted from {}",
            time(file.accepted_ms),
            Printable(&file.from)
        ),
    ];
    lines.extend(file.history.iter().map(attempt));
    let told = file
        .history
        .iter()
        .filter(|attempt| !attempt.server.is_empty());
    let more = (file.attempts as usize).saturating_sub(told.count());
    if more > 0 {
        lines.push(format!("  … and {more} times more"));
    }
    lines.push(format!("  {}", end(file, now_ms)));
    lines.join("\n")
}

fn content(file: &FileReport) -> String {
    let sum = Printable(&file.crc32c);
    let key = match &file.key {
        Some(key) => format!(", key {key:?}"),
        None => String::new(),
    };
    format!("  {} bytes, crc32c {sum}{key}", file.size)
}

fn attempt(attempt: &Attempt) -> String {
    let at = time(attempt.at_ms);
    let server = Printable(&attempt.server);
    let reason = Printable(&attempt.reason);
    if attempt.server.is_empty() {
        return format!("  {at}  dead letter: {reason}; it was replayed later");
    }
    format!("  {at}  came back from {server}: {reason}")
}

/// Where the file is, and why.
fn end(file: &FileReport, now_ms: u64) -> String {
    let server = Printable(file.server.as_deref().unwrap_or("?"));
    let reason = Printable(file.reason.as_deref().unwrap_or("?"));
    let at = time(file.ended_ms.unwrap_or_default());
    match file.place {
        Place::Accepting => "being written to the journal: not accepted yet".to_owned(),
        Place::Waiting => {
            let waited = Duration::from_secs(now_ms.saturating_sub(file.accepted_ms) / 1000);
            format!("has waited for {}: {reason}", format_duration(waited))
        }
        Place::InFlight => format!("with {server}, which has not acknowledged it yet"),
        Place::Delivered if file.confirmed == Some(false) => {
            format!("{at}  given to {server}, which never acknowledges")
        }
        Place::Delivered => format!("{at}  stored by {server}"),
        Place::Dead => format!("{at}  dead letter: {reason}"),
        Place::Cancelled => format!("{at}  {reason}"),
        Place::Dropped => format!("{at}  thrown away; it was a dead letter: {reason}"),
    }
}

/// A time in milliseconds since the beginning of 1970, on the clock of this machine's zone.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Local.timestamp_millis_opt(ms).single());
    match time {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => "?".to_owned(),
    }
}
