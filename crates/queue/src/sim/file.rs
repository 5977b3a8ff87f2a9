//! An open file of the disk in memory.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, FileId};

use super::disk::SimDisk;
use super::fault::refuse;
use super::names::SyncUnit;
use super::rng::index;

/// The identity of the file with this number.
pub(super) fn file_id(node: usize) -> FileId {
    FileId {
        device: 0,
        inode: node as u64,
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) node: usize,
}

impl SimFile {
    fn name(&self) -> Arc<str> {
        Arc::clone(&self.disk.lock().nodes[self.node].name)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let name = self.name();
        self.disk.operate(
            format_args!("write {name} {offset}+{}", bytes.len()),
            |state, trouble| state.write(self.node, bytes, offset, trouble),
        )
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let rest = state.nodes[self.node]
            .live
            .get(index(offset)..)
            .unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let unit = SyncUnit::File(self.node);
        self.disk
            .operate(format_args!("sync {}", self.name()), |state, trouble| {
                state.sync(unit, trouble)
            })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.operate(
            format_args!("set length of {} to {len}", self.name()),
            |state, trouble| {
                refuse(trouble)?;
                state.set_len(self.node, len)
            },
        )
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.nodes[self.node].live.len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        drop(self.disk.alive()?);
        Ok(file_id(self.node))
    }
}
