//! What a server tells of its host and of itself: measured once a second, told to whoever connects.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::count::held;
use super::overload::Overload;
use super::place::Place;
use super::work::Work;
use crate::fleet_core::Facts;
use crate::host::Host;
use crate::protocol::facts::fit;
use crate::protocol::status::Memory;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The latest facts.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Option<Arc<Facts>>>);

impl Figures {
    /// The latest facts, as they fit into a greeting; `None` until they were measured.
    pub(super) fn latest(&self) -> Option<Arc<Facts>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, facts: Facts) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Arc::new(facts));
    }
}

/// What the server itself is asked for each sample.
pub(super) struct Own {
    pub(super) place: Arc<Place>,
    pub(super) overload: Arc<Overload>,
    pub(super) work: Work,
}

/// Takes samples for ever.
pub(super) async fn watch(figures: Arc<Figures>, dir: &Path, own: Own) {
    let mut host = match Host::new(dir) {
        Ok(host) => host,
        Err(error) => {
            tracing::error!(error = %error, "cannot measure on this system: no figures are told");
            return;
        }
    };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        figures.set(fit(&own.with(host.sample())));
    }
}

impl Own {
    /// The host's facts and the server's.
    fn with(&self, host: Facts) -> Facts {
        let memory = self.overload.memory();
        let held = held(&self.place, Instant::now());
        Facts {
            load: load(
                host.cpu,
                memory,
                self.work.part_used(),
                self.overload.is_set(),
            ),
            held_files: held.map(|held| held.0),
            held_bytes: held.map(|held| held.1),
            process_memory: memory.map_or(host.process_memory, |memory| Some(memory.used)),
            process_limit: memory.map(|memory| memory.limit),
            ..host
        }
    }
}

/// What the server wants to be scaled by: the scarcest of processor, its own memory and the memory of
/// the work. `None` until anything was measured.
fn load(
    cpu: Option<f32>,
    memory: Option<Memory>,
    work: Option<f32>,
    is_overloaded: bool,
) -> Option<f32> {
    if is_overloaded {
        return Some(1.0);
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a part of 1"
    )]
    let memory = memory.map(|Memory { used, limit }| (used as f64 / limit as f64) as f32);
    let parts = [cpu, memory, work].into_iter().flatten();
    parts
        .filter(|part| part.is_finite())
        .map(|part| part.clamp(0.0, 1.0))
        .reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_is_the_load() {
        let memory = |used, limit| Some(Memory { used, limit });
        for (cpu, memory, work, is_overloaded, expected) in [
            (None, None, None, false, None),
            (Some(0.25), None, None, false, Some(0.25)),
            (Some(0.25), memory(50, 100), Some(0.125), false, Some(0.5)),
            (Some(0.25), memory(10, 100), Some(0.75), false, Some(0.75)),
            (Some(0.25), memory(200, 100), None, false, Some(1.0)),
            (Some(0.25), memory(0, 0), None, false, Some(0.25)),
            (None, None, None, true, Some(1.0)),
        ] {
            assert_eq!(load(cpu, memory, work, is_overloaded), expected);
        }
    }
}
