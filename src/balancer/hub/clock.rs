//! The hub's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Times are durations since the beginning of 1970, UTC, as the wall clock had it at the start,
/// and never step back: the wall clock is read once.
#[derive(Debug, Clone, Copy)]
pub(in crate::balancer) struct Clock {
    started: Instant,
    began: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub(in crate::balancer) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: Instant::now(),
            began: since_1970.unwrap_or_default(),
        }
    }

    /// A clock that starts now and shows this time. For tests, which pass the time themselves.
    #[cfg(test)]
    pub(super) fn at(began: Duration) -> Self {
        Self {
            started: Instant::now(),
            began,
        }
    }

    /// When the clock started.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    /// The time. Only the run loop asks; everything else is told.
    pub(super) fn now(&self) -> Duration {
        self.began + self.started.elapsed()
    }

    /// When this clock shows `time`.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.started + time.saturating_sub(self.began)
    }

    /// The time at `instant`, which is not before the start.
    pub(super) fn time_of(&self, instant: std::time::Instant) -> Duration {
        self.began + Instant::from_std(instant).saturating_duration_since(self.started)
    }
}
