//! A transfer and a balancer as text: the summary and the tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::balancer::query::{FileReport, Place};
use crate::client::{Fate, Tally};
use crate::numbers::{Grouped, count};
use crate::protocol::status::{Dialect, ServerReport, StatusReport};
use crate::text::{Printable, printable};
use crate::units::{ByteSize, format_duration};

/// Most rows of a table of servers.
const ROWS: usize = 40;

/// The most files whose receipts are shown one by one, instead of the servers' shares: so few files
/// have no share to speak of, and whoever sends them wants their numbers.
const FEW: usize = 5;

/// From so many bytes on, the rate of a few files says something.
const MUCH: u64 = 1024 * 1024;

/// The result of a transfer: one line of sums, and the receipts of a few files, or a table of the
/// servers' shares and weights.
pub(super) fn summary(
    tally: &Tally,
    elapsed: Duration,
    status: Option<&StatusReport>,
    names: impl Fn(usize) -> String,
) -> String {
    let (accepted, delivered) = (
        Grouped(tally.accepted as u64),
        Grouped(tally.delivered as u64),
    );
    let mut text = format!("{accepted} accepted, {delivered} delivered");
    let others = [
        (tally.refused, "refused"),
        (tally.unreadable, "unreadable"),
        (tally.changed, "changed while they were read"),
        (tally.dead, "dead"),
        (tally.forgotten, "forgotten"),
        (tally.unsure(), "sent without a receipt"),
        (tally.unsent(), "not sent"),
    ];
    for (count, what) in others {
        if count > 0 {
            let _ = write!(text, ", {} {what}", Grouped(count as u64));
        }
    }
    let _ = write!(text, " in {}", format_duration(elapsed));
    let is_few = tally.fates.len() <= FEW;
    if tally.delivered > 0 && elapsed > Duration::ZERO {
        let bytes = u128::from(tally.delivered_bytes) * 1000 / elapsed.as_millis().max(1);
        let bytes = ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX));
        if !is_few {
            let rate = per_second(tally.delivered, elapsed);
            let _ = write!(text, " ({rate:.0} files/s, {bytes}/s)");
            let _ = write!(text, "\n{}", shares(tally, status));
        } else if tally.delivered_bytes >= MUCH {
            let _ = write!(text, " ({bytes}/s)");
        }
    }
    if is_few {
        text.push_str(&receipts(tally, names));
    }
    text
}

/// A line for each file that the balancer has or had: its number, its name and where it is.
fn receipts(tally: &Tally, names: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for (file, fate) in tally.fates.iter().enumerate() {
        let name = Printable(names(file));
        let _ = match fate {
            Fate::Delivered {
                number,
                server,
                confirmed,
            } => {
                let remark = if *confirmed { "" } else { " (not confirmed)" };
                write!(
                    text,
                    "\n{number:>4}  {name} → {}{remark}",
                    Printable(server)
                )
            }
            Fate::Accepted { number } => write!(text, "\n{number:>4}  {name} with the balancer"),
            Fate::Dead { number, .. } => write!(text, "\n{number:>4}  {name} is a dead letter"),
            _ => Ok(()),
        };
    }
    text
}

/// Files by server, beside the share by each server's weight.
fn shares(tally: &Tally, status: Option<&StatusReport>) -> Table {
    let weights: BTreeMap<&str, u32> = status
        .iter()
        .flat_map(|status| &status.servers)
        .map(|server| (server.name.as_str(), server.weight))
        .collect();
    let total: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
    let names = status
        .iter()
        .flat_map(|status| &status.servers)
        .map(|server| server.name.as_str());
    let others = tally
        .by_server
        .keys()
        .map(String::as_str)
        .filter(|name| !weights.contains_key(name));
    let mut table = table(["server", "weight", "files", "share", "by weight"]);
    let rows: Vec<&str> = names.chain(others).collect();
    for name in rows.iter().take(ROWS) {
        let files = tally.by_server.get(*name).copied().unwrap_or(0);
        let weight = weights.get(name);
        let server = status
            .iter()
            .flat_map(|status| &status.servers)
            .find(|server| server.name == *name);
        let remark = server
            .filter(|server| server.reason.is_some())
            .map(|server| format!(" ({})", state(server)));
        table.add_row([
            format!("{}{}", Printable(name), remark.unwrap_or_default()),
            weight.map_or_else(|| "?".to_owned(), ToString::to_string),
            files.to_string(),
            percent(files, tally.delivered as u64),
            weight.map_or_else(
                || "?".to_owned(),
                |weight| percent(u64::from(*weight), total),
            ),
        ]);
    }
    more(&mut table, rows.len());
    table
}

/// The state of a balancer and its servers.
pub(super) fn status(report: &StatusReport) -> String {
    let queue = &report.queue;
    let mut text = format!(
        "{} accepted, {} delivered since the start {} ago; {} wait ({}), {} of them with a server",
        Grouped(report.accepted),
        Grouped(report.delivered),
        format_duration(whole_seconds(seconds(report.uptime_s))),
        queue.files(),
        ByteSize(queue.bytes),
        queue.in_flight,
    );
    if let Some(oldest) = queue.oldest_s {
        let _ = write!(
            text,
            "; the oldest for {}",
            format_duration(seconds(oldest))
        );
    }
    if queue.dead > 0 {
        let _ = write!(
            text,
            "; {} (`bilico queue dead`)",
            count(queue.dead, "dead letter")
        );
    }
    let mut table = table([
        "server",
        "weight",
        "state",
        "since",
        "in flight",
        "delivered",
        "returned",
    ]);
    for server in report.servers.iter().take(ROWS) {
        let old_style = if server.dialect == Some(Dialect::OldStyle) {
            " (old-style)"
        } else {
            ""
        };
        table.add_row([
            format!("{}{old_style}", Printable(&server.name)),
            server.weight.to_string(),
            state(server),
            format_duration(whole_seconds(seconds(server.since_s))),
            server.in_flight.to_string(),
            server.delivered.to_string(),
            server.returned.to_string(),
        ]);
    }
    more(&mut table, report.servers.len());
    let _ = write!(text, "\n{table}");
    text
}

/// Waiting files or dead letters, one row each.
pub(super) fn files(files: &[FileReport], now_ms: u64) -> String {
    let mut table = table(["number", "age", "size", "came back", "title", "state"]);
    for file in files {
        let state = match (file.place, &file.server, &file.reason) {
            (Place::InFlight, Some(server), _) => format!("with {}", Printable(server)),
            (_, _, Some(reason)) => Printable(reason).to_string(),
            (place, ..) => format!("{place:?}").to_lowercase(),
        };
        table.add_row([
            file.number.to_string(),
            format_duration(Duration::from_secs(
                now_ms.saturating_sub(file.accepted_ms) / 1000,
            )),
            ByteSize(file.size).to_string(),
            file.attempts.to_string(),
            Printable(&file.title).to_string(),
            state,
        ]);
    }
    table.to_string()
}

/// A server's state in a word, and the reason.
pub(super) fn state(server: &ServerReport) -> String {
    let Some(reason) = &server.reason else {
        return "up".to_owned();
    };
    let fact = server.fact.as_deref();
    // The reason starts with the name of its fact, which the state's word replaces.
    let reason = fact
        .and_then(|fact| reason.strip_prefix(fact)?.strip_prefix(": "))
        .unwrap_or(reason);
    let reason = printable(reason);
    match fact {
        None if server.is_in_service() => reason.into_owned(),
        Some("connection") => format!("down: {reason}"),
        Some("trust") => format!("doubted: {reason}"),
        Some("link") => "connecting".to_owned(),
        Some("load") => "overloaded".to_owned(),
        _ => format!("{}: {reason}", server.state.name()),
    }
}

/// Files that were sent although they changed while they were read.
pub(super) fn warnings<'a>(
    tally: &'a Tally,
    names: impl Fn(usize) -> String + 'a,
) -> impl Iterator<Item = String> + 'a {
    tally
        .sent
        .iter()
        .enumerate()
        .filter_map(move |(file, sent)| {
            let change = sent.change.as_deref()?;
            Some(format!(
                "{}: {change}; the content that was read was sent",
                names(file)
            ))
        })
}

/// Files that were not delivered, each with its reason.
pub(super) fn failures<'a>(
    tally: &'a Tally,
    names: impl Fn(usize) -> String + 'a,
) -> impl Iterator<Item = String> + 'a {
    let names = move |file| Printable(names(file));
    tally
        .fates
        .iter()
        .enumerate()
        .filter_map(move |(file, fate)| match fate {
            Fate::Refused { reason } => {
                Some(format!("{}: refused: {}", names(file), Printable(reason)))
            }
            Fate::Unreadable { reason } => Some(format!("{}: {}", names(file), Printable(reason))),
            Fate::Changed { reason } => {
                Some(format!("{}: not sent: {}", names(file), Printable(reason)))
            }
            Fate::Dead { number, reason } => {
                let reason = Printable(reason);
                Some(format!(
                    "{}: accepted as {number}, but no server can take it: {reason}",
                    names(file)
                ))
            }
            Fate::Forgotten { number } => Some(format!(
                "{}: accepted as {number}, but the balancer no longer knows it",
                names(file)
            )),
            Fate::Pending | Fate::Accepted { .. } | Fate::Delivered { .. } => None,
        })
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        if !matches!(
            header.get(column.index),
            Some(&"server" | &"state" | &"title")
        ) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn more(table: &mut Table, rows: usize) {
    if rows > ROWS {
        table.add_row([format!("… and {} more", rows - ROWS)]);
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".to_owned()
    } else {
        format!("{:.1} %", 100.0 * ratio(part, whole))
    }
}

pub(super) fn per_second(files: usize, elapsed: Duration) -> f64 {
    ratio(files as u64, 1) / elapsed.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

pub(super) fn whole_seconds(duration: Duration) -> Duration {
    if duration >= Duration::from_secs(10) {
        Duration::from_secs(duration.as_secs())
    } else {
        duration
    }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
