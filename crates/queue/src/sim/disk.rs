//! A disk in memory.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::fault::{Fault, Trouble, crashed};
use super::state::State;

/// A disk in memory that can fail and crash. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// An independent copy of the disk, with its faults and its log.
    #[must_use]
    pub fn clone_deep(&self) -> Self {
        Self::of(self.lock().clone())
    }

    /// How many operations have changed something or failed to.
    pub fn operations(&self) -> usize {
        self.lock().log.len()
    }

    /// How many files were given back to be closed, because they were removed.
    pub fn closed(&self) -> usize {
        self.lock().closed
    }

    /// The operations and their results, to be shown when a test fails.
    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// Makes operation `index` fail.
    pub fn fail_at(&self, index: usize, fault: Fault) {
        self.lock().faults.insert(index, fault);
    }

    /// Makes the process die in operation `index`: that and everything after it fails, reads, too.
    pub fn crash_at(&self, index: usize) {
        self.lock().crash_at = Some(index);
    }

    /// Whether the operation was reached at which the process dies.
    pub fn is_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Limits the sum of the files' lengths; files that are there are not cut. `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A test thread that panicked leaves nothing half done in here.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The state for a look, which is not counted as an operation; a dead process cannot look.
    pub(super) fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.crashed {
            Err(crashed())
        } else {
            Ok(state)
        }
    }

    /// Counts and logs an operation, and tells it what goes wrong.
    pub(super) fn operate<T>(
        &self,
        what: fmt::Arguments<'_>,
        operation: impl FnOnce(&mut State, Option<Trouble>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.alive()?;
        let index = state.log.len();
        let crash = state.crash_at.is_some_and(|at| at <= index);
        let fault = state.faults.remove(&index).map(Trouble::Fault);
        let mut result = operation(&mut state, if crash { Some(Trouble::Crash) } else { fault });
        if crash {
            state.crashed = true;
            result = Err(crashed());
        }
        let line = match (&result, fault) {
            (Err(error), _) => format!("{index} {what}: {error}"),
            (Ok(_), Some(fault)) => format!("{index} {what}: {fault:?}"),
            (Ok(_), None) => format!("{index} {what}"),
        };
        state.log.push(line);
        result
    }
}
