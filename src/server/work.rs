//! The work on a stored file: it counts the letters A and a.
//!
//! It stands for whatever a file server does with what it keeps. With a delay per letter, the
//! content stays in memory for as long as the counting is made to take, which is how overload is
//! shown and tested. What may be held is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// StoredFile content is counted in units of this many bytes.
const UNIT: u64 = 1024;

/// Does the work, and holds what it works on.
#[derive(Debug, Clone)]
pub struct Work {
    delay: Duration,
    room: Arc<Semaphore>,
    /// Files are handed over by the store's thread, which is none of the runtime's.
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Room for content that is to be held.
#[derive(Debug)]
pub struct Hold(Option<OwnedSemaphorePermit>);

impl Hold {
    /// Holds nothing: the content is not kept for the work.
    pub fn none() -> Self {
        Self(None)
    }
}

impl Work {
    /// Work that takes `delay` per letter and holds at most `limit` bytes; unfinished work ends
    /// with `stop`. Called in the runtime that is to do it.
    pub fn new(delay: Duration, limit: u64, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let room = usize::try_from(limit / UNIT)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            delay,
            room: Arc::new(Semaphore::new(room)),
            runtime: Handle::current(),
            tasks,
            stop,
        }
    }

    /// Whether content is held while it is worked on.
    pub fn holds(&self) -> bool {
        !self.delay.is_zero()
    }

    /// The content, shared, if it is to be held.
    pub fn copy_of(&self, content: &Bytes) -> Bytes {
        if self.holds() {
            content.clone()
        } else {
            Bytes::new()
        }
    }

    /// Room to hold `size` bytes; `None` when as much as may be is held.
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

    /// Goes on with a stored file in which `letters` were counted, holding its content for as long
    /// as that takes.
    pub fn start(&self, number: u64, letters: u64, content: Bytes, hold: Hold) {
        let Hold(Some(room)) = hold else { return };
        let takes = self
            .delay
            .saturating_mul(u32::try_from(letters).unwrap_or(u32::MAX));
        let work = async move {
            tokio::time::sleep(takes).await;
            tracing::info!(
                number,
                letters_a = letters,
                after_ms = takes.as_secs_f64() * 1e3,
                "work done"
            );
            drop((content, room));
        };
        self.tasks.spawn_on(
            self.stop.clone().run_until_cancelled_owned(work),
            &self.runtime,
        );
    }
}

/// How many letters A and a there are in `text`.
pub fn count_letters(text: &[u8]) -> u64 {
    (bytecount::count(text, b'a') + bytecount::count(text, b'A')) as u64
}

#[cfg(test)]
mod tests;
