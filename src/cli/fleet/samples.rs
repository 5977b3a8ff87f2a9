//! Samples of a member's figures, and their averages in the format of the first system. Pure.

use std::time::Duration;

use serde::Serialize;

use super::figures::{disk, memory};
use crate::fleet_core::{MemberReport, MemberState};

/// What a member tells at one look, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<f64>,
    pub(super) disk: Option<f64>,
}

impl Sample {
    /// The sample at this look; `None` if nothing is heard of the member, or nothing of these three.
    pub(super) fn of(member: &MemberReport) -> Option<Self> {
        let is_there = matches!(
            member.state,
            MemberState::Joining | MemberState::Active | MemberState::Late | MemberState::Leaving
        );
        // The first system's status lines have one decimal.
        let percent = |part: f64| (part * 1000.0).round() / 10.0;
        let facts = &member.facts;
        let sample = Self {
            cpu: facts.cpu.map(|cpu| percent(cpu.into())),
            memory: memory(facts).map(percent),
            disk: disk(facts).map(percent),
        };
        (is_there && member.heard_s.is_some() && sample != Self::default()).then_some(sample)
    }
}

/// The averages of a number of samples, as they stand in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Entry {
    /// Local time, `2026-11-25 04:21:01`.
    pub(super) data_hora: String,
    /// In percent; `null` if it was never told.
    pub(super) avg_cpu: Option<f64>,
    pub(super) avg_memory: Option<f64>,
    pub(super) avg_disk: Option<f64>,
    /// Since the first look, `0:00:10`.
    pub(super) total_time: String,
}

/// Gathers samples.
#[derive(Debug)]
pub(super) struct Samples {
    each: usize,
    kept: Vec<Sample>,
}

impl Samples {
    /// For averages of so many samples.
    pub(super) fn new(each: u32) -> Self {
        Self {
            each: each.max(1) as usize,
            kept: Vec::new(),
        }
    }

    /// Takes a sample; gives the averages if it was the last of its number.
    pub(super) fn take(&mut self, sample: Sample, now: &str, since: Duration) -> Option<Entry> {
        self.kept.push(sample);
        if self.kept.len() < self.each {
            return None;
        }
        let samples = std::mem::take(&mut self.kept);
        let average = |of: fn(&Sample) -> Option<f64>| {
            let known: Vec<f64> = samples.iter().filter_map(of).collect();
            #[expect(clippy::cast_precision_loss, reason = "a number of samples")]
            let number = known.len() as f64;
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / number)
        };
        Some(Entry {
            data_hora: now.to_owned(),
            avg_cpu: average(|sample| sample.cpu),
            avg_memory: average(|sample| sample.memory),
            avg_disk: average(|sample| sample.disk),
            total_time: clock(since.as_secs()),
        })
    }
}

/// Hours, minutes and seconds, and days before them, as the first system writes them.
fn clock(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fleet::list::tests::member;

    #[test]
    fn samples_are_those_of_the_status_line() {
        let expected = Sample {
            cpu: Some(58.9),
            memory: Some(3.5),
            disk: Some(29.8),
        };
        assert_eq!(Sample::of(&member("a", "active", "proved")), Some(expected));
        assert_eq!(Sample::of(&member("a", "unknown", "proved")), None);
        assert_eq!(Sample::of(&member("a", "gone", "proved")), None);
        let mut silent = member("a", "active", "proved");
        silent.heard_s = None;
        assert_eq!(Sample::of(&silent), None);
        let mut other = member("a", "active", "proved");
        other.facts = crate::fleet_core::Facts {
            load: Some(0.5),
            ..Default::default()
        };
        assert_eq!(Sample::of(&other), None);
    }

    #[test]
    fn every_ten_samples_have_an_average() {
        let mut samples = Samples::new(10);
        for round in 0..3_u32 {
            for number in 0..10_u32 {
                let sample = Sample {
                    cpu: Some(f64::from(number)),
                    memory: (number < 2).then_some(3.5),
                    disk: None,
                };
                let since = Duration::from_millis(u64::from(round * 10 + number + 1) * 1000 + 300);
                let entry = samples.take(sample, "2026-11-25 04:21:01", since);
                assert_eq!(entry.is_some(), number == 9, "{round} {number}");
                if let Some(entry) = entry {
                    assert_eq!((entry.avg_cpu, entry.avg_memory), (Some(4.5), Some(3.5)));
                    assert_eq!(entry.avg_disk, None, "missing is not zero");
                    assert_eq!(entry.total_time, format!("0:00:{}0", round + 1));
                }
            }
        }
    }

    #[test]
    fn the_clock_is_that_of_the_first_system() {
        for (seconds, text) in [
            (10, "0:00:10"),
            (3_599, "0:59:59"),
            (36_000, "10:00:00"),
            (86_400, "1 day, 0:00:00"),
            (200_000, "2 days, 7:33:20"),
        ] {
            assert_eq!(clock(seconds), text);
        }
    }
}
