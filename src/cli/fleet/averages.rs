//! What members told on average, as a table that fits. Pure.

use std::time::Duration;

use serde::Deserialize;

use super::figures::{percent, rate};
use crate::cli::render::bytes_text;
use crate::cli::table::fit::{self, Column, Row};
use crate::fleet_core::{Averages, Figure};
use crate::text::Printable;
use crate::units::format_duration;

/// The averages of all members.
#[derive(Debug, Deserialize)]
pub(super) struct AverageList {
    over_s: u64,
    members: Vec<Averages>,
}

const COLUMNS: [Column; 14] = [
    Column::name("member"),
    Column::figure("known", 4),
    Column::figure("cpu", 1),
    Column::figure("cpu most", 2),
    Column::figure("memory", 3),
    Column::figure("memory most", 11),
    Column::figure("disk", 5),
    Column::figure("load", 6),
    Column::figure("receives", 7),
    Column::figure("sends", 8),
    Column::figure("reads", 9),
    Column::figure("writes", 10),
    Column::figure("drops/s", 13),
    Column::figure("holds", 12),
];

/// The head, then a line for each member.
pub(super) fn lines(list: &AverageList, width: Option<usize>) -> Vec<String> {
    let rows: Vec<Row> = list.members.iter().map(row).collect();
    if rows.is_empty() {
        let over = format_duration(Duration::from_secs(list.over_s));
        return vec![format!("no member told a figure in the last {over}")];
    }
    fit::lines(&COLUMNS, &rows, width)
}

fn row(of: &Averages) -> Row {
    let told = |figure: Figure, is_most: bool| {
        of.figures.get(figure.name()).map_or_else(
            || "-".to_owned(),
            |summary| text_of(figure, if is_most { summary.max } else { summary.avg }),
        )
    };
    let average = |figure| told(figure, false);
    let most = |figure| told(figure, true);
    Row {
        cells: vec![
            Printable(&of.name).to_string(),
            format_duration(Duration::from_secs(of.known_s)),
            average(Figure::Cpu),
            most(Figure::Cpu),
            average(Figure::Memory),
            most(Figure::Memory),
            average(Figure::Disk),
            average(Figure::Load),
            average(Figure::NetRx),
            average(Figure::NetTx),
            average(Figure::DiskRead),
            average(Figure::DiskWrite),
            average(Figure::NetDropped),
            average(Figure::Held),
        ],
        colour: None,
    }
}

/// A figure with its unit.
pub(super) fn text_of(figure: Figure, number: f32) -> String {
    let number = f64::from(number);
    match figure {
        Figure::Cpu | Figure::Load => percent(number),
        Figure::Memory | Figure::Swap | Figure::Disk | Figure::Process | Figure::Held => {
            bytes_text(number).to_string()
        }
        Figure::DiskRead | Figure::DiskWrite | Figure::NetRx | Figure::NetTx => rate(number),
        Figure::NetDropped => format!("{number:.1}/s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn averages_fit_and_what_is_not_known_is_a_dash() {
        let list: AverageList = serde_json::from_value(json!({
            "over_s": 600,
            "members": [
                { "id": "agent:a", "name": "a", "known_s": 590, "figures": {
                    "cpu": { "avg": 0.25, "min": 0.0, "max": 0.99 },
                    "memory": { "avg": 1_073_741_824.0, "min": 1.0, "max": 2e9 },
                    "net_rx": { "avg": 1024.0, "min": 1.0, "max": 2e9 } } },
                { "id": "agent:b", "name": "b", "known_s": 0, "figures": {} },
            ],
        }))
        .unwrap();
        for width in [40, 80, 132, 300] {
            let lines = lines(&list, Some(width));
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:?}"
            );
            assert!(
                lines[1].contains("25.0 %") && lines[0].contains("cpu"),
                "{lines:?}"
            );
        }
        let lines = lines(&list, None);
        for expected in ["9 m 50 s", "99.0 %", "1 GiB", "1 KiB/s"] {
            assert!(lines[1].contains(expected), "{expected}: {lines:?}");
        }
        assert_eq!(lines[2].matches('-').count(), 12, "{lines:?}");
        let nobody = AverageList {
            over_s: 600,
            members: Vec::new(),
        };
        assert_eq!(
            super::lines(&nobody, None),
            ["no member told a figure in the last 10 m"]
        );
    }
}
