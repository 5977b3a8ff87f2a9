//! The work on a stored file: counting the letters A and a.
//!
//! It stands for whatever a file server does with its files. With a delay per letter, the content
//! stays in memory for as long as the counting is made to take, which shows and tests overload. The
//! memory for it is bounded.

use crate::numbers::millis;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Content in memory is counted in units of this many bytes.
const UNIT: u64 = 1024;

/// Does the work, and keeps the content that it works on.
#[derive(Debug, Clone)]
pub struct Work {
    delay: Duration,
    room: Arc<Semaphore>,
    /// The room in all, in units.
    all: usize,
    /// The store's thread starts the work, and it is outside of the runtime.
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The right to keep a file's content in memory for the work.
#[derive(Debug)]
pub struct Hold(Option<OwnedSemaphorePermit>);

impl Hold {
    /// For a file whose content is not kept.
    pub fn none() -> Self {
        Self(None)
    }
}

impl Work {
    /// Work that takes `delay` per letter and keeps at most `limit` bytes of content. Unfinished
    /// work ends with `stop`. Must be called in the runtime that does the work.
    pub fn new(delay: Duration, limit: u64, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let room = usize::try_from(limit / UNIT)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            delay,
            room: Arc::new(Semaphore::new(room)),
            all: room,
            runtime: Handle::current(),
            tasks,
            stop,
        }
    }

    /// Whether content is kept in memory while it is worked on.
    pub fn holds(&self) -> bool {
        !self.delay.is_zero()
    }

    /// The part of the memory for the work that is taken, 0 to 1; `None` if no content is kept.
    pub fn part_used(&self) -> Option<f32> {
        if !self.holds() || self.all == 0 {
            return None;
        }
        let taken = self.all.saturating_sub(self.room.available_permits());
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a part of 1"
        )]
        Some((taken as f64 / self.all as f64) as f32)
    }

    /// The content, shared, if it has to be kept; empty otherwise.
    pub fn copy_of(&self, content: &Bytes) -> Bytes {
        if self.holds() {
            content.clone()
        } else {
            Bytes::new()
        }
    }

    /// The right to keep `size` bytes; `None` when the limit is reached.
    pub fn hold(&self, size: u64) -> Option<Hold> {
        if !self.holds() {
            return Some(Hold(None));
        }
        let units = u32::try_from(size.div_ceil(UNIT)).ok()?;
        self.room
            .clone()
            .try_acquire_many_owned(units)
            .ok()
            .map(|permit| Hold(Some(permit)))
    }

    /// Works on a stored file in which `letters` were counted, and keeps its content until that is
    /// done.
    pub fn start(&self, number: u64, letters: u64, content: Bytes, hold: Hold) {
        let Hold(Some(room)) = hold else { return };
        let takes = self
            .delay
            .saturating_mul(u32::try_from(letters).unwrap_or(u32::MAX));
        let work = async move {
            tokio::time::sleep(takes).await;
            tracing::info!(number, letters, after_ms = millis(takes), "work done");
            drop((content, room));
        };
        self.tasks.spawn_on(
            self.stop.clone().run_until_cancelled_owned(work),
            &self.runtime,
        );
    }
}

/// The number of letters A and a in `text`.
pub fn count_letters(text: &[u8]) -> u64 {
    (bytecount::count(text, b'a') + bytecount::count(text, b'A')) as u64
}

#[cfg(test)]
mod tests;
