//! All that is known of one member, as lines. Pure.

use std::time::Duration;

use super::averages::text_of;
use super::figures::{disk, doubt, memory, percent, rate, uptime};
use crate::cli::render::{age, bytes_text, columns};
use crate::fleet_core::{Column, Columns, Facts, Figure, MemberReport, Summary, Trust};
use crate::numbers::{count, plural};
use crate::text::Printable;
use crate::units::format_duration;

/// The most cores that are shown one by one.
const CORES: usize = 32;

/// The member: who it is, what it told last, and its averages over this stretch.
pub(super) fn lines(member: &MemberReport, history: &Columns, over: Duration) -> Vec<String> {
    let mut lines = vec![head(member)];
    let mut line = |name: &str, text: Option<String>| {
        if let Some(text) = text {
            lines.push(format!("  {name:<10} {}", Printable(text)));
        }
    };
    line("identity", Some(member.id.clone()));
    line("address", member.address.clone());
    line("host", member.host.clone());
    line("can", Some(capabilities(member)));
    line("believed", Some(trust(member.trust).to_owned()));
    line("last word", Some(last_word(member)));
    line(
        "protected",
        member
            .protected
            .then(|| "yes: it is kept however long it is silent".to_owned()),
    );
    let facts = &member.facts;
    line("processor", processor(facts));
    let in_use = used(facts.memory_used, facts.memory_total, memory(facts));
    line("memory", in_use.or_else(|| memory(facts).map(percent)));
    line("swap", used(facts.swap_used, facts.swap_total, None));
    line("disk", disk_line(facts));
    line("network", network(facts));
    line("line", link(facts));
    line("up", facts.uptime_s.map(uptime));
    line("load", facts.load.map(|load| percent(load.into())));
    line("holds", held(facts));
    line("process", process(facts));
    line("says", facts.status_text.as_deref().map(str::to_owned));
    for note in &member.notes {
        line("note", Some(note.clone()));
    }
    lines.extend(averages(history, over));
    lines
}

fn head(member: &MemberReport) -> String {
    let state = member.state.name();
    let since = age(member.since_s);
    let reason = member.reason.as_deref();
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let doubt = doubt(member.trust).map_or_else(String::new, |doubt| format!(", {doubt}"));
    let name = Printable(&member.name);
    Printable(format!("{name}  {state} for {since}{reason}{doubt}")).to_string()
}

fn capabilities(member: &MemberReport) -> String {
    let can = &member.capabilities;
    let all = [
        (can.files, "take files"),
        (can.facts, "tell figures"),
        (can.load, "tell a load"),
    ];
    let can: Vec<_> = all
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect();
    match can.as_slice() {
        [] => "nothing yet".to_owned(),
        can => can.join(", "),
    }
}

fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Claimed => "claimed: not verified, anybody could have said it",
        Trust::Asked => "asked: it answered at an address that is allowed",
        Trust::Proved => "proved: it came with a token, a secret or a certificate",
        Trust::Measured => "measured: the balancer's own probe or link found it",
    }
}

fn last_word(member: &MemberReport) -> String {
    let heard = member.heard_s.map_or_else(
        || "none since the balancer started".to_owned(),
        |heard| format!("{} ago", age(heard)),
    );
    let lease = member
        .lease_s
        .map(|lease| format!("; its lease ends in {}", age(lease)));
    format!(
        "{heard}{}; came by {}",
        lease.unwrap_or_default(),
        member.source.name()
    )
}

fn processor(facts: &Facts) -> Option<String> {
    let cores: Vec<String> = facts
        .cores
        .iter()
        .take(CORES)
        .map(|core| format!("{:.0}", core * 100.0))
        .collect();
    let more = facts.cores.len().saturating_sub(CORES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let cores = (!cores.is_empty()).then(|| {
        let number = plural(facts.cores.len(), "core", "cores");
        format!("{number}: {} %{more}", cores.join(" "))
    });
    join([facts.cpu.map(|cpu| percent(cpu.into())), cores], ", ")
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn used(used: Option<u64>, total: Option<u64>, part: Option<f64>) -> Option<String> {
    let used = bytes_text(used? as f64);
    let total = total.map_or_else(String::new, |total| {
        format!(" of {}", bytes_text(total as f64))
    });
    let part = part.map_or_else(String::new, |part| format!(" ({})", percent(part)));
    Some(format!("{used}{total}{part}"))
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn disk_line(facts: &Facts) -> Option<String> {
    let free = facts
        .disk_free
        .map(|free| format!("{} free", bytes_text(free as f64)));
    let trouble = facts
        .disk_trouble
        .as_deref()
        .map(|trouble| format!("not known: {trouble}"));
    let read = facts
        .disk_read
        .map(|read| format!("reads {}", rate(read.into())));
    let write = facts
        .disk_write
        .map(|write| format!("writes {}", rate(write.into())));
    let space = used(facts.disk_used, facts.disk_total, disk(facts));
    let space = space.or_else(|| disk(facts).map(percent));
    join([space, trouble, free, read, write], ", ")
}

fn network(facts: &Facts) -> Option<String> {
    let up = facts
        .network_up
        .map(|is_up| if is_up { "up" } else { "down" }.to_owned());
    let rx = facts
        .net_rx
        .map(|rx| format!("receives {}", rate(rx.into())));
    let tx = facts.net_tx.map(|tx| format!("sends {}", rate(tx.into())));
    let dropped = facts
        .net_dropped
        .map(|dropped| format!("drops {dropped:.1} packets/s"));
    join([up, rx, tx, dropped], ", ")
}

fn link(facts: &Facts) -> Option<String> {
    let speed =
        |of: Option<f32>, what: &str| of.map(|bits| format!("{what} {:.1} Mbit/s", bits / 1e6));
    join(
        [speed(facts.link_down, "down"), speed(facts.link_up, "up")],
        ", ",
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn held(facts: &Facts) -> Option<String> {
    let files = facts.held_files.map(|files| count(files, "file"));
    let held = facts.held_bytes.map(|held| bytes_text(held as f64));
    join([files, held.map(|held| held.to_string())], ", ")
}

fn process(facts: &Facts) -> Option<String> {
    let used = used(facts.process_memory, facts.process_limit, None);
    used.map(|used| format!("{used} in memory"))
}

fn join<const N: usize>(parts: [Option<String>; N], by: &str) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(by))
}

/// A small table of averages; nothing if nothing is known.
fn averages(history: &Columns, over: Duration) -> Vec<String> {
    let rows: Vec<[String; 4]> = Figure::ALL
        .into_iter()
        .filter_map(|figure| {
            let Summary { avg, min, max } = summary(history.figures.get(figure.name())?)?;
            let text = |number| text_of(figure, number);
            Some([figure.name().to_owned(), text(avg), text(min), text(max)])
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let names = [
        &*format!("last {}", format_duration(over)),
        "average",
        "least",
        "most",
    ];
    let table = columns(names, rows.into_iter());
    [String::new()]
        .into_iter()
        .chain(table.lines().map(|line| format!(" {line}")))
        .collect()
}

/// A whole column in three numbers.
fn summary(column: &Column) -> Option<Summary> {
    let known = |numbers: &[Option<f32>]| numbers.iter().copied().flatten().collect::<Vec<f32>>();
    let (avg, min, max) = (known(&column.avg), known(&column.min), known(&column.max));
    #[expect(clippy::cast_precision_loss, reason = "there are at most 2,000 rows")]
    let rows = avg.len() as f32;
    (!avg.is_empty()).then(|| Summary {
        avg: avg.iter().sum::<f32>() / rows,
        min: min.into_iter().fold(f32::INFINITY, f32::min),
        max: max.into_iter().fold(0.0, f32::max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fleet::list::tests::member;

    #[test]
    fn everything_that_is_told_is_shown_with_its_unit() {
        let mut one = member("a", "late", "claimed");
        one.notes = vec!["two agents speak from 10.0.0.7".to_owned()];
        one.protected = true;
        one.lease_s = Some(12.0);
        one.facts = serde_json::from_str(
            r#"{"cpu":0.589,"cores":[0.5,0.251],"memory_used":3500000000,"memory_total":100000000000,
                "swap_used":0,"swap_total":1073741824,"disk_used":298,"disk_free":702,"disk_total":2000,
                "disk_read":1024,"disk_write":2048,"net_rx":1048576,"net_tx":10,"net_dropped":0.5,
                "network_up":true,"link_down":9.3e7,"uptime_s":3024,"load":0.5,"held_files":1,
                "held_bytes":1024,"process_memory":33554432,"process_limit":67108864,
                "status_text":"Ativo"}"#,
        )
        .unwrap();
        let history = Columns {
            time: vec![0, 5, 10],
            step_s: 5,
            figures: [("cpu", [Some(0.25), None, Some(0.75)]), ("swap", [None; 3])]
                .map(|(name, avg)| {
                    let (avg, min, max) = (avg.to_vec(), avg.to_vec(), avg.to_vec());
                    (name.to_owned(), Column { avg, min, max })
                })
                .into(),
        };
        let shown = lines(&one, &history, Duration::from_mins(10)).join("\n");
        for expected in [
            "a  late for 20 s: nothing was heard of it for 15 s, not verified",
            "identity   agent:a",
            "can        take files, tell figures",
            "believed   claimed: not verified",
            "last word  1.2 s ago; its lease ends in 12 s; came by token",
            "processor  58.9 %, 2 cores: 50 25 %",
            "memory     3.2 GiB of 93.1 GiB (3.5 %)",
            "disk       298 B of 1.9 KiB (29.8 %), 702 B free, reads 1 KiB/s, writes 2 KiB/s",
            "network    up, receives 1 MiB/s, sends 10 B/s, drops 0.5 packets/s",
            "line       down 93.0 Mbit/s",
            "up         50 m 24 s",
            "load       50.0 %",
            "holds      1 file, 1 KiB",
            "process    32 MiB of 64 MiB in memory",
            "says       Ativo",
            "note       two agents speak from 10.0.0.7",
            "protected  yes",
        ] {
            assert!(shown.contains(expected), "{expected}:\n{shown}");
        }
        let averages: Vec<_> = shown.lines().rev().take(2).collect();
        assert!(
            averages[1].contains("last 10 m") && averages[1].contains("average"),
            "{shown}"
        );
        let cells: Vec<_> = averages[0].split_whitespace().collect();
        assert_eq!(
            cells,
            ["cpu", "50.0", "%", "25.0", "%", "75.0", "%"],
            "{shown}"
        );
    }

    #[test]
    fn what_is_not_told_has_no_line() {
        let mut one = member("a", "active", "proved");
        one.facts = Facts::default();
        let shown = lines(&one, &Columns::default(), Duration::from_mins(10)).join("\n");
        for absent in [
            "processor",
            "memory",
            "disk",
            "network",
            "last 10 m",
            "not verified",
        ] {
            assert!(!shown.contains(absent), "{absent}:\n{shown}");
        }
        one.facts.disk_trouble = Some("the mount does not answer".into());
        let shown = lines(&one, &Columns::default(), Duration::from_mins(10)).join("\n");
        assert!(
            shown.contains("disk       not known: the mount does not answer"),
            "{shown}"
        );
    }
}
