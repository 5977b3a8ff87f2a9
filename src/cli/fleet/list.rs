//! The members as a table that fits: one line each, troubles first. Pure.

use super::figures::{colour, disk, memory, why};
use crate::cli::render::age;
use crate::cli::table::fit::{self, Column, Row};
use crate::fleet_core::{MemberReport, MemberState};
use crate::numbers::{Grouped, count};
use crate::text::Printable;

/// What is seldom wanted gives way first; a short name and a short reason are enough for figures.
const COLUMNS: [Column; 11] = [
    Column::name("member").good(16),
    Column::state("state"),
    Column::text("source", 7),
    Column::figure("cpu", 2),
    Column::figure("mem", 3),
    Column::figure("disk", 4),
    Column::figure("load", 6),
    Column::figure("held", 5),
    Column::figure("heard", 1),
    Column::text("address", 8),
    Column::why("why").good(14),
];

/// The head, then a line for each member.
pub(super) fn lines(
    members: &[MemberReport],
    width: Option<usize>,
    has_colour: bool,
) -> Vec<String> {
    if members.is_empty() {
        return vec!["the fleet has no members".to_owned()];
    }
    let mut members: Vec<&MemberReport> = members.iter().collect();
    members.sort_by_key(|member| member.state.urgency());
    let rows = members.iter().map(|member| Row {
        cells: cells(member),
        colour: has_colour.then(|| colour(member.state)),
    });
    fit::lines(&COLUMNS, &rows.collect::<Vec<_>>(), width)
}

/// How many members there are of each state.
pub(super) fn counts(members: &[MemberReport]) -> String {
    let of_state = |state: MemberState| {
        members
            .iter()
            .filter(|member| member.state == state)
            .count()
    };
    let counts = MemberState::ALL
        .into_iter()
        .map(|state| (of_state(state), state));
    let counts = counts.filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts
        .map(|(number, state)| format!("{} {}", Grouped(number as u64), state.name()))
        .collect();
    match counts.as_slice() {
        [] => "no members".to_owned(),
        counts => format!("{}: {}", count(members.len(), "member"), counts.join(", ")),
    }
}

fn cells(member: &MemberReport) -> Vec<String> {
    let facts = &member.facts;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let ratio = |ratio: Option<f64>| or_dash(ratio.map(|ratio| format!("{:.0} %", ratio * 100.0)));
    let address = member.address.as_ref().or(member.host.as_ref());
    let address = address.filter(|address| **address != member.name);
    vec![
        Printable(&member.name).to_string(),
        member.state.name().to_owned(),
        member.source.name().to_owned(),
        ratio(facts.cpu.map(f64::from)),
        ratio(memory(facts)),
        ratio(disk(facts)),
        ratio(facts.load.map(f64::from)),
        or_dash(facts.held_files.map(|files| Grouped(files).to_string())),
        or_dash(member.heard_s.map(age)),
        address.map_or_else(String::new, |address| Printable(address).to_string()),
        Printable(why(member)).to_string(),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A member as the API tells of it.
    pub(in crate::cli::fleet) fn member(name: &str, state: &str, trust: &str) -> MemberReport {
        let member = json!({
            "id": format!("agent:{name}"), "name": name, "address": "10.0.0.7:5001",
            "host": "10.0.0.7", "source": "token", "state": state,
            "reason": (state != "active").then_some("nothing was heard of it for 15 s"),
            "since_s": 20.0, "heard_s": 1.25, "lease_s": null,
            "capabilities": { "files": true, "facts": true, "load": false },
            "trust": trust, "protected": false, "notes": [],
            "facts": {
                "cpu": 0.589, "cores": [0.5, 0.25], "memory_used": 3_500_000_000_u64,
                "memory_total": 100_000_000_000_u64, "disk_used": 298, "disk_free": 702,
                "disk_total": 2000, "network_up": true, "uptime_s": 3024, "held_files": 12_345,
            },
        });
        serde_json::from_value(member).unwrap()
    }

    fn members() -> Vec<MemberReport> {
        vec![
            member("a", "active", "proved"),
            member(
                "worker-17.eu-central-1.internal.example.com",
                "active",
                "claimed",
            ),
            member("c", "unknown", "measured"),
            member("d", "late", "proved"),
            member("e", "gone", "proved"),
        ]
    }

    #[test]
    fn troubles_come_first_and_claims_are_marked_at_every_width() {
        for width in [60, 80, 100, 120, 200] {
            let lines = lines(&members(), Some(width), false);
            let shown = lines.join("\n");
            for line in &lines {
                assert!(line.chars().count() <= width, "{width}:\n{shown}");
            }
            assert!(
                lines[1].contains(" unknown ") && lines[1].contains("nothing was"),
                "{shown}"
            );
            assert!(lines[2].contains(" late "), "{shown}");
            assert!(lines[3].starts_with(" a "), "{shown}");
            assert!(lines[4].contains("not verified"), "{shown}");
            assert!(lines[5].contains(" gone "), "{shown}");
            if width >= 80 {
                assert!(
                    lines[0].contains("  cpu")
                        && lines[0].contains("disk")
                        && lines[0].contains("heard"),
                    "{shown}"
                );
            }
        }
        let whole = lines(&members(), None, false);
        for column in ["member", "source", "load", "held", "address"] {
            assert!(whole[0].contains(column), "{whole:?}");
        }
        assert!(
            whole[3].contains(" 59 %") && whole[3].contains(" 4 %"),
            "{whole:?}"
        );
        assert!(
            whole[3].contains(" 30 %") && whole[3].contains("12,345"),
            "{whole:?}"
        );
    }

    #[test]
    fn the_states_are_counted() {
        assert_eq!(counts(&[]), "no members");
        assert_eq!(
            counts(&members()),
            "5 members: 2 active, 1 late, 1 unknown, 1 gone"
        );
        assert_eq!(
            counts(&[member("a", "active", "proved")]),
            "1 member: 1 active"
        );
        assert_eq!(lines(&[], Some(80), false), ["the fleet has no members"]);
    }

    /// A name that is not ours to trust cannot paint the terminal.
    #[test]
    fn names_and_notes_are_printable() {
        let mut one = member("a\x1b[31mb\n", "active", "claimed");
        one.notes = vec!["two\r\nlines".to_owned()];
        let shown = lines(&[one], None, false).concat();
        assert!(!shown.contains(['\x1b', '\n', '\r']), "{shown:?}");
    }
}
