//! The history of the last minute: one entry a second of each count, for rates, shares and
//! sparklines.
//!
//! No tasks and no clocks: samples are passed in with their times.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::types::{Quantiles, Rates};
use crate::balancer::orders::Sample;
use crate::numbers::thousandths;
use crate::protocol::status::ServerReport;

/// Seconds that are remembered.
const SECONDS: usize = 60;

/// Seconds over which rates are averaged.
const RATE_SECONDS: usize = 5;

/// A growing count, with its value at the end of each of the last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Series(VecDeque<u64>);

impl Series {
    /// Adds the count's value `seconds` after the last entry.
    fn push(&mut self, now: u64, seconds: usize) {
        let last = self.0.back().copied();
        // A server that was removed and added again counts from 0.
        let last = match last {
            Some(last) if last <= now => last,
            Some(_) => {
                self.0.clear();
                now
            }
            None => now,
        };
        // The growth over seconds without a sample is spread over them.
        let seconds = seconds.min(SECONDS) as u64;
        for second in 1..=seconds {
            let part = u128::from(now - last) * u128::from(second) / u128::from(seconds);
            self.0
                .push_back(last + u64::try_from(part).unwrap_or(u64::MAX));
        }
        while self.0.len() > SECONDS + 1 {
            self.0.pop_front();
        }
    }

    /// The growth in each second, the newest last.
    pub(super) fn history(&self) -> Vec<u64> {
        self.0
            .iter()
            .zip(self.0.iter().skip(1))
            .map(|(before, after)| after - before)
            .collect()
    }

    /// The growth a second.
    pub(super) fn rate(&self) -> f64 {
        let seconds = RATE_SECONDS.min(self.0.len().saturating_sub(1));
        let (Some(last), Some(first)) = (self.0.back(), self.0.iter().rev().nth(seconds)) else {
            return 0.0;
        };
        if seconds == 0 {
            0.0
        } else {
            thousandths(to_f64(last - first) / to_f64(seconds as u64))
        }
    }

    /// The growth since the oldest entry, if the count is `now`.
    pub(super) fn since_oldest(&self, now: u64) -> u64 {
        match (self.0.front(), self.0.back()) {
            // `now` may be from a sample before the last entry.
            (Some(first), Some(last)) => now.max(*last) - first,
            _ => now,
        }
    }
}

/// A number for people, who do not need more than 53 bits of it.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// The distribution of a latency over the last seconds, in microseconds.
#[derive(Debug, Default)]
struct Times {
    /// The histogram since the start, at the last entry.
    before: Option<Histogram<u64>>,
    seconds: VecDeque<Vec<(u64, u64)>>,
    sum: BTreeMap<u64, u64>,
}

impl Times {
    fn push(&mut self, now: Histogram<u64>, seconds: usize) {
        let mut new = Vec::new();
        if let Some(before) = &self.before {
            for step in now.iter_recorded() {
                let value = step.value_iterated_to();
                let more = step.count_at_value().saturating_sub(before.count_at(value));
                if more > 0 {
                    new.push((value, more));
                }
            }
        }
        self.before = Some(now);
        for _ in 1..seconds.min(SECONDS) {
            self.seconds.push_back(Vec::new());
        }
        for (value, more) in &new {
            *self.sum.entry(*value).or_default() += more;
        }
        self.seconds.push_back(new);
        while self.seconds.len() > SECONDS {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        for (value, count) in self.seconds.pop_front().into_iter().flatten() {
            if let Some(left) = self.sum.get_mut(&value) {
                *left -= count;
                if *left == 0 {
                    self.sum.remove(&value);
                }
            }
        }
    }

    fn quantiles(&self) -> Option<Quantiles> {
        let total: u64 = self.sum.values().sum();
        let (max, _) = self.sum.last_key_value()?;
        let at = |percent: u64| {
            let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
            let mut seen = 0;
            let found = self.sum.iter().find(|(_, count)| {
                seen += u128::from(**count);
                seen >= rank
            });
            millis(found.map_or(*max, |(value, _)| *value))
        };
        Some(Quantiles {
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: millis(*max),
        })
    }
}

fn millis(micros: u64) -> f64 {
    to_f64(micros) / 1000.0
}

/// The counts of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    /// Files that it stored.
    pub(super) files: Series,
    /// Bytes of their content.
    pub(super) bytes: Series,
}

impl Stored {
    fn push(&mut self, report: &ServerReport, seconds: usize) {
        self.files.push(report.delivered, seconds);
        self.bytes.push(report.delivered_bytes, seconds);
    }
}

/// The history of a balancer and its servers.
#[derive(Debug, Default)]
pub(super) struct Minute {
    /// The time of the first entry, and the seconds from there to the last one.
    began: Option<(Instant, u64)>,
    pub(super) accepted: Series,
    pub(super) delivered: Series,
    accepted_bytes: Series,
    delivered_bytes: Series,
    servers: HashMap<String, Stored>,
    accept: Times,
    deliver: Times,
}

impl Minute {
    /// Adds a sample, unless the second of the last one is not over.
    pub(super) fn push(&mut self, sample: &Sample) {
        let (began, last) = *self.began.get_or_insert((sample.at, 0));
        // Timers are not exact: a sample may come up to a quarter of a second early.
        let now =
            (sample.at.saturating_duration_since(began) + Duration::from_millis(250)).as_secs();
        let is_first = self.accepted.0.is_empty();
        let seconds = if is_first {
            1
        } else {
            usize::try_from(now - last.min(now)).unwrap_or(SECONDS)
        };
        if seconds == 0 {
            return;
        }
        self.began = Some((began, now));
        let status = &sample.status;
        self.accepted.push(status.accepted, seconds);
        self.delivered.push(status.delivered, seconds);
        self.accepted_bytes.push(status.accepted_bytes, seconds);
        self.delivered_bytes.push(status.delivered_bytes, seconds);
        let mut before = std::mem::take(&mut self.servers);
        for report in &status.servers {
            let mut stored = before.remove(&report.name).unwrap_or_default();
            stored.push(report, seconds);
            self.servers.insert(report.name.clone(), stored);
        }
        self.accept.push(sample.accept.clone(), seconds);
        self.deliver.push(sample.deliver.clone(), seconds);
    }

    /// The counts of a server; `None` if it is new.
    pub(super) fn server(&self, name: &str) -> Option<&Stored> {
        self.servers.get(name)
    }

    pub(super) fn rates(&self) -> Rates {
        Rates {
            accepted_per_s: self.accepted.rate(),
            delivered_per_s: self.delivered.rate(),
            accepted_bytes_per_s: self.accepted_bytes.rate(),
            delivered_bytes_per_s: self.delivered_bytes.rate(),
        }
    }

    pub(super) fn latencies(&self) -> super::types::Latencies {
        super::types::Latencies {
            accept_ms: self.accept.quantiles(),
            deliver_ms: self.deliver.quantiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_tells_each_second_and_the_rate_of_the_last_ones() {
        let mut series = Series::default();
        assert_eq!((series.history(), series.rate()), (vec![], 0.0));
        series.push(100, 1);
        assert_eq!((series.history(), series.rate()), (vec![], 0.0));
        series.push(110, 1);
        series.push(140, 3);
        assert_eq!(series.history(), [10, 10, 10, 10]);
        assert!((series.rate() - 10.0).abs() < 1e-9);
        assert_eq!(series.since_oldest(145), 45);
        for _ in 0..100 {
            series.push(140, 1);
        }
        assert_eq!(series.history(), [0; SECONDS]);
        series.push(5, 1);
        assert_eq!(
            (series.history(), series.since_oldest(6)),
            (vec![], 1),
            "it counts from 0 again"
        );
        series.push(5 + 70, 1_000_000);
        assert_eq!(series.history().len(), SECONDS);
    }

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for value in values {
            histogram.record(*value).unwrap();
        }
        histogram
    }

    #[test]
    fn quantiles_are_those_of_the_last_minute_only() {
        let mut times = Times::default();
        let early: Vec<u64> = vec![1_000_000; 50];
        times.push(histogram(&early), 1);
        assert_eq!(
            times.quantiles(),
            None,
            "what came before the first entry is not known to be of this minute"
        );
        let all: Vec<u64> = early
            .iter()
            .copied()
            .chain((1..=100).map(|ms| ms * 10))
            .collect();
        times.push(histogram(&all), 1);
        let quantiles = times.quantiles().unwrap();
        assert_eq!(
            (quantiles.p50, quantiles.p90, quantiles.p99, quantiles.max),
            (0.5, 0.9, 0.99, 1.0)
        );
        times.push(histogram(&all), 59);
        assert_eq!(times.quantiles(), Some(quantiles));
        times.push(histogram(&all), 1);
        assert_eq!(times.quantiles(), None);
        assert!(times.sum.is_empty() && times.seconds.len() == SECONDS);
    }
}
