//! What a crash leaves behind, and which crashes are worth trying.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::content::{Edit, Node};
use super::disk::SimDisk;
use super::names::{Change, Mark, PendingChange, apply_namings};
use super::rng::Rng;
use super::shape::{Fate, Shape};
use super::state::State;

impl State {
    /// What the crash decides about, oldest first.
    fn unsynced(&self) -> impl Iterator<Item = &PendingChange> {
        self.pending
            .iter()
            .filter(|pending| pending.mark != Mark::Durable)
    }

    /// What is left after a power cut.
    fn image(&self, shape: Shape) -> Self {
        let mut rng = Rng::new(shape.seed());
        let mut unsynced = 0;
        let mut contents: Vec<_> = self
            .nodes
            .iter()
            .map(|node| Arc::clone(&node.synced))
            .collect();
        let mut names = self.synced_names.clone();
        for pending in &self.pending {
            let fate = if pending.mark == Mark::Durable {
                Fate::Kept
            } else {
                unsynced += 1;
                shape.fate(unsynced - 1, &mut rng)
            };
            match &pending.change {
                Change::Content { node, edit } => edit.apply_with(fate, &mut contents[*node]),
                Change::Names(namings) if matches!(fate, Fate::Kept | Fate::Length) => {
                    apply_namings(namings, &mut names);
                }
                Change::Names(_) => {}
            }
        }
        let nodes = self.nodes.iter().zip(contents);
        let nodes = nodes
            .map(|(node, content)| Node::synced(Arc::clone(&node.name), content))
            .collect();
        Self {
            nodes,
            synced_names: names.clone(),
            names,
            capacity: self.capacity,
            ..Self::default()
        }
    }

    /// What is left when only the process died.
    fn killed(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            names: self.names.clone(),
            synced_names: self.synced_names.clone(),
            pending: self.pending.clone(),
            capacity: self.capacity,
            ..Self::default()
        }
    }
}

impl SimDisk {
    /// How many operations a crash decides about.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced().count()
    }

    /// The disk as it may be found after a crash now, without faults and with an empty log. This
    /// one stays as it is.
    #[must_use]
    pub fn crash(&self, shape: Shape) -> Self {
        let state = self.lock();
        Self::of(if shape == Shape::All {
            state.killed()
        } else {
            state.image(shape)
        })
    }

    /// The shapes worth trying for a crash now: all that are few, and a sample of the others.
    pub fn shapes(&self, seed: u64) -> Vec<Shape> {
        let state = self.lock();
        let count = state.unsynced().count();
        if count == 0 {
            return vec![Shape::All];
        }
        let mut rng = Rng::new(seed);
        let mut shapes = vec![Shape::All, Shape::None, Shape::Lengths];
        shapes.extend(sample(1..count + 1, 24, &mut rng).map(Shape::Prefix));
        // Without the last one it is a prefix.
        shapes.extend(sample(0..count - 1, 24, &mut rng).map(Shape::Drop));
        shapes.extend(if count > 1 { 0..8 } else { 0..2 }.map(|_| Shape::Random(rng.next())));
        shapes.extend(last_write_shapes(&state, &mut rng));
        shapes
    }
}

/// All of `range` if it is not longer than `most`, otherwise the last ones and some of the others.
fn sample(range: Range<usize>, most: usize, rng: &mut Rng) -> impl Iterator<Item = usize> + use<> {
    let chosen: BTreeSet<usize> = if range.len() <= most {
        range.collect()
    } else {
        let last = range.end - most / 3..range.end;
        let others = range.start..last.start;
        (0..most - last.len())
            .map(|_| others.start + rng.below(others.len()))
            .chain(last)
            .collect()
    };
    chosen.into_iter()
}

/// The last writes torn, and without their bytes.
fn last_write_shapes(state: &State, rng: &mut Rng) -> Vec<Shape> {
    let unsynced: Vec<_> = state.unsynced().enumerate().collect();
    let writes = unsynced
        .iter()
        .rev()
        .filter_map(|(op, pending)| match &pending.change {
            Change::Content {
                edit: edit @ Edit::Write { .. },
                ..
            } => Some((*op, edit)),
            _ => None,
        });
    let mut shapes = Vec::new();
    for (op, edit) in writes.take(4) {
        shapes.push(Shape::Zeros(op));
        for sector in [512, 4096] {
            // A write inside one sector is there or is not, as in other shapes.
            if edit.spans_sectors(sector) {
                shapes.extend([(); 3].map(|()| Shape::Torn {
                    op,
                    sector,
                    seed: rng.next(),
                }));
            }
        }
    }
    shapes
}
