//! When files are due in the open loop.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::numbers::{decimal, thousandths};
use super::spec::SpecError;

/// Files are due at multiples of this time after the start: at more than one file a tick they come
/// in small batches, and none is further than a tick from where an even spacing would have it.
pub const TICK: Duration = Duration::from_millis(1);

/// Ticks in 1,000 seconds, the time in which a [`Rate`] counts its files.
const TICKS: u128 = 1_000_000;

/// The fastest rate, in thousandths of a file a second.
const FASTEST: u64 = 10_000_000_000;

/// Files a second: reads `500` and `0.25`, with up to three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    thousandths: u64,
}

impl Rate {
    /// When the file in this place, counted from 0, is due.
    pub fn due(self, file: u64) -> Duration {
        let tick = (u128::from(file) * TICKS).div_ceil(u128::from(self.thousandths));
        Duration::from_millis(u64::try_from(tick).unwrap_or(u64::MAX))
    }

    /// How many files are due by then.
    pub fn due_by(self, at: Duration) -> u64 {
        self.within(at).saturating_add(1)
    }

    /// How many files there are in a run of this length.
    pub fn files_in(self, length: Duration) -> u64 {
        self.within(length).max(1)
    }

    fn within(self, length: Duration) -> u64 {
        u64::try_from(length.as_millis() * u128::from(self.thousandths) / TICKS).unwrap_or(u64::MAX)
    }

    /// Files a second.
    #[expect(clippy::cast_precision_loss, reason = "exact in the range of a rate")]
    pub fn per_second(self) -> f64 {
        self.thousandths as f64 / 1000.0
    }
}

impl FromStr for Rate {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let rate = thousandths(text.trim()).filter(|rate| (1..=FASTEST).contains(rate));
        rate.map(|thousandths| Self { thousandths })
            .ok_or_else(|| SpecError::Rate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.thousandths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_rate() {
        for text in ["", "0", "-1", "x", "1.2345", "10000001", "1/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(
            [rate("500").to_string(), rate("0.250").to_string()],
            ["500", "0.25"]
        );
        assert!((rate("0.25").per_second() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn no_file_is_further_than_a_tick_from_an_even_spacing() {
        for text in [
            "0.001", "1", "3", "7.5", "999.999", "1000", "1234.567", "50000", "10000000",
        ] {
            let rate = rate(text);
            for file in (0..2000_u32).chain(1_000_000_000..1_000_000_100) {
                let even = f64::from(file) / rate.per_second();
                let late = rate.due(file.into()).as_secs_f64() - even;
                assert!(
                    (-1e-6..0.001 + 1e-6).contains(&late),
                    "{text}: file {file} is {late} s late"
                );
            }
        }
    }

    #[test]
    fn a_file_is_due_when_it_is_counted_as_due() {
        for text in ["0.001", "1", "3", "999.999", "1000", "1234.567", "50000"] {
            let rate = rate(text);
            for file in 0..500 {
                let due = rate.due(file);
                assert!(rate.due_by(due) > file, "{text}: {file}");
                if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                    assert!(rate.due_by(before) <= file, "{text}: {file}");
                }
            }
        }
    }

    #[test]
    fn a_virtual_minute_has_the_files_of_its_rate() {
        let rate = rate("1234.5");
        let mut sent = 0;
        for tick in 0..60_000 {
            let due = rate.due_by(TICK * tick);
            assert!(due - sent <= 2, "tick {tick} has {} files", due - sent);
            sent = due;
        }
        assert_eq!(
            (sent, rate.files_in(Duration::from_mins(1))),
            (74_069, 74_070)
        );
        assert_eq!(
            "0.001".parse::<Rate>().unwrap().files_in(TICK),
            1,
            "a run has a file"
        );
    }
}
