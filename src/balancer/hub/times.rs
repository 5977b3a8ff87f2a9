//! How long files took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// How many decimal digits of times are kept.
const DIGITS: u8 = 2;

/// How long files took since the start, in microseconds.
#[derive(Debug)]
pub(super) struct Times {
    /// From being read whole to the receipt.
    pub(super) accept: Histogram<u64>,
    /// From the acceptance to the server's acknowledgement.
    pub(super) deliver: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the arguments are constants, and any test of the hub runs this"
        )]
        let times = || Histogram::new_with_max(LONGEST, DIGITS).expect("the bounds are good");
        Self {
            accept: times(),
            deliver: times(),
        }
    }
}

impl Times {
    pub(super) fn accepted(&mut self, took: Duration) {
        self.accept.saturating_record(micros(took));
    }

    pub(super) fn delivered(&mut self, took: Duration) {
        self.deliver.saturating_record(micros(took));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
