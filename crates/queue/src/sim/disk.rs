//! A disk in memory.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{DirEntry, Disk, DiskFile, FileId, Space};

use super::content::Node;
use super::fault::{Fault, Trouble, crashed, refuse};
use super::file::{SimFile, file_id};
use super::names::{Naming, SyncUnit};
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

    pub(super) fn handle(&self, node: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            node,
        })
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let state = self.alive()?;
        let entry = |(name, node): (&String, &usize)| DirEntry {
            name: name.clone(),
            len: state.nodes[*node].live.len() as u64,
            is_file: true,
        };
        Ok(state.names.iter().map(entry).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.operate(format_args!("create {name}"), |state, trouble| {
            refuse(trouble)?;
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let node = state.nodes.len();
            state.nodes.push(Node::synced(name.into(), Arc::default()));
            state.name(vec![Naming {
                name: name.to_owned(),
                before: None,
                after: Some(node),
            }]);
            Ok(node)
        })?;
        Ok(self.handle(node))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.alive()?;
        let node = state.node(name)?;
        // The crash that it was found after can have undone a renaming.
        state.nodes[node].name = name.into();
        Ok(self.handle(node))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(format_args!("rename {from} {to}"), |state, trouble| {
            refuse(trouble)?;
            let node = state.node(from)?;
            if from != to {
                let before = state.names.get(to).copied();
                let old = Naming {
                    name: from.to_owned(),
                    before: Some(node),
                    after: None,
                };
                let new = Naming {
                    name: to.to_owned(),
                    before,
                    after: Some(node),
                };
                state.name(vec![old, new]);
                state.nodes[node].name = to.into();
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(format_args!("remove {name}"), |state, trouble| {
            refuse(trouble)?;
            let node = state.node(name)?;
            state.name(vec![Naming {
                name: name.to_owned(),
                before: Some(node),
                after: None,
            }]);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.operate(format_args!("sync directory"), |state, trouble| {
            state.sync(SyncUnit::Directory, trouble)
        })
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.alive()?;
        Ok(Space {
            total: state.capacity.unwrap_or(u64::MAX),
            available: state.available(),
        })
    }

    fn is_in_place(&self) -> io::Result<bool> {
        drop(self.alive()?);
        Ok(self.is_here())
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        let found = self.alive()?.names.get(name).copied().map(file_id);
        Ok(found.filter(|_| self.is_here()))
    }
}
