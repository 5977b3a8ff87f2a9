//! What a server tells operators of itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::job::Place;
use super::overload::Overload;
use crate::protocol::status::Memory;

/// What a server tells operators of itself. Cheap to clone.
#[derive(Clone)]
pub struct ServerGauge {
    place: Arc<Place>,
    pub(super) overload: Arc<Overload>,
    /// Connections that are open.
    pub(super) connections: Arc<AtomicUsize>,
    began: Instant,
}

impl ServerGauge {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self {
            place,
            overload: Arc::default(),
            connections: Arc::default(),
            began: Instant::now(),
        }
    }

    /// Files stored since the start, and bytes of content of those.
    pub fn stored(&self) -> (u64, u64) {
        let (files, bytes) = &self.place.stored;
        (files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// The overload byte.
    pub fn is_overloaded(&self) -> bool {
        self.overload.is_set()
    }

    /// The process's memory and its limit, once they were measured.
    pub fn memory(&self) -> Option<Memory> {
        self.overload.memory()
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Why it should get no files now, if that is so.
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
