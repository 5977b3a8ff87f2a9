//! One ring: the last slots of a member, all figures side by side.
//!
//! A slot keeps the time that it stands for, and slots lie in the order in which they came. So a
//! stretch in which nothing is told takes no room, and a clock that jumps moves nothing that is kept.
//! Invariant: `values` and `words` have one cell for each slot and figure, and `times` rises by whole
//! steps unless the clock was set back.

use super::cell::Cell;

/// How fine a ring is, and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grain {
    /// Seconds of a slot.
    pub(super) step: u64,
    /// Room for so many slots is taken at first, then for twice as many each time. What fills slowly
    /// begins small: there may be thousands of members.
    pub(super) first: usize,
    /// The most slots.
    pub(super) most: usize,
    /// Whether a slot keeps the least and the most beside the average.
    pub(super) has_extremes: bool,
}

impl Grain {
    /// Seconds that the ring reaches back if something is told in each slot.
    pub(super) fn span(self) -> u64 {
        self.step * self.most as u64
    }

    /// Numbers of a cell.
    fn numbers(self) -> usize {
        if self.has_extremes { 3 } else { 1 }
    }
}

/// A word that belongs to one of the last so many slots is added there. More would be a clock that
/// was set back; fewer would give two threads that speak at once a slot each.
const NEAR: usize = 2;

/// One ring of a member.
#[derive(Debug)]
pub(super) struct Ring {
    grain: Grain,
    /// How many figures a slot has.
    figures: usize,
    /// The slot that is written over next, once there are `most`: the oldest.
    oldest: usize,
    /// The number of each slot: its first second divided by the step.
    times: Vec<u32>,
    /// The average of each cell, and behind it the least and the most.
    values: Vec<f32>,
    /// How many words are in each cell; 0 is a gap.
    words: Vec<u16>,
}

impl Ring {
    pub(super) fn new(grain: Grain, figures: usize) -> Self {
        Self {
            grain,
            figures,
            oldest: 0,
            times: Vec::new(),
            values: Vec::new(),
            words: Vec::new(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.times.capacity() * size_of::<u32>()
            + self.values.capacity() * size_of::<f32>()
            + self.words.capacity() * size_of::<u16>()
    }

    /// Adds what is told at this time, each with the place of its figure.
    pub(super) fn tell(&mut self, now: u64, told: &[(usize, Option<Cell>)]) {
        let slot = self.slot(now);
        for (place, cell) in told {
            if let Some(cell) = cell {
                self.add(slot, *place, *cell);
            }
        }
    }

    /// The first seconds of the slots and their places, in the order in which they came.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        let (newer, older) = self.times.split_at(self.oldest.min(self.times.len()));
        let places = self.oldest..self.times.len();
        let older = older.iter().copied().zip(places);
        let newer = newer.iter().copied().zip(0..);
        older
            .chain(newer)
            .map(|(time, slot)| (u64::from(time) * self.grain.step, slot))
    }

    /// What was told of a figure in a slot.
    pub(super) fn cell(&self, slot: usize, place: usize) -> Option<Cell> {
        if place >= self.figures {
            return None;
        }
        let at = slot * self.figures + place;
        let words = self.words.get(at).copied().filter(|words| *words > 0)?;
        let numbers = self.grain.numbers();
        let avg = self.values.get(at * numbers).copied()?;
        let (min, max) = if self.grain.has_extremes {
            let of = |number: usize| self.values.get(at * numbers + number).copied();
            (of(1)?, of(2)?)
        } else {
            (avg, avg)
        };
        Some(Cell {
            avg,
            min,
            max,
            words: u32::from(words),
        })
    }

    /// Makes room for more figures behind those that there are.
    pub(super) fn widen(&mut self, figures: usize) {
        if figures <= self.figures {
            return;
        }
        let mut wider = Self::new(self.grain, figures);
        wider.reserve(self.times.capacity());
        for (time, slot) in self.slots() {
            wider.push_from(time, self, slot, |place| place);
        }
        *self = wider;
    }

    /// Takes over another ring of the same grain, by time. `place` says where a figure of this one
    /// stands there.
    pub(super) fn merge(&mut self, other: &Self, place: impl Fn(usize) -> usize) {
        let mut slots: Vec<(u64, bool, usize)> = self
            .slots()
            .map(|(time, slot)| (time, false, slot))
            .chain(other.slots().map(|(time, slot)| (time, true, slot)))
            .collect();
        slots.sort_by_key(|(time, ..)| *time);
        let mut times: Vec<u64> = slots.iter().map(|(time, ..)| *time).collect();
        times.dedup();
        let surplus = times.len().saturating_sub(self.grain.most);
        let first = times.get(surplus).copied().unwrap_or(0);
        let mut merged = Self::new(self.grain, self.figures);
        merged.reserve(times.len() - surplus);
        for (time, is_other, slot) in slots.into_iter().filter(|(time, ..)| *time >= first) {
            if is_other {
                merged.push_from(time, other, slot, &place);
            } else {
                merged.push_from(time, self, slot, |place| place);
            }
        }
        *self = merged;
    }

    fn push_from(&mut self, time: u64, from: &Self, slot: usize, place: impl Fn(usize) -> usize) {
        let into = self.slot(time);
        for to in 0..self.figures {
            if let Some(cell) = from.cell(slot, place(to)) {
                self.add(into, to, cell);
            }
        }
    }

    /// The place of the slot of this time, which is made if it is not among the last.
    fn slot(&mut self, now: u64) -> usize {
        // Centuries are left until the number is used up.
        let time = u32::try_from(now / self.grain.step).unwrap_or(u32::MAX);
        let length = self.times.len();
        let newest_first =
            (1..=length.min(NEAR)).map(|back| (self.oldest + length - back) % length);
        for slot in newest_first {
            if self.times.get(slot) == Some(&time) {
                return slot;
            }
        }
        if length < self.grain.most {
            if length == self.times.capacity() {
                self.reserve((length * 2).clamp(self.grain.first, self.grain.most));
            }
            self.times.push(time);
            let cells = (length + 1) * self.figures;
            self.words.resize(cells, 0);
            self.values.resize(cells * self.grain.numbers(), 0.0);
            return length;
        }
        let slot = self.oldest;
        self.oldest = (slot + 1) % length.max(1);
        if let Some(of_slot) = self.times.get_mut(slot) {
            *of_slot = time;
        }
        let cells = slot * self.figures..(slot + 1) * self.figures;
        if let Some(words) = self.words.get_mut(cells) {
            words.fill(0);
        }
        slot
    }

    fn reserve(&mut self, slots: usize) {
        let more = |has: usize, wanted: usize| wanted.saturating_sub(has);
        let cells = slots * self.figures;
        self.times.reserve_exact(more(self.times.len(), slots));
        self.words.reserve_exact(more(self.words.len(), cells));
        let values = cells * self.grain.numbers();
        self.values.reserve_exact(more(self.values.len(), values));
    }

    fn add(&mut self, slot: usize, place: usize, cell: Cell) {
        let Some(cell) = Cell::join(self.cell(slot, place), Some(cell)) else {
            return;
        };
        let at = slot * self.figures + place;
        let numbers = self.grain.numbers();
        let Some(values) = self.values.get_mut(at * numbers..(at + 1) * numbers) else {
            return;
        };
        for (value, number) in values.iter_mut().zip([cell.avg, cell.min, cell.max]) {
            *value = number;
        }
        if let Some(words) = self.words.get_mut(at) {
            *words = u16::try_from(cell.words).unwrap_or(u16::MAX);
        }
    }
}
