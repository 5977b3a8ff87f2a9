//! Syncs a large file while it is still being written: the disk works meanwhile, and the sync of a
//! small file never has to wait for all of a large one.

use std::io;

use tokio::task::JoinHandle;

use super::job;

/// The number of unsynced bytes from which on a sync is worth its cost.
pub(super) const STEP: u64 = 16 * 1024 * 1024;

/// The most bytes that may be written and not synced.
pub(super) const MOST: u64 = 4 * STEP;

/// The syncs of one file that is being written.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Bytes that were written since the latest sync began.
    written: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl Syncs {
    /// Counts bytes that were just written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Whether it is time for a sync.
    pub(super) fn is_due(&self) -> bool {
        let is_free = || self.under_way.as_ref().is_none_or(JoinHandle::is_finished);
        self.written >= MOST || (self.written >= STEP && is_free())
    }

    /// Calls `sync` on another thread. The sync before it has ended, by [`Self::end`].
    pub(super) fn start(&mut self, sync: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.under_way = Some(job::spawn(sync));
        self.written = 0;
    }

    /// There is no need for a sync.
    pub(super) fn skip(&mut self) {
        self.written = 0;
    }

    /// Waits for the sync that is under way. If it failed the file is lost, because no later sync
    /// would report it. Bytes that were written since it began are not synced.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        let Some(under_way) = &mut self.under_way else {
            return Ok(());
        };
        let ended = under_way.await;
        self.under_way = None;
        ended.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn much_is_synced_in_steps_and_little_not_at_all() {
        let syncs = Arc::new(AtomicU64::new(0));
        let (mut behind, mut unsynced, mut most) = (Syncs::default(), 0, 0);
        for _ in 0..1000 {
            unsynced += STEP / 10;
            most = most.max(unsynced);
            behind.wrote(STEP / 10);
            if behind.is_due() {
                let counted = syncs.clone();
                let sync = move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                behind.end().await.unwrap();
                behind.start(sync);
                unsynced = 0;
            }
        }
        behind.end().await.unwrap();
        assert!(most <= MOST + STEP, "{most}");
        assert!(!behind.is_due() || unsynced >= STEP);
        let syncs = syncs.load(Ordering::Relaxed);
        assert!((100 * STEP / MOST - 1..=100).contains(&syncs), "{syncs}");
    }

    #[tokio::test]
    async fn a_sync_that_failed_is_told() {
        let mut behind = Syncs::default();
        behind.start(|| Err(io::Error::other("the disk is gone")));
        let error = behind.end().await.unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
        assert!(behind.end().await.is_ok(), "it is told once");
    }
}
