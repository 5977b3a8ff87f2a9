//! Looks at the servers that have announced themselves: each tells a line of status at its turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::lines::{Lines, NoLine};
use crate::doors::refused::Refused;
use crate::fleet::DoorName;
use crate::fleet_core::Identity;

/// How many servers are looked at at once.
pub(super) const AT_ONCE: usize = 16;

/// How often it is seen whose turn it is.
const TICK: Duration = Duration::from_millis(500);

/// Looks at all announced servers until it is told to stop.
pub(super) async fn keep_looking(shared: Arc<Shared>, tasks: TaskTracker) {
    let stop = shared.stop.clone();
    let looking = async {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            for at in shared.announced.due(Instant::now()) {
                let Ok(turn) = turns.clone().acquire_owned().await else {
                    return;
                };
                let shared = shared.clone();
                tasks.spawn(async move {
                    let stop = shared.stop.clone();
                    stop.run_until_cancelled(shared.look_at(at)).await;
                    drop(turn);
                });
            }
            tokio::time::sleep(TICK).await;
        }
    };
    stop.run_until_cancelled(looking).await;
}

impl Shared {
    async fn look_at(&self, at: SocketAddr) {
        // An operator may have had it forgotten. Others can be called by its address.
        if !self.fleet.has(&Identity::Address(at.to_string().into())) {
            return self.announced.forget(at, Instant::now());
        }
        let line = async {
            let mut lines = Lines::connect(at, self.limits.patience).await?;
            self.next_line(at, &mut lines).await
        };
        if let Err(reason) = line.await {
            self.announced.silent(at, Instant::now());
            tracing::debug!(server = %at, reason, "an announced server tells no status");
        }
    }

    /// The next line of an announced server, which the fleet is told.
    pub(super) async fn next_line(
        &self,
        at: SocketAddr,
        lines: &mut Lines,
    ) -> Result<String, NoLine> {
        let (line, facts) = lines.next().await?;
        self.announced.heard(at, Instant::now());
        match self.tell(at, None, facts) {
            Ok(()) => self.fleet.doors().took(DoorName::Announce),
            Err(Refused(reason)) => self.fleet.doors().refused(DoorName::Announce, reason, &at),
        }
        Ok(line)
    }
}
