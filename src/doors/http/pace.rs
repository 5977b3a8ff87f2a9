//! How fast messages of one connection are read: what comes faster waits with its sender.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::doors::rate::Rate;

/// The messages of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            left: rate.at_once,
            at: Instant::now(),
        }
    }

    /// Waits until the next one may be read.
    pub(super) async fn turn(&mut self) {
        self.fill();
        if self.left < 1.0 {
            sleep(Duration::from_secs_f64(
                (1.0 - self.left) / self.rate.a_second,
            ))
            .await;
            self.fill();
        }
    }

    /// One was read.
    pub(super) fn took(&mut self) {
        self.left -= 1.0;
    }

    fn fill(&mut self) {
        let now = Instant::now();
        self.left = self.rate.after(self.left, now.duration_since(self.at));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_the_first_ones_they_come_at_the_rate() {
        let mut pace = Pace::new(Rate {
            a_second: 10.0,
            at_once: 20.0,
        });
        let began = Instant::now();
        for _ in 0..120 {
            pace.turn().await;
            pace.took();
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.8..10.3).contains(&took), "{took}");
    }
}
