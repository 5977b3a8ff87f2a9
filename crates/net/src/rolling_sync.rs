//! Syncs a large file while it is still being written, so that the disk works meanwhile, and so
//! that never so much of it waits for the disk that the sync of something small would have to wait
//! for all of that.

use std::io;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How many bytes are worth a sync.
const STEP: u64 = 16 * 1024 * 1024;

/// How many bytes may be written and not synced.
const MOST: u64 = 4 * STEP;

/// What was synced of a file that is being written. To be used on a thread of the runtime that may
/// block.
#[derive(Debug, Default)]
pub struct RollingSync {
    /// Bytes that were written since the last sync began.
    written: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl RollingSync {
    /// Counts what was just written, and says whether it is time for a sync.
    pub fn wrote(&mut self, bytes: usize) -> bool {
        self.written += bytes as u64;
        let is_free = || self.under_way.as_ref().is_none_or(JoinHandle::is_finished);
        self.written >= MOST || (self.written >= STEP && is_free())
    }

    /// Has `sync` called on another thread, once the last one has ended. The error is that of the
    /// last one: the file is lost, since no later sync would tell.
    pub fn start(
        &mut self,
        sync: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.end()?;
        self.under_way = Some(Handle::current().spawn_blocking(sync));
        self.written = 0;
        Ok(())
    }

    /// Waits for the sync that is under way. What was written since it began is not synced.
    pub fn end(&mut self) -> io::Result<()> {
        let Some(under_way) = self.under_way.take() else {
            return Ok(());
        };
        Handle::current()
            .block_on(under_way)
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::task::spawn_blocking;

    #[tokio::test]
    async fn much_is_synced_in_steps_and_little_not_at_all() {
        let syncs = Arc::new(AtomicU64::new(0));
        let counted = syncs.clone();
        let write = move || {
            let (mut behind, mut unsynced, mut most) = (RollingSync::default(), 0, 0);
            for _ in 0..1000 {
                unsynced += STEP / 10;
                most = most.max(unsynced);
                if behind.wrote(usize::try_from(STEP / 10).unwrap()) {
                    let syncs = counted.clone();
                    let sync = move || {
                        syncs.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    behind.start(sync).unwrap();
                    unsynced = 0;
                }
            }
            behind.end().unwrap();
            (most, behind.wrote(1000) && unsynced < STEP)
        };
        let (most, is_due) = spawn_blocking(write).await.unwrap();
        assert!(most <= MOST + STEP && !is_due, "{most}");
        let syncs = syncs.load(Ordering::Relaxed);
        assert!((100 * STEP / MOST - 1..=100).contains(&syncs), "{syncs}");
    }

    #[tokio::test]
    async fn a_sync_that_failed_is_told_later_but_surely() {
        let fail = || Err(io::Error::other("the disk is gone"));
        let at_the_end = spawn_blocking(move || {
            let mut behind = RollingSync::default();
            behind.start(fail)?;
            behind.end()
        });
        assert_eq!(
            at_the_end.await.unwrap().unwrap_err().to_string(),
            "the disk is gone"
        );
        let on_the_way = spawn_blocking(move || {
            let mut behind = RollingSync::default();
            behind.start(fail)?;
            behind.start(|| Ok(()))
        });
        assert_eq!(
            on_the_way.await.unwrap().unwrap_err().to_string(),
            "the disk is gone"
        );
    }
}
