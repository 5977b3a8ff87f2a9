//! How long a connection may keep its reader waiting.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ReadError;
use bilico_core::protocol::ProtocolError;
use bilico_core::protocol::limits::{IDLE_TIMEOUT, PROGRESS_BYTES, STALL_TIMEOUT};

/// How long a connection may keep its reader waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// In the middle of a frame or an object, for [`PROGRESS_BYTES`] more or the rest of it.
    pub stall: Duration,
    /// Between two frames or objects.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
        }
    }
}

/// Sleeps until then, or for ever.
pub async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// The time that a peer has left to make progress with the message it has begun. It begins anew
/// whenever [`PROGRESS_BYTES`] have come, so that a slow line is served and a trickle is not.
#[derive(Debug, Default)]
pub struct ProgressDeadline {
    /// Set at the first wait: what has been buffered already costs no look at the clock.
    ends: Option<Instant>,
    came: usize,
}

impl ProgressDeadline {
    /// Waits for `read` until the time is up.
    pub async fn bound<T>(
        &mut self,
        stall: Duration,
        read: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ReadError> {
        let ends = *self.ends.get_or_insert_with(|| Instant::now() + stall);
        timeout_at(ends, read)
            .await
            .map_err(|_| ReadError::Stalled(stall))?
            .map_err(ReadError::Io)
    }

    /// Gives the peer more time: for so long it was not read from.
    pub fn put_off(&mut self, by: Duration) {
        self.ends = self.ends.map(|ends| ends + by);
    }

    /// Counts `read` bytes. None at all mean the end of the connection, which is an error in the
    /// middle of a message of which `missing` bytes have not come.
    pub fn count(&mut self, read: usize, missing: u64) -> Result<(), ReadError> {
        if read == 0 {
            return Err(ProtocolError::Truncated { missing }.into());
        }
        self.came += read;
        if self.came >= PROGRESS_BYTES {
            *self = Self::default();
        }
        Ok(())
    }
}
