//! The balancer's state and events as text. Pure: all input is passed in, except whether standard
//! output takes colours.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use chrono::{Local, TimeZone};
use clap::Args;
use comfy_table::{Table, presets};

use crate::admin::types::{Overview, Quantiles, Server};
use crate::balancer::events::{Event, Level};
use crate::numbers::{Grouped, count};
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
            Grouped(of.accepted),
            ByteSize(of.accepted_bytes),
            latency(of.latency.accept_ms, "receipts"),
        ),
        format!(
            "out      {}   {} delivered ({}){}",
            rate(of.rates.delivered_per_s, of.rates.delivered_bytes_per_s),
            Grouped(of.delivered),
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
        dead => format!("{} (`bilico queue dead`)", count(dead, "dead letter")),
    };
    format!(
        "waiting  {} of {} files, {} of {}{oldest}; {} with a server; {dead}",
        Grouped(queue.files as u64),
        Grouped(queue.max_files as u64),
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

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

pub(super) fn age(since_s: f64) -> String {
    let since = seconds(since_s);
    format_duration(if since >= Duration::from_secs(10) {
        Duration::from_secs(since.as_secs())
    } else {
        since
    })
}

pub(super) fn millis(ms: f64) -> String {
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
pub(super) fn bytes_text(bytes: f64) -> ByteSize {
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
