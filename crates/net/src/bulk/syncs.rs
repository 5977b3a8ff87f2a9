//! Syncs a large file while it is still being written: the disk works meanwhile, and the sync of a
//! small file never has to wait for all of a large one.

use std::io;

use tokio::task::{JoinHandle, spawn_blocking};

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
    /// Counts bytes that were just written, and returns whether it is time for a sync.
    pub(super) fn wrote(&mut self, bytes: usize) -> bool {
        self.written += bytes as u64;
        let is_free = || self.under_way.as_ref().is_none_or(JoinHandle::is_finished);
        self.written >= MOST || (self.written >= STEP && is_free())
    }

    /// Calls `sync` on another thread, once the sync before it has ended. Returns the error of that
    /// earlier sync: the file is lost then, because no later sync would report it.
    pub(super) async fn start(
        &mut self,
        sync: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.end().await?;
        self.under_way = Some(spawn_blocking(sync));
        self.written = 0;
        Ok(())
    }

    /// Waits for the sync that is under way. Bytes that were written since it began are not synced.
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
            if behind.wrote(usize::try_from(STEP / 10).unwrap()) {
                let counted = syncs.clone();
                let sync = move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                behind.start(sync).await.unwrap();
                unsynced = 0;
            }
        }
        behind.end().await.unwrap();
        assert!(most <= MOST + STEP, "{most}");
        assert!(!behind.wrote(1000) || unsynced + 1000 >= STEP);
        let syncs = syncs.load(Ordering::Relaxed);
        assert!((100 * STEP / MOST - 1..=100).contains(&syncs), "{syncs}");
    }

    #[tokio::test]
    async fn a_sync_that_failed_is_told_later_but_surely() {
        let fail = || Err(io::Error::other("the disk is gone"));
        let mut behind = Syncs::default();
        behind.start(fail).await.unwrap();
        let at_the_end = behind.end().await.unwrap_err();
        behind.start(fail).await.unwrap();
        let on_the_way = behind.start(|| Ok(())).await.unwrap_err();
        for error in [at_the_end, on_the_way] {
            assert_eq!(error.to_string(), "the disk is gone");
        }
    }
}
