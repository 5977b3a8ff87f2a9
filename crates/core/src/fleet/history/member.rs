//! The history of one member: its figures, its three rings, and the minute that is not written yet.

use std::time::Duration;

use super::cell::Cell;
use super::minute::{MINUTE, Open};
use super::ring::{Grain, Ring};
use crate::fleet::facts::Figure;

/// The three rings of a member, the finest first: ten minutes, six hours, seven days. The steps
/// divide each other, so that each slot lies within one slot of every coarser ring.
pub(super) const GRAINS: [Grain; 3] = [
    Grain {
        step: 5,
        first: 8,
        most: 120,
        has_extremes: false,
    },
    Grain {
        step: MINUTE,
        first: 2,
        most: 360,
        has_extremes: true,
    },
    Grain {
        step: 15 * MINUTE,
        first: 1,
        most: 672,
        has_extremes: true,
    },
];

/// The longest time between two words that is reckoned with, in seconds.
const MAX_EVERY: u64 = 3600;

/// A figure of a member. Its place among the figures is its place in all rings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) figure: Figure,
    /// Seconds from one word about it to the next, as far as that is known.
    pub(super) every: u16,
}

/// The history of one member.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) figures: Vec<Kept>,
    /// `None` is given up: it takes no room, and what is told is not kept there.
    pub(super) rings: [Option<Ring>; 3],
    /// When somebody last looked at it, as a number that rises with each look; 0 is never.
    pub(super) looked: u64,
    /// When it last told something.
    pub(super) heard: u64,
    /// What was told in minutes that are not on disk yet, if there is a disk.
    pub(super) open: Option<Box<Open>>,
    pub(super) done: Option<Box<Open>>,
}

impl Member {
    pub(super) fn new() -> Self {
        Self {
            rings: GRAINS.map(|grain| Some(Ring::new(grain, 0))),
            ..Self::default()
        }
    }

    /// Bytes on the heap, without the member itself.
    pub(super) fn memory(&self) -> usize {
        let rings = self.rings.iter().flatten().map(Ring::memory);
        let minutes = [&self.open, &self.done].into_iter().flatten();
        self.figures.capacity() * size_of::<Kept>()
            + rings.sum::<usize>()
            + minutes.map(|open| open.memory()).sum::<usize>()
    }

    /// Takes figures that were told at this time into the rings, or into those from `finest` on.
    pub(super) fn tell(
        &mut self,
        now: u64,
        every: Duration,
        told: &[(Figure, Cell)],
        finest: usize,
    ) {
        let every = every.as_secs_f64().ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float's cast saturates"
        )]
        let every = (every as u64).min(MAX_EVERY) as u16;
        let mut cells = [(0, None); Figure::ALL.len()];
        for ((figure, cell), to) in told.iter().zip(&mut cells) {
            *to = (self.place(*figure, every), Some(*cell));
        }
        let figures = self.figures.len();
        for ring in self.rings.iter_mut().skip(finest).flatten() {
            ring.widen(figures);
            ring.tell(now, &cells);
        }
    }

    /// The place of a figure, which is made if it is new. An unknown rhythm leaves the known one.
    fn place(&mut self, figure: Figure, every: u16) -> usize {
        let known = self
            .figures
            .iter_mut()
            .enumerate()
            .find(|(_, kept)| kept.figure == figure);
        if let Some((place, kept)) = known {
            if every > 0 {
                kept.every = every;
            }
            return place;
        }
        self.figures.reserve_exact(1);
        self.figures.push(Kept { figure, every });
        self.figures.len() - 1
    }

    /// Takes over the history of a member that turned out to be this one.
    pub(super) fn merge(&mut self, other: &Self) {
        let places: Vec<(usize, usize)> = other
            .figures
            .iter()
            .enumerate()
            .map(|(there, kept)| (self.place(kept.figure, kept.every), there))
            .collect();
        let figures = self.figures.len();
        let there = |here: usize| {
            let found = places.iter().find(|(place, _)| *place == here);
            found.map_or(usize::MAX, |(_, there)| *there)
        };
        for (ours, theirs) in self.rings.iter_mut().zip(&other.rings) {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                ours.widen(figures);
                ours.merge(theirs, there);
            }
        }
        self.looked = self.looked.max(other.looked);
        self.heard = self.heard.max(other.heard);
    }

    /// Begins again to fill the rings that were given up.
    pub(super) fn take_up(&mut self) {
        let figures = self.figures.len();
        for (ring, grain) in self.rings.iter_mut().zip(GRAINS) {
            ring.get_or_insert_with(|| Ring::new(grain, figures));
        }
    }
}
