//! What others do to the disk behind the back of the process. These are not operations.

use std::sync::Arc;

use super::content::{Edit, Node};
use super::disk::SimDisk;
use super::names::{Change, Mark, Naming, PendingChange, SyncUnit};

impl SimDisk {
    /// Someone moves the directory right before operation `index`. Who has it open goes on in it.
    pub fn move_at(&self, index: usize) {
        self.lock().moved_at = Some(index);
    }

    /// Whether the directory is where it was.
    pub fn is_here(&self) -> bool {
        let state = self.lock();
        state.moved_at.is_none_or(|at| state.log.len() < at)
    }

    /// Someone removes a file, durably. Not an operation.
    pub fn take_away(&self, name: &str) {
        let mut state = self.lock();
        let node = state.node(name).expect("no such file");
        state.name(vec![Naming {
            name: name.to_owned(),
            before: Some(node),
            after: None,
        }]);
        state.settle(SyncUnit::Directory);
    }

    /// Flips a bit of a file, synced or not, as if the medium had decayed.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        let mut state = self.lock();
        let node = state.node(name).expect("no such file");
        let edit = Edit::Flip(bit);
        edit.apply(&mut state.nodes[node].live);
        let change = Change::Content { node, edit };
        if state
            .pending
            .iter()
            .any(|pending| pending.change.is_of(SyncUnit::File(node)))
        {
            state.pending.push(PendingChange {
                mark: Mark::Durable,
                change,
            });
        } else {
            state.apply_synced(&change);
        }
    }

    /// Makes or replaces a file, its bytes synced and the directory, too. Not an operation.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let node = state.nodes.len();
        state
            .nodes
            .push(Node::synced(name.into(), Arc::new(bytes.to_vec())));
        let before = state.names.get(name).copied();
        state.name(vec![Naming {
            name: name.to_owned(),
            before,
            after: Some(node),
        }]);
        state.settle(SyncUnit::Directory);
    }

    /// What a reader sees in a file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        let node = state.node(name).expect("no such file");
        state.nodes[node].live.to_vec()
    }
}
