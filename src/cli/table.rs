//! The servers as a table that fits: one line each, troubles first. Pure.
//!
//! What gives way where the room is short, [`fit`] says.

pub(in crate::cli) mod fit;

use fit::{Column, Row};

use crate::admin::types::Server;
use crate::balancer::standing::Held;
use crate::cli::render::{age, millis};
use crate::protocol::status::{Dialect, Memory, ServerState};
use crate::text::Printable;
use crate::units::ByteSize;

const COLUMNS: [Column; 13] = [
    Column::name("server"),
    Column::state("state"),
    Column::figure("since", 1),
    Column::figure("weight", 4),
    Column::figure("share", 3),
    Column::figure("wanted", 6),
    Column::figure("in flight", 2),
    Column::figure("memory", 9),
    Column::figure("probe", 8),
    Column::figure("delivered", 5),
    Column::figure("files/s", 7),
    Column::why("why"),
    Column::text("last seconds", 10),
];

/// How a table is made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// What a line may take; `None` where nothing has to fit.
    pub(super) width: Option<usize>,
    /// How many of the last seconds are drawn, if any.
    pub(super) drawn: Option<usize>,
    pub(super) colour: bool,
}

/// A table of servers: its head, then one line per server, those with a trouble first.
pub(super) fn table(servers: &[Server], look: Look) -> Vec<String> {
    let mut servers: Vec<&Server> = servers.iter().collect();
    servers.sort_by_key(|server| rank(server.report.state));
    let tallest = servers
        .iter()
        .flat_map(|server| last(&server.history, look.drawn))
        .copied()
        .max()
        .unwrap_or(0);
    let rows = servers.iter().map(|server| Row {
        cells: cells(server, look.drawn, tallest).to_vec(),
        colour: look.colour.then(|| colour(server.report.state)),
    });
    fit::lines(&COLUMNS, &rows.collect::<Vec<_>>(), look.width)
}

/// What of these servers comes behind the first `shown` lines, in words.
pub(super) fn rest(servers: &[Server], shown: usize) -> String {
    let mut states: Vec<_> = servers.iter().map(|server| server.report.state).collect();
    states.sort_by_key(|state| rank(*state));
    let states = states.get(shown..).unwrap_or_default();
    let mut counts: Vec<(ServerState, usize)> = Vec::new();
    for state in states {
        match counts.iter_mut().find(|(known, _)| known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((*state, 1)),
        }
    }
    let more = crate::numbers::Grouped(states.len() as u64);
    match counts.as_slice() {
        [] => String::new(),
        [(state, _)] => format!("and {more} more, all {}", state.name()),
        several => {
            let of_each: Vec<_> = several
                .iter()
                .map(|(state, count)| format!("{count} {}", state.name()))
                .collect();
            format!("and {more} more: {}", of_each.join(", "))
        }
    }
}

/// Who needs an operator comes first.
fn rank(state: ServerState) -> u8 {
    match state {
        ServerState::Down => 0,
        ServerState::Overloaded => 1,
        ServerState::Paused => 2,
        ServerState::Connecting => 3,
        ServerState::Unknown => 4,
        ServerState::Removing => 5,
        ServerState::Drained => 6,
        ServerState::Full | ServerState::Up => 7,
    }
}

fn last(history: &[u64], width: Option<usize>) -> &[u64] {
    history
        .get(history.len().saturating_sub(width.unwrap_or(0))..)
        .unwrap_or_default()
}

fn cells(server: &Server, drawn: Option<usize>, tallest: u64) -> [String; COLUMNS.len()] {
    let report = &server.report;
    let old_style = if report.dialect == Some(Dialect::OldStyle) {
        " (old-style)"
    } else {
        ""
    };
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let reason = report.reason.as_deref().map(Printable);
    [
        format!("{}{old_style}", Printable(&report.name)),
        report.state.name().to_owned(),
        age(report.since_s),
        weight(server),
        or_dash(server.share_had.map(share)),
        share(server.share_wanted),
        format!("{}/{}", report.in_flight, report.window_files),
        or_dash(report.memory.map(memory)),
        or_dash(report.probe_ms.map(millis)),
        report.delivered.to_string(),
        format!("{:.1}", server.files_per_s),
        reason.map_or_else(String::new, |reason| reason.to_string()),
        sparkline(last(&server.history, drawn), tallest),
    ]
}

/// Whether its weight comes from an order, and not from the configuration: it has a mark.
pub(super) fn is_marked(server: &Server) -> bool {
    let is_ordered = |held: &Held| held.weight.is_some() || held.added.is_some();
    server.ordered.as_ref().is_some_and(is_ordered)
}

fn weight(server: &Server) -> String {
    let mark = if is_marked(server) { "*" } else { "" };
    format!("{}{mark}", server.report.weight)
}

fn memory(memory: Memory) -> String {
    format!("{}/{}", ByteSize(memory.used), ByteSize(memory.limit))
}

fn colour(state: ServerState) -> &'static str {
    match state {
        ServerState::Up => "32",
        ServerState::Full | ServerState::Overloaded | ServerState::Paused => "33",
        ServerState::Down => "31",
        ServerState::Unknown
        | ServerState::Connecting
        | ServerState::Drained
        | ServerState::Removing => "36",
    }
}

/// Numbers as bars. `tallest` is the maximum of all servers, so that their bars compare.
fn sparkline(numbers: &[u64], tallest: u64) -> String {
    let bar = |number: &u64| match u128::from(*number) * 4 / u128::from(tallest.max(1)) {
        _ if *number == 0 => '▁',
        0 | 1 => '▂',
        2 => '▃',
        3 => '▅',
        _ => '▇',
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests;
