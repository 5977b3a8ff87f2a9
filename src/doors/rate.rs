//! How many messages may come: so many a second, and so many at once. Knows no clock.

use std::time::Duration;

/// So many messages a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) a_second: f64,
    pub(super) at_once: f64,
}

impl Rate {
    /// How many may come at once after so much time, if so many could before.
    pub(super) fn after(self, left: f64, passed: Duration) -> f64 {
        (left + passed.as_secs_f64() * self.a_second).min(self.at_once)
    }
}
