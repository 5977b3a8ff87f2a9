//! What goes on in the fleet by itself: time passes, and members are kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::handle::{Fleet, Plan};
use super::history::HistoryConfig;
use super::keeper::{Keeper, Lost};
use crate::fleet_core::registry::RegistryConfig;
use crate::queue::disk::Disk;

/// The shortest time between two looks at what is due: with many members something always is.
const LOOK: Duration = Duration::from_millis(250);

/// The shortest time between two writings.
const WRITE: Duration = Duration::from_secs(1);

/// The members are written at least this often, so that silence is counted over restarts.
const WRITE_ANYWAY: Duration = Duration::from_hours(1);

/// The longest sleep, if nothing is due.
const LONGEST: Duration = Duration::from_hours(24);

/// The writings of the members, as far as this run has to do with them.
#[derive(Default)]
struct Writing {
    /// When they were last written, or that was tried.
    last: Option<Duration>,
    /// Why they cannot be.
    failed: Option<String>,
}

impl Fleet {
    /// The fleet of a balancer, with the members of earlier runs, which are kept beside the journal of
    /// this name. If they cannot be read, that is told, and the fleet is empty.
    pub fn open(
        disk: Arc<dyn Disk>,
        journal: String,
        config: RegistryConfig,
        history: &HistoryConfig,
    ) -> (Self, Option<Lost>) {
        let (keeper, registry, lost) = Keeper::open(disk, journal, config);
        (Self::with_registry(registry, Some(keeper), history), lost)
    }

    /// Lets time pass and keeps the members, for ever.
    pub async fn run(&self) {
        let mut writing = Writing::default();
        loop {
            let now = self.now();
            let write_from = writing.last.map_or(now, |last| last + WRITE);
            let anyway = self.write_anyway(&writing);
            let (plan, is_kept) = self.change(|state, now| {
                state.registry.tick(now);
                let mut plan = Plan {
                    wakes: now + LONGEST,
                    look_from: now + LOOK,
                    write_from,
                };
                let due = plan.due(&state.registry, now);
                plan.wakes = due
                    .into_iter()
                    .chain(anyway)
                    .fold(plan.wakes, Duration::min);
                state.plan = Some(plan);
                (plan, state.registry.is_kept())
            });
            let is_due = !is_kept && now >= write_from;
            if is_due || anyway.is_some_and(|anyway| now >= anyway) {
                self.state().plan = None;
                self.write_aside(&mut writing).await;
                writing.last = Some(self.now());
                continue;
            }
            let most = plan.wakes.saturating_sub(now);
            // Whether it was woken or slept on: it looks.
            let _ = timeout(most, self.inner().upkeep.notified()).await;
        }
    }

    /// When the members are written though none has changed.
    fn write_anyway(&self, writing: &Writing) -> Option<Duration> {
        let exists = self.inner().keeper.as_ref().is_some_and(Keeper::exists);
        let last = writing.last.unwrap_or_default();
        exists.then_some(last + WRITE_ANYWAY)
    }

    /// Writes the members beside the runtime.
    async fn write_aside(&self, writing: &mut Writing) {
        let fleet = self.clone();
        let written = tokio::task::spawn_blocking(move || fleet.write()).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let Err(error) = written else {
            if writing.failed.take().is_some() {
                tracing::info!("the members of the fleet are kept again");
            }
            return;
        };
        let error = error.to_string();
        if writing.failed.as_ref() != Some(&error) {
            tracing::error!(
                %error,
                "the members of the fleet cannot be kept for the next start: servers that register \
                 now get no files until they can"
            );
        }
        writing.failed = Some(error);
    }

    /// Writes the members. Blocks.
    pub(super) fn write(&self) -> std::io::Result<()> {
        let Some(keeper) = &self.inner().keeper else {
            return Ok(());
        };
        let version = keeper.write(|| {
            let state = self.state();
            (state.registry.keep(self.now()), state.registry.version())
        })?;
        self.change(|state, _| state.registry.kept(version));
        Ok(())
    }
}
