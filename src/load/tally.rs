//! Collects the times of files and sums them up.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::slots::Flight;
use crate::client::Wait;
use crate::numbers::count;
use crate::protocol::RefusalCode;
use crate::units::format_duration;

/// The longest recorded time; longer ones count as this.
const LONGEST: Duration = Duration::from_hours(24);

/// Significant digits of recorded times.
const DIGITS: u8 = 3;

/// A histogram of times in microseconds.
struct Times(Histogram<u64>);

impl Times {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants, and the tests make one"
    )]
    fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_max(longest, DIGITS).expect("the bounds are good"))
    }

    fn add(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn percentiles(&self) -> Percentiles {
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile).min(self.0.max()));
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(self.0.max()),
        }
    }
}

fn milliseconds(micros: u64) -> f64 {
    rounded(Duration::from_micros(micros).as_secs_f64() * 1000.0)
}

/// Rounds to three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Files that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// `refused` or `dead`.
    pub state: &'static str,
    /// The code of the refusal; `None` for a dead letter.
    pub code: Option<RefusalCode>,
    /// How many files.
    pub files: u64,
    /// Title of the first one.
    pub first: String,
    /// Why the first one failed.
    pub reason: String,
}

/// Counts and times of the files of a run.
pub struct Tally {
    wait: Wait,
    accepted: Times,
    delivered: Times,
    late: Times,
    failed: BTreeMap<(&'static str, Option<RefusalCode>), Failed>,
    first: Option<Duration>,
    last: Duration,
    /// Files sent, with the warm-up.
    pub sent: u64,
    /// Files that reached the awaited receipt, with the warm-up.
    pub reached: u64,
    /// The same, without the warm-up.
    pub files: u64,
    /// Content of these, in bytes.
    pub bytes: u64,
    /// Files that were sent late because too many others were under way.
    pub held_back: u64,
    /// How often the balancer reported a full queue.
    pub queue_full: u64,
}

impl Tally {
    /// A tally of a run that waits for this receipt.
    pub fn new(wait: Wait) -> Self {
        Self {
            wait,
            accepted: Times::new(),
            delivered: Times::new(),
            late: Times::new(),
            failed: BTreeMap::new(),
            first: None,
            last: Duration::ZERO,
            sent: 0,
            reached: 0,
            files: 0,
            bytes: 0,
            held_back: 0,
            queue_full: 0,
        }
    }

    /// Start of the first file that counts.
    pub fn first(&self) -> Option<Duration> {
        self.first
    }

    /// How many files failed.
    pub fn failed(&self) -> u64 {
        self.failed.values().map(|failed| failed.files).sum()
    }

    /// Records that a file is sent.
    pub(super) fn send(&mut self, start: Duration, now: Duration, counts: bool) {
        self.sent += 1;
        if counts {
            self.first = Some(self.first.map_or(start, |first| first.min(start)));
            self.late.add(now.saturating_sub(start));
        }
    }

    /// Records an `accepted`. Returns whether it ends the file.
    pub(super) fn accept(&mut self, flight: &Flight, now: Duration, counts: bool) -> bool {
        if counts {
            self.accepted.add(now.saturating_sub(flight.start));
        }
        self.reach(Wait::Accepted, flight, now, counts)
    }

    /// Records a `delivered`.
    pub(super) fn deliver(&mut self, flight: &Flight, now: Duration, counts: bool) {
        if counts {
            self.delivered.add(now.saturating_sub(flight.start));
        }
        self.reach(Wait::Delivered, flight, now, counts);
    }

    fn reach(&mut self, what: Wait, flight: &Flight, now: Duration, counts: bool) -> bool {
        if self.wait != what {
            return false;
        }
        self.reached += 1;
        if counts {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(flight.size);
            self.last = self.last.max(now);
        }
        true
    }

    /// Records a failure. Failures of the warm-up count, too.
    pub(super) fn fail(
        &mut self,
        state: &'static str,
        code: Option<RefusalCode>,
        title: &str,
        reason: &str,
    ) {
        let new = || Failed {
            state,
            code,
            files: 0,
            first: title.to_owned(),
            reason: reason.to_owned(),
        };
        self.failed.entry((state, code)).or_insert_with(new).files += 1;
    }

    /// From the start of the first file that counts to the end of the last.
    fn length(&self) -> Duration {
        self.last.saturating_sub(self.first.unwrap_or_default())
    }

    /// The report of the run. `is_open`: the run was an open loop.
    pub fn report(&self, is_open: bool) -> Report {
        let seconds = self.length().as_secs_f64();
        let rate = |count| {
            if seconds > 0.0 {
                rounded(float(count) / seconds)
            } else {
                0.0
            }
        };
        let failed = |state| {
            self.failed
                .values()
                .filter(|failed| failed.state == state)
                .map(|f| f.files)
                .sum()
        };
        let (refused, dead) = (failed("refused"), failed("dead"));
        Report {
            files: self.files,
            bytes: self.bytes,
            seconds: rounded(seconds),
            files_per_s: rate(self.files),
            mb_per_s: rounded(rate(self.bytes) / 1e6),
            accepted_ms: self.accepted.percentiles(),
            delivered_ms: (self.wait == Wait::Delivered).then(|| self.delivered.percentiles()),
            late_ms: is_open.then(|| self.late.percentiles()),
            held_back: is_open.then_some(self.held_back),
            refused,
            dead,
            missing: self.sent.saturating_sub(self.reached + refused + dead),
            queue_full: self.queue_full,
            failures: self.failed.values().cloned().collect(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with fewer digits")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Percentiles of a time, in milliseconds with three decimals, accurate to three digits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 90%.
    pub p90: f64,
    /// 99%.
    pub p99: f64,
    /// 99.9%.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// The results of a run, without the warm-up except for failures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Files that reached the awaited receipt.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// From the start of the first file to the last awaited receipt.
    pub seconds: f64,
    /// Files per second.
    pub files_per_s: f64,
    /// Content in megabytes (1,000,000 bytes) per second.
    pub mb_per_s: f64,
    /// From the start of a file to its receipt `accepted`. A file starts when it enters the write
    /// buffer of its connection; in the open loop, when it is due.
    pub accepted_ms: Percentiles,
    /// The same to its receipt `delivered`; `None` if the run does not wait for it.
    pub delivered_ms: Option<Percentiles>,
    /// In the open loop: from the time when a file was due until it entered the write buffer. A
    /// part of the other times.
    pub late_ms: Option<Percentiles>,
    /// In the open loop: files that were sent late because too many were under way.
    pub held_back: Option<u64>,
    /// Files that the balancer refused.
    pub refused: u64,
    /// Dead letters.
    pub dead: u64,
    /// Files sent that had no final receipt when the run ended.
    pub missing: u64,
    /// How often the balancer reported a full queue.
    pub queue_full: u64,
    /// The failures, by kind.
    pub failures: Vec<Failed>,
}

impl Report {
    /// One line per kind of failure.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|failed| {
            let Failed {
                state,
                code,
                files,
                first,
                reason,
            } = failed;
            let code = code
                .as_ref()
                .map_or_else(String::new, |code| format!(" ({code})"));
            let files = count(*files, "file");
            format!("{files} {state}{code}; the first was {first}: {reason}")
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = format_duration(Duration::from_secs_f64(self.seconds));
        write!(
            f,
            "{} files in {length}: {:.1} files/s, {:.3} MB/s",
            self.files, self.files_per_s, self.mb_per_s
        )?;
        let mut others = String::new();
        for (count, what) in [
            (self.refused, "refused"),
            (self.dead, "dead"),
            (self.missing, "missing"),
        ] {
            if count > 0 {
                write!(others, ", {count} {what}")?;
            }
        }
        writeln!(f, "{others}")?;
        write!(
            f,
            "{:>12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "ms", "p50", "p90", "p99", "p99.9", "max"
        )?;
        let rows = [
            ("accepted", Some(&self.accepted_ms)),
            ("delivered", self.delivered_ms.as_ref()),
            ("sent late", self.late_ms.as_ref()),
        ];
        for (what, times) in rows {
            let Some(Percentiles {
                p50,
                p90,
                p99,
                p999,
                max,
            }) = times
            else {
                continue;
            };
            write!(
                f,
                "\n{what:>12} {p50:>10.3} {p90:>10.3} {p99:>10.3} {p999:>10.3} {max:>10.3}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
