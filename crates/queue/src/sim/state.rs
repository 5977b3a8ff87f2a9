//! The state of a simulated disk, and what operations do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::content::{Edit, Node};
use super::fault::{Fault, Trouble, no_space, refuse};
use super::names::{Change, Mark, Names, Naming, PendingChange, SyncUnit, apply_namings};
use super::rng::index;

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Never shrinks, so that a handle's number stays good when its file is removed.
    pub(super) nodes: Vec<Node>,
    pub(super) names: Names,
    pub(super) synced_names: Names,
    /// Oldest first.
    pub(super) pending: Vec<PendingChange>,
    pub(super) log: Vec<String>,
    pub(super) faults: BTreeMap<usize, Fault>,
    /// The second half of a [`Fault::ShortThenEnospc`].
    pub(super) next_write_is_full: bool,
    pub(super) crash_at: Option<usize>,
    pub(super) crashed: bool,
    pub(super) capacity: Option<u64>,
    pub(super) moved_at: Option<usize>,
    /// How many removed files were closed.
    pub(super) closed: usize,
}

impl State {
    pub(super) fn node(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn edit(&mut self, node: usize, edit: Edit) {
        edit.apply(&mut self.nodes[node].live);
        self.pending.push(PendingChange {
            mark: Mark::Dirty,
            change: Change::Content { node, edit },
        });
    }

    pub(super) fn name(&mut self, namings: Vec<Naming>) {
        apply_namings(&namings, &mut self.names);
        self.pending.push(PendingChange {
            mark: Mark::Dirty,
            change: Change::Names(namings),
        });
    }

    pub(super) fn sync(&mut self, unit: SyncUnit, trouble: Option<Trouble>) -> io::Result<()> {
        match trouble {
            Some(Trouble::Crash) => Ok(()),
            Some(Trouble::Fault(fault)) if fault != Fault::Short => {
                for pending in self
                    .pending
                    .iter_mut()
                    .filter(|pending| pending.change.is_of(unit))
                {
                    if pending.mark == Mark::Dirty {
                        pending.mark = Mark::InDoubt;
                    }
                }
                fault.outcome()
            }
            _ => {
                self.settle(unit);
                Ok(())
            }
        }
    }

    /// Makes durable what is dirty, and forgets it unless it comes after something in doubt.
    pub(super) fn settle(&mut self, unit: SyncUnit) {
        if unit == SyncUnit::Directory {
            self.take_back_doubts();
        }
        let mut in_doubt = false;
        for mut pending in std::mem::take(&mut self.pending) {
            if pending.change.is_of(unit) {
                if pending.mark == Mark::InDoubt {
                    in_doubt = true;
                } else {
                    pending.mark = Mark::Durable;
                }
                if !in_doubt {
                    self.apply_synced(&pending.change);
                    continue;
                }
            }
            self.pending.push(pending);
        }
    }

    pub(super) fn apply_synced(&mut self, change: &Change) {
        match change {
            Change::Content { node, edit } => edit.apply(&mut self.nodes[*node].synced),
            Change::Names(namings) => apply_namings(namings, &mut self.synced_names),
        }
    }

    /// A name that is written again takes along what was in doubt about it: it is one record on the
    /// disk.
    pub(super) fn take_back_doubts(&mut self) {
        let mut written = BTreeSet::new();
        for pending in self.pending.iter_mut().rev() {
            if let Change::Names(namings) = &pending.change {
                let again = namings.iter().any(|naming| written.contains(&naming.name));
                if pending.mark == Mark::InDoubt && again {
                    pending.mark = Mark::Dirty;
                }
                if pending.mark != Mark::InDoubt {
                    written.extend(namings.iter().map(|naming| naming.name.clone()));
                }
            }
        }
    }

    pub(super) fn write(
        &mut self,
        node: usize,
        bytes: &[u8],
        offset: u64,
        trouble: Option<Trouble>,
    ) -> io::Result<usize> {
        let half = bytes.len() / 2;
        let mut len = bytes.len();
        match trouble {
            _ if std::mem::take(&mut self.next_write_is_full) => return Err(no_space()),
            Some(Trouble::Fault(Fault::Short)) if half > 0 => len = half,
            Some(Trouble::Fault(Fault::ShortThenEnospc)) if half > 0 => {
                len = half;
                self.next_write_is_full = true;
            }
            trouble => refuse(trouble)?,
        }
        let room = (self.nodes[node].live.len() as u64)
            .saturating_add(self.available())
            .saturating_sub(offset);
        len = len.min(usize::try_from(room).unwrap_or(usize::MAX));
        if len > 0 {
            self.edit(
                node,
                Edit::Write {
                    at: index(offset),
                    bytes: bytes[..len].into(),
                },
            );
        } else if !bytes.is_empty() {
            return Err(no_space());
        }
        Ok(len)
    }

    pub(super) fn set_len(&mut self, node: usize, len: u64) -> io::Result<()> {
        let now = self.nodes[node].live.len() as u64;
        if len.saturating_sub(now) > self.available() {
            return Err(no_space());
        }
        self.edit(node, Edit::SetLen(index(len)));
        Ok(())
    }

    pub(super) fn available(&self) -> u64 {
        let used: usize = self
            .names
            .values()
            .map(|node| self.nodes[*node].live.len())
            .sum();
        self.capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64))
    }
}
