//! The balancer's state and events as text. Pure: all input is passed in, except whether standard
//! output takes colours.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use chrono::{Local, TimeZone};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::admin::types::{Overview, Quantiles, Server, State};
use crate::balancer::events::{Event, Level};
use crate::protocol::status::{Dialect, Memory, ServerState};
use crate::text::Printable;
use crate::units::{ByteSize, format_duration};

/// Whether the output has colours.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ColourArg {
    /// Print no colours, which is also the default with `NO_COLOR` set or off a terminal
    #[arg(long)]
    no_color: bool,
}

impl ColourArg {
    pub(super) fn is_on(self) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.no_color && !refused && !is_dumb && io::stdout().is_terminal()
    }
}

/// The overview, then the table of servers.
pub(super) fn text(state: &State, colour: bool) -> String {
    let mut lines = overview(&state.overview);
    lines.push(String::new());
    lines.extend(table(&state.servers, None, colour));
    lines.join("\n")
}

/// Texts in columns, under their names.
pub(super) fn columns<const N: usize>(
    names: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(names);
    for row in rows {
        table.add_row(row.map(|cell| Printable(cell).to_string()));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// The balancer in five lines.
pub(super) fn overview(of: &Overview) -> Vec<String> {
    let up = format_duration(Duration::from_secs(seconds(of.uptime_s).as_secs()));
    let accepts = accepts(of);
    vec![
        format!(
            "bilico {} on {}, pid {}, up {up}: {accepts}",
            Printable(&of.version),
            Printable(&of.listen),
            of.pid
        ),
        format!(
            "in       {}   {} accepted ({}){}",
            rate(of.rates.accepted_per_s, of.rates.accepted_bytes_per_s),
            of.accepted,
            ByteSize(of.accepted_bytes),
            latency(of.latency.accept_ms, "receipts"),
        ),
        format!(
            "out      {}   {} delivered ({}){}",
            rate(of.rates.delivered_per_s, of.rates.delivered_bytes_per_s),
            of.delivered,
            ByteSize(of.delivered_bytes),
            latency(of.latency.deliver_ms, "deliveries"),
        ),
        waiting(of),
        format!(
            "servers  {} of {} can get files",
            of.servers.eligible, of.servers.total
        ),
    ]
}

fn accepts(of: &Overview) -> String {
    let reason = of.reason.as_deref().map(Printable);
    match (of.accepting, reason) {
        (true, None) => "takes files".to_owned(),
        (true, Some(reason)) => format!("takes files, but {reason}"),
        (false, reason) => format!("takes no files: {}", reason.unwrap_or(Printable("?"))),
    }
}

fn waiting(of: &Overview) -> String {
    let queue = &of.queue;
    let oldest = queue.oldest_s.map_or_else(String::new, |oldest| {
        format!(", the oldest for {}", age(oldest))
    });
    let dead = match queue.dead {
        0 => "no dead letters".to_owned(),
        dead => format!("{dead} dead letters (`bilico queue dead`)"),
    };
    format!(
        "waiting  {} of {} files, {} of {}{oldest}; {} with a server; {dead}",
        queue.files,
        queue.max_files,
        ByteSize(queue.bytes),
        ByteSize(queue.max_bytes),
        queue.in_flight,
    )
}

fn rate(files: f64, bytes: f64) -> String {
    format!(
        "{files:>8.1} files/s {:>10}/s",
        bytes_text(bytes).to_string()
    )
}

fn latency(quantiles: Option<Quantiles>, what: &str) -> String {
    quantiles.map_or_else(String::new, |quantiles| {
        format!(
            "   {what} p50 {} p99 {}",
            millis(quantiles.p50),
            millis(quantiles.p99)
        )
    })
}

/// The columns of the table, and whether each is of numbers.
const COLUMNS: [(&str, bool); 12] = [
    ("server", false),
    ("state", false),
    ("since", true),
    ("weight", true),
    ("share", true),
    ("wanted", true),
    ("in flight", true),
    ("memory", true),
    ("probe", true),
    ("delivered", true),
    ("files/s", true),
    ("why", false),
];

/// A table of servers: its head, then one line per server. `drawn` is how many of the last seconds
/// are drawn; with `None` that column is left out.
pub(super) fn table(servers: &[Server], drawn: Option<usize>, colour: bool) -> Vec<String> {
    let mut table = Table::new();
    let mut header: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    if drawn.is_some() {
        // Last: on a narrow screen the reasons matter more.
        header.push("last seconds");
    }
    table.load_style(presets::NOTHING).set_header(header);
    for (column, (_, is_number)) in table.column_iter_mut().zip(COLUMNS) {
        if is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let tallest = servers
        .iter()
        .flat_map(|server| last(&server.history, drawn))
        .copied()
        .max()
        .unwrap_or(0);
    for server in servers {
        let mut cells = cells(server);
        if drawn.is_some() {
            cells.push(sparkline(last(&server.history, drawn), tallest));
        }
        table.add_row(cells);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let mut states =
        std::iter::once(None).chain(servers.iter().map(|server| Some(server.report.state)));
    lines
        .map(|line| match states.next().flatten().filter(|_| colour) {
            Some(state) => paint(&line, state),
            None => line,
        })
        .collect()
}

fn last(history: &[u64], width: Option<usize>) -> &[u64] {
    history
        .get(history.len().saturating_sub(width.unwrap_or(0))..)
        .unwrap_or_default()
}

fn cells(server: &Server) -> Vec<String> {
    let report = &server.report;
    let old_style = if report.dialect == Some(Dialect::OldStyle) {
        " (old-style)"
    } else {
        ""
    };
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    vec![
        format!("{}{old_style}", Printable(&report.name)),
        report.state.name().to_owned(),
        age(report.since_s),
        report.weight.to_string(),
        server.share_had.map_or_else(|| "-".to_owned(), share),
        share(server.share_wanted),
        format!("{}/{}", report.in_flight, report.window_files),
        report.memory.map_or_else(|| "-".to_owned(), memory),
        report.probe_ms.map_or_else(|| "-".to_owned(), millis),
        report.delivered.to_string(),
        format!("{:.1}", server.files_per_s),
        report
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| Printable(reason).to_string()),
    ]
}

fn memory(memory: Memory) -> String {
    format!("{}/{}", ByteSize(memory.used), ByteSize(memory.limit))
}

/// Colours the state in a line of the table. It is the first word that equals the state's name, for
/// only the server's name stands before it and has no spaces.
fn paint(line: &str, state: ServerState) -> String {
    let code = match state {
        ServerState::Up => "32",
        ServerState::Full | ServerState::Overloaded | ServerState::Paused => "33",
        ServerState::Down => "31",
        ServerState::Unknown
        | ServerState::Connecting
        | ServerState::Drained
        | ServerState::Removing => "36",
    };
    let word = state.name();
    match line.find(&format!(" {word} ")) {
        Some(at) => {
            let (before, rest) = line.split_at_checked(at + 1).unwrap_or((line, ""));
            format!(
                "{before}\x1b[{code}m{word}\x1b[0m{}",
                rest.strip_prefix(word).unwrap_or_default()
            )
        }
        None => line.to_owned(),
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

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn age(since_s: f64) -> String {
    let since = seconds(since_s);
    format_duration(if since >= Duration::from_secs(10) {
        Duration::from_secs(since.as_secs())
    } else {
        since
    })
}

fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format_duration(seconds(ms / 1e3))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates"
)]
fn bytes_text(bytes: f64) -> ByteSize {
    ByteSize(bytes as u64)
}

/// The share of the files that a server gets, or why it gets none.
pub(super) fn gets(server: &Server) -> String {
    let report = &server.report;
    let mut text = String::new();
    match &report.reason {
        _ if report.is_in_service() => {
            let _ = write!(
                text,
                "{:.1} % of the files from now on",
                server.share_wanted * 100.0
            );
        }
        Some(reason) => {
            let _ = write!(
                text,
                "no files while it is {}: {}",
                report.state.name(),
                Printable(reason)
            );
        }
        None => {
            let _ = write!(text, "no files while it is {}", report.state.name());
        }
    }
    text
}

/// One event as a line.
pub(super) fn line(notice: &Event) -> String {
    let at = i64::try_from(notice.at_ms)
        .ok()
        .and_then(|ms| Local.timestamp_millis_opt(ms).single());
    let at = at.map_or_else(
        || "?".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    );
    let level = match notice.level {
        Level::Info => "info ",
        Level::Warn => "warn ",
        Level::Error => "error",
    };
    let server = notice
        .server
        .as_ref()
        .map_or_else(String::new, |server| format!("{} ", Printable(server)));
    let number = notice
        .number
        .map_or_else(String::new, |number| format!("file {number} "));
    let text = Printable(&notice.text);
    format!("{:>5}  {at}  {level}  {server}{number}{text}", notice.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_compare() {
        assert_eq!(sparkline(&[0, 1, 25, 50, 75, 100], 100), "▁▂▂▃▅▇");
        assert_eq!(sparkline(&[0, 0], 0), "▁▁");
        assert_eq!(sparkline(&[u64::MAX], u64::MAX), "▇");
        assert_eq!(last(&[1, 2, 3], Some(2)), [2, 3]);
        assert_eq!(last(&[1, 2, 3], Some(9)), [1, 2, 3]);
    }

    #[test]
    fn only_the_state_is_painted() {
        let painted = paint(
            " 127.0.0.1:5001  down  3 s  down to earth",
            ServerState::Down,
        );
        assert_eq!(
            painted,
            " 127.0.0.1:5001  \x1b[31mdown\x1b[0m  3 s  down to earth"
        );
    }
}
