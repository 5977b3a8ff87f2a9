//! How fast messages of one connection are read: what comes faster waits with its sender.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So many messages a second, and so many at once.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate: f64::from(rate),
            burst: f64::from(burst),
            left: f64::from(burst),
            at: Instant::now(),
        }
    }

    /// Waits until the next one may be read.
    pub(super) async fn turn(&mut self) {
        self.fill();
        if self.left < 1.0 {
            sleep(Duration::from_secs_f64((1.0 - self.left) / self.rate)).await;
            self.fill();
        }
    }

    /// One was read.
    pub(super) fn took(&mut self) {
        self.left -= 1.0;
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_the_first_ones_they_come_at_the_rate() {
        let mut pace = Pace::new(10, 20);
        let began = Instant::now();
        for _ in 0..120 {
            pace.turn().await;
            pace.took();
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.8..10.3).contains(&took), "{took}");
    }
}
