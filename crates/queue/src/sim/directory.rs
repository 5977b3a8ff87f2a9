//! The names on the simulated disk.

use std::io;
use std::sync::Arc;

use crate::disk::{DirEntry, Disk, DiskFile, FileId, Space};

use super::content::Node;
use super::disk::SimDisk;
use super::fault::refuse;
use super::file::{SimFile, file_id};
use super::names::{Naming, SyncUnit};

impl SimDisk {
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

    fn close(&self, _removed: Arc<dyn DiskFile>) {
        self.lock().closed += 1;
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
