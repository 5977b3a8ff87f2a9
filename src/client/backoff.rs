//! The waits between attempts to reach a balancer again.

use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double, each shortened at random, so that the clients of a balancer do not all come
/// back at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next wait, for a random number from 0 to 1: the full wait at 0, half of it at 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let wait = self.0.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_two_seconds_and_jitter_halves_them_at_most() {
        let (mut longest, mut shortest) = (Backoff::default(), Backoff::default());
        let waits: Vec<u128> = (0..7).map(|_| longest.next(0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        let waits: Vec<u128> = (0..7).map(|_| shortest.next(1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
