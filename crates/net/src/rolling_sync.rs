//! Syncs a large file while it is still being written: the disk works meanwhile, and the sync of a
//! small file never has to wait for all of a large one.

use std::io;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The number of unsynced bytes from which on a sync is worth its cost.
const STEP: u64 = 16 * 1024 * 1024;

/// The most bytes that may be written and not synced.
const MOST: u64 = 4 * STEP;

/// The syncs of one file that is being written. Use it on a thread of the runtime that may block.
#[derive(Debug, Default)]
pub struct RollingSync {
    /// Bytes that were written since the latest sync began.
    written: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl RollingSync {
    /// Counts bytes that were just written, and returns whether it is time for a sync.
    pub fn wrote(&mut self, bytes: usize) -> bool {
        self.written += bytes as u64;
        let is_free = || self.under_way.as_ref().is_none_or(JoinHandle::is_finished);
        self.written >= MOST || (self.written >= STEP && is_free())
    }

    /// Calls `sync` on another thread, once the sync before it has ended. Returns the error of that
    /// earlier sync: the file is lost then, because no later sync would report it.
    pub fn start(
        &mut self,
        sync: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.end()?;
        self.under_way = Some(Handle::current().spawn_blocking(sync));
        self.written = 0;
        Ok(())
    }

    /// Waits for the sync that is under way. Bytes that were written since it began are not synced.
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
mod tests;
