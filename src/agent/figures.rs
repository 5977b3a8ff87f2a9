//! Samples in time: one each interval, whatever happens to the connection.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::fleet_core::Facts;
use crate::host::Host;
use crate::protocol::facts::fit;

/// So long before a sample the disk is asked, and so long after the start the first sample is taken:
/// rates are measured from one sample to the next.
const AHEAD: Duration = Duration::from_secs(1);

/// The figures of this host, again and again.
pub(super) struct Figures {
    host: Host,
    every: Duration,
    due: Instant,
    last: Instant,
    is_disk_asked: bool,
}

impl Figures {
    pub(super) fn new(host: Host, every: Duration) -> Self {
        let now = Instant::now();
        Self {
            host,
            every,
            due: now + AHEAD.min(every),
            last: now,
            is_disk_asked: true,
        }
    }

    /// How often a sample is taken.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    /// Waits until a sample is due, and takes it; with the time since the one before. May be
    /// cancelled at any time.
    pub(super) async fn next(&mut self) -> (Facts, Duration) {
        if !self.is_disk_asked {
            sleep_until(self.due.checked_sub(AHEAD).unwrap_or(self.due)).await;
            self.host.ask_disk();
            self.is_disk_asked = true;
        }
        sleep_until(self.due).await;
        let now = Instant::now();
        let since = now.duration_since(self.last);
        self.last = now;
        self.is_disk_asked = false;
        // After a pause the beat begins anew: nothing is told twice to make up for it.
        self.due = (self.due + self.every).max(now + self.every / 2);
        (fit(&self.host.sample()), since)
    }
}
