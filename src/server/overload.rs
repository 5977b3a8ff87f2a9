//! The overload monitor: compares the process's resident memory with a limit.
//!
//! It does not watch virtual memory: thread stacks and arenas make that grow and never shrink, and
//! a server would be overloaded for ever. [`Gauge`] decides; [`watch`] takes the samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::host::Resident;
use crate::protocol::status::Memory;
use crate::units::{ByteSize, Margin};

/// The time between two samples.
const INTERVAL: Duration = Duration::from_millis(250);

/// Whether memory is over its limit, with hysteresis: overloaded above start + margin, and no
/// longer overloaded at or below start + 80 % of the margin.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    start: u64,
    margin: u64,
    overloaded: bool,
}

impl Gauge {
    /// A gauge for a process that takes `start` bytes when it has nothing to do. Both are in bytes.
    pub fn new(start: u64, margin: u64) -> Self {
        Self {
            start,
            margin,
            overloaded: false,
        }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.start.saturating_add(self.margin)
    }

    /// The memory in bytes at which an overloaded server is no longer overloaded.
    pub fn clear(&self) -> u64 {
        self.start.saturating_add(self.margin / 5 * 4)
    }

    /// Takes a sample in bytes; returns the new state if it has changed.
    pub fn sample(&mut self, resident: u64) -> Option<bool> {
        let now = if self.overloaded {
            resident > self.clear()
        } else {
            resident > self.limit()
        };
        let changed = now != self.overloaded;
        self.overloaded = now;
        changed.then_some(now)
    }
}

/// The latest result of the overload monitor, for all connections.
#[derive(Debug, Default)]
pub struct Overload {
    overloaded: AtomicBool,
    used: AtomicU64,
    /// In bytes; 0 until memory was measured first.
    limit: AtomicU64,
}

impl Overload {
    /// Whether the server is overloaded.
    pub fn is_set(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// The process's memory at the latest sample, and its limit; `None` before the first sample.
    pub fn memory(&self) -> Option<Memory> {
        let used = self.used.load(Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        (limit > 0).then_some(Memory { used, limit })
    }

    /// The overload byte of the first system's protocol: 1 if overloaded.
    pub fn byte(&self) -> u8 {
        u8::from(self.is_set())
    }
}

/// Samples the process's memory for ever.
pub async fn watch(overload: Arc<Overload>, margin: Margin) {
    let Ok(mut resident) = Resident::new() else {
        tracing::error!("cannot watch memory on this system: the overload byte stays 0");
        return;
    };
    let margin = margin.bytes(resident.of_machine());
    let start = resident.measure();
    let mut gauge = Gauge::new(start, margin);
    tracing::info!(start = %ByteSize(start), margin = %ByteSize(margin), "watching memory");
    overload.used.store(start, Ordering::Relaxed);
    overload.limit.store(gauge.limit(), Ordering::Relaxed);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut used = resident.measure();
        if used > gauge.clear() && trim() {
            used = resident.measure();
        }
        overload.used.store(used, Ordering::Relaxed);
        if let Some(now) = gauge.sample(used) {
            overload.overloaded.store(now, Ordering::Relaxed);
            let (memory, limit) = (ByteSize(used), ByteSize(gauge.limit()));
            if now {
                tracing::warn!(%memory, %limit, "overloaded");
            } else {
                tracing::info!(%memory, %limit, "no longer overloaded");
            }
        }
    }
}

/// Returns freed memory to the system, so that only memory in use is measured: an allocator that
/// keeps freed pages would make an idle server look overloaded for ever. Returns whether that freed
/// any.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe wrapper of this function exists")]
fn trim() -> bool {
    // SAFETY: it has no preconditions, and takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators need no call: musl's returns freed pages by itself.
#[cfg(not(target_env = "gnu"))]
fn trim() -> bool {
    false
}

#[cfg(test)]
mod tests;
