//! Figures about a server, for operators.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::figures::Figures;
use super::overload::Overload;
use super::place::Place;
use crate::fleet_core::Facts;
use crate::protocol::status::Memory;

/// Figures about a server, for operators. Cheap to clone.
#[derive(Clone)]
pub struct ServerGauge {
    place: Arc<Place>,
    pub(super) overload: Arc<Overload>,
    /// The number of open connections.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) figures: Arc<Figures>,
    began: Instant,
}

impl ServerGauge {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            overload: Arc::default(),
            connections: Arc::default(),
            figures: Arc::default(),
            began: Instant::now(),
        }
    }

    /// The number of files that were stored since the start, and their bytes of content.
    pub fn stored(&self) -> (u64, u64) {
        let files = self.place.stored_files.load(Ordering::Relaxed);
        let bytes = self.place.stored_bytes.load(Ordering::Relaxed);
        (files, bytes)
    }

    /// Whether the server is overloaded, as its overload byte says.
    pub fn is_overloaded(&self) -> bool {
        self.overload.is_set()
    }

    /// The process's memory and its limit; `None` until they were measured.
    pub fn memory(&self) -> Option<Memory> {
        self.overload.memory()
    }

    /// The latest figures of the host and of the server itself; `None` until they were measured.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.figures.latest()
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How long the server has run.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Why the server should get no files now; `None` if it can take some.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.place.identity().is_none() {
            return Some("the directory cannot be used");
        }
        self.is_overloaded().then_some("overloaded")
    }
}

impl fmt::Debug for ServerGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerGauge")
            .field("stored", &self.stored())
            .finish_non_exhaustive()
    }
}
