//! The history of the fleet: the clock and the lock around [`History`], and its files.
//!
//! Without a directory there is no thread and no file. With one, a thread of its own reads what an
//! earlier balancer wrote, then writes each minute that has ended; whoever tells something never
//! waits for a disk. A disk that fails costs history, nothing else.

mod disk;
mod line;
mod note;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fleet_core::{Columns, Facts, Figure, GivenUp, History, Identity, Known, Summary};
use crate::units::ByteSize;
use disk::{Disk, Source, Taken};
use note::{Change, Note};

/// What history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryConfig {
    /// The most memory for all members together.
    pub memory: ByteSize,
    /// The directory of its files, if there is one.
    pub dir: Option<PathBuf>,
}

impl Default for HistoryConfig {
    /// 64 MiB in memory, nothing on disk.
    fn default() -> Self {
        Self {
            memory: ByteSize(64 << 20),
            dir: None,
        }
    }
}

/// How often it is told that the memory is used up.
const TELL_AGAIN: Duration = Duration::from_hours(1);

/// Changes of identities that wait for the disk. More are not written.
const MAX_NOTES: usize = 10_000;

/// The history of a fleet.
pub(super) struct Histories {
    shared: Arc<Shared>,
    disk: Option<Disk>,
}

/// What the thread of the disk shares.
struct Shared {
    state: Mutex<State>,
    limit: ByteSize,
    has_disk: bool,
}

struct State {
    history: History,
    notes: Vec<Note>,
    /// When it was last told that rings were given up, and how many.
    told: Option<(Instant, GivenUp)>,
    look_at: Instant,
}

impl Default for Histories {
    fn default() -> Self {
        Self::new(&HistoryConfig::default())
    }
}

impl Histories {
    /// Begins to keep history, and to read and write its files.
    pub(super) fn new(config: &HistoryConfig) -> Self {
        let shared = Arc::new(Shared::new(config.memory, config.dir.is_some()));
        let disk = config.dir.clone();
        let disk = disk.map(|dir| Disk::start(dir, bytes(config.memory), shared.clone()));
        Self { shared, disk }
    }

    /// Takes what a member tells.
    pub(super) fn told(&self, who: &Identity, every: Duration, facts: &Facts) {
        let mut state = self.shared.state();
        let now = now();
        state.history.told(who, every, facts, now);
        state.say_what_is_given_up(self.shared.limit);
    }

    /// A member is known by another identity from now on.
    pub(super) fn renamed(&self, old: &Identity, new: &Identity) {
        let mut state = self.shared.state();
        state.history.rename(old, new);
        let change = Change::Was(old.clone());
        self.shared.note(&mut state, new, change);
    }

    /// A member is forgotten.
    pub(super) fn forgotten(&self, member: &Identity) {
        let mut state = self.shared.state();
        state.history.forget(member);
        self.shared.note(&mut state, member, Change::Forgotten);
    }

    /// The figures of a member over the last stretch of time.
    pub(super) fn columns(
        &self,
        member: &Identity,
        figures: &[Figure],
        over: Duration,
        step: Option<Duration>,
    ) -> Option<Columns> {
        let mut state = self.shared.state();
        let history = &mut state.history;
        history.columns(member, figures, over, step, now())
    }

    /// What is known of a member over the last stretch of time.
    pub(super) fn averages(&self, member: &Identity, over: Duration) -> Option<Known> {
        let state = self.shared.state();
        state.history.averages(member, over, now())
    }

    /// Writes what waits, for at most a moment, and ends the thread.
    pub(super) fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }
}

impl Shared {
    fn new(limit: ByteSize, has_disk: bool) -> Self {
        Self {
            state: Mutex::new(State {
                history: History::new(bytes(limit), has_disk),
                notes: Vec::new(),
                told: None,
                look_at: Instant::now(),
            }),
            limit,
            has_disk,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, state: &mut State, member: &Identity, what: Change) {
        if self.has_disk && state.notes.len() < MAX_NOTES {
            state.notes.push(Note {
                time: now(),
                member: member.clone(),
                what,
            });
        }
    }
}

impl Source for Shared {
    fn take(&self, all: bool) -> Taken {
        let mut state = self.state();
        Taken {
            notes: std::mem::take(&mut state.notes),
            minutes: state.history.finished(now(), all),
            lost: state.history.take_lost(),
        }
    }

    fn absorb(&self, mut read: History) {
        let mut state = self.state();
        // What has changed during the read is in no file yet.
        for note in &state.notes {
            note.apply(&mut read);
        }
        state.history.absorb(read);
    }

    fn now(&self) -> u64 {
        now()
    }
}

impl State {
    fn say_what_is_given_up(&mut self, limit: ByteSize) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + Duration::from_secs(10);
        let given_up = self.history.given_up();
        let is_more = match &self.told {
            None => given_up != GivenUp::default(),
            Some((at, told)) => {
                given_up.long > told.long.saturating_mul(2) && now >= *at + TELL_AGAIN
            }
        };
        if is_more {
            self.told = Some((now, given_up));
            let GivenUp {
                long,
                middle,
                short,
            } = given_up;
            tracing::warn!(
                without_days = long,
                without_hours = middle,
                without_any = short,
                "the history of the fleet needs more than {limit}: the longest stretches of members at \
                 which nobody has looked for longest are not kept; --history-memory gives it more"
            );
        }
    }
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// Seconds since 1970. A clock that is set before that says 0.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The averages by the figure's name.
pub(super) fn by_name(known: Known) -> BTreeMap<String, Summary> {
    let figures = known.figures.into_iter();
    figures
        .map(|(figure, summary)| (figure.name().to_owned(), summary))
        .collect()
}
