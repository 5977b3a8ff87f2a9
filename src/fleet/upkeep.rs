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

/// The file of the members, as far as this run has to do with it.
#[derive(Default)]
struct File {
    /// When it was last written, or that was tried.
    written: Option<Duration>,
    /// It was written.
    exists: bool,
    /// Why it cannot be.
    failed: Option<String>,
}

impl File {
    fn write_anyway(&self) -> Option<Duration> {
        let written = self.written.filter(|_| self.exists)?;
        Some(written + WRITE_ANYWAY)
    }
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
        let mut file = File::default();
        loop {
            let now = self.now();
            let write_from = file.written.map_or(now, |written| written + WRITE);
            let (plan, is_kept) = self.change(|state, now| {
                state.registry.tick(now);
                let mut plan = Plan {
                    wakes: now + LONGEST,
                    look_from: now + LOOK,
                    write_from,
                };
                let anyway = file.write_anyway();
                let due = plan.due(&state.registry, now);
                plan.wakes = due
                    .into_iter()
                    .chain(anyway)
                    .fold(plan.wakes, Duration::min);
                state.plan = Some(plan);
                (plan, state.registry.is_kept())
            });
            let is_due = !is_kept && now >= write_from;
            if is_due || file.write_anyway().is_some_and(|anyway| now >= anyway) {
                self.state().plan = None;
                self.write(&mut file).await;
                file.written = Some(self.now());
                continue;
            }
            let most = plan.wakes.saturating_sub(now);
            // Whether it was woken or slept on: it looks.
            let _ = timeout(most, self.inner().upkeep.notified()).await;
        }
    }

    async fn write(&self, file: &mut File) {
        let (members, version) = {
            let state = self.state();
            (state.registry.keep(self.now()), state.registry.version())
        };
        // Nobody who has no fleet gets a file of it.
        if !members.is_empty() || file.exists {
            let fleet = self.clone();
            let writing = tokio::task::spawn_blocking(move || {
                let keeper = fleet.inner().keeper.as_ref();
                keeper.map_or(Ok(()), |keeper| keeper.write(members))
            });
            let result = writing
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error)));
            if let Err(error) = result {
                let error = error.to_string();
                if file.failed.as_ref() != Some(&error) {
                    tracing::error!(
                        %error,
                        "the members of the fleet cannot be kept for the next start: servers that \
                         register now get no files until they can"
                    );
                }
                file.failed = Some(error);
                return;
            }
            if file.failed.take().is_some() {
                tracing::info!("the members of the fleet are kept again");
            }
            file.exists = true;
        }
        self.change(|state, _| state.registry.kept(version));
    }
}
