//! Questions to one member's history: which rings answer them, and the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cell::Cell;
use super::member::{GRAINS, Member};
use super::ring::Ring;
use crate::fleet::facts::Figure;
use crate::fleet::report::{Column, Columns, Summary};

/// The most rows of an answer.
pub const MAX_ROWS: u64 = 2000;

/// The longest stretch that history reaches back.
pub const LONGEST: Duration = Duration::from_hours(7 * 24);

/// A member's averages over a stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Seconds of the stretch in which something was told.
    pub seconds: u64,
    /// What is known of each figure; figures of which nothing is known are left out.
    pub figures: BTreeMap<Figure, Summary>,
}

/// A ring, and the stretch for which it answers: from, until and without.
struct Part<'a> {
    ring: &'a Ring,
    step: u64,
    from: u64,
    until: u64,
}

impl Member {
    /// The figures over the stretch that ends now. Rows begin at multiples of the step.
    pub(super) fn columns(
        &self,
        figures: &[Figure],
        over: Duration,
        wanted: Option<Duration>,
        now: u64,
    ) -> Columns {
        let over = over.as_secs().clamp(GRAINS[0].step, LONGEST.as_secs());
        let figures: Vec<(Figure, usize)> = if figures.is_empty() {
            let all = self.figures.iter().enumerate();
            all.map(|(place, kept)| (kept.figure, place)).collect()
        } else {
            let asked = figures.iter();
            asked
                .map(|figure| (*figure, self.place_of(*figure)))
                .collect()
        };
        let wanted = match wanted {
            Some(wanted) => wanted.as_secs(),
            None => self.rhythm(figures.iter().map(|(_, place)| *place)),
        };
        let wanted = wanted.max(over.div_ceil(MAX_ROWS)).max(1);
        let base = self.base(over, wanted);
        let mut step = step_of(base);
        // A part that only a coarser ring knows makes all rows as long as its slots.
        let (start, parts) = loop {
            step = wanted.next_multiple_of(step);
            let start = start(now, over, step);
            let parts = self.parts(base, start, now);
            let coarsest = parts.iter().map(|part| part.step).max().unwrap_or(step);
            if step.is_multiple_of(coarsest) {
                break (start, parts);
            }
            step = coarsest;
        };
        let rows = usize::try_from(over.div_ceil(step)).unwrap_or(0);
        let mut cells: Vec<Vec<Option<Cell>>> = vec![vec![None; rows]; figures.len()];
        for (time, slot, ring) in parts.iter().flat_map(Part::slots) {
            let row = usize::try_from((time - start) / step).unwrap_or(usize::MAX);
            for ((_, place), column) in figures.iter().zip(&mut cells) {
                if let Some(cell) = column.get_mut(row) {
                    *cell = Cell::join(*cell, ring.cell(slot, *place));
                }
            }
        }
        let names = figures.iter().map(|(figure, _)| figure.name().to_owned());
        Columns {
            time: (0..rows as u64).map(|row| start + row * step).collect(),
            step_s: step,
            figures: names.zip(cells.iter().map(|cells| column(cells))).collect(),
        }
    }

    /// What is known of all figures over the stretch that ends now.
    pub(super) fn averages(&self, over: Duration, now: u64) -> Known {
        let over = over.as_secs().clamp(GRAINS[0].step, LONGEST.as_secs());
        let base = self.base(over, 1);
        let parts = self.parts(base, start(now, over, step_of(base)), now);
        let places = 0..self.figures.len();
        let mut cells = vec![None; places.len()];
        let coarsest = parts.iter().map(|part| part.step).max().unwrap_or(1);
        let step = self.rhythm(places).max(1).next_multiple_of(coarsest);
        let mut rows = Vec::new();
        for (time, slot, ring) in parts.iter().flat_map(Part::slots) {
            rows.push(time / step);
            for (place, cell) in cells.iter_mut().enumerate() {
                *cell = Cell::join(*cell, ring.cell(slot, place));
            }
        }
        rows.sort_unstable();
        rows.dedup();
        let known = self.figures.iter().zip(cells);
        let known = known.filter_map(|(kept, cell)| {
            let Cell { avg, min, max, .. } = cell?;
            Some((kept.figure, Summary { avg, min, max }))
        });
        Known {
            seconds: (rows.len() as u64 * step).min(over),
            figures: known.collect(),
        }
    }

    fn place_of(&self, figure: Figure) -> usize {
        let found = self.figures.iter().position(|kept| kept.figure == figure);
        found.unwrap_or(usize::MAX)
    }

    /// Seconds in which a word about each of these figures comes for certain: a word that is a little
    /// late would leave every now and then a shorter row without one.
    fn rhythm(&self, places: impl Iterator<Item = usize>) -> u64 {
        let every = places.filter_map(|place| self.figures.get(place));
        let every = every.map(|kept| u64::from(kept.every)).max();
        2 * every.unwrap_or(0)
    }

    /// The rings that are kept, with their place, the finest first.
    fn kept(&self) -> impl DoubleEndedIterator<Item = (usize, &Ring)> {
        let rings = self.rings.iter().enumerate();
        rings.filter_map(|(place, ring)| Some((place, ring.as_ref()?)))
    }

    /// The finest ring that reaches back so far in whole rows of at least `wanted` seconds, or the
    /// longest that is kept, with its place.
    fn base(&self, over: u64, wanted: u64) -> Option<(usize, &Ring)> {
        let reaches = |place: usize| {
            GRAINS.get(place).is_some_and(|grain| {
                grain.span() >= over.next_multiple_of(wanted.next_multiple_of(grain.step))
            })
        };
        let found = self.kept().find(|(place, _)| reaches(*place));
        found.or_else(|| self.kept().next_back())
    }

    /// The rings that answer for the stretch from `from` to now: the base, and before its oldest slot
    /// a coarser one, if that knows more. Slots after `now`, which a clock that was set back has left,
    /// are in no part.
    fn parts<'a>(&'a self, base: Option<(usize, &'a Ring)>, from: u64, now: u64) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut until = now.saturating_add(1);
        let mut next = base;
        while let Some((place, ring)) = next.take() {
            let step = GRAINS.get(place).map_or(1, |grain| grain.step);
            let part = |from| Part {
                ring,
                step,
                from,
                until,
            };
            let oldest = part(from).slots().map(|(time, ..)| time).min();
            let coarser = self.kept().filter(|(coarser, _)| *coarser > place);
            let more = coarser.into_iter().find_map(|(place, ring)| {
                let step = GRAINS.get(place)?.step;
                // A slot in which the oldest of these lies may know no more than that.
                let knows_more = |time: u64| oldest.is_none_or(|oldest| time + step <= oldest);
                let mut times = ring.slots().map(|(time, _)| time);
                let found = times.any(|time| from <= time && time < until && knows_more(time));
                found.then_some((place, ring, step))
            });
            match more {
                None => parts.push(part(from)),
                Some((place, coarser, step)) => {
                    let border = oldest.map_or(until, |oldest| oldest.next_multiple_of(step));
                    parts.push(part(border));
                    until = border.min(until);
                    next = Some((place, coarser));
                }
            }
        }
        parts
    }
}

impl<'a> Part<'a> {
    /// The first second of each slot, its place, and the ring.
    fn slots(&self) -> impl Iterator<Item = (u64, usize, &'a Ring)> + use<'a> {
        let (ring, from, until) = (self.ring, self.from, self.until);
        ring.slots()
            .filter(move |(time, _)| (from..until).contains(time))
            .map(move |(time, slot)| (time, slot, ring))
    }
}

/// Seconds of a slot of a ring with its place; those of the finest if there is none.
fn step_of(ring: Option<(usize, &Ring)>) -> u64 {
    let place = ring.map_or(0, |(place, _)| place);
    GRAINS.get(place).map_or(1, |grain| grain.step)
}

/// Where the last whole rows begin that are as long as `over` together.
fn start(now: u64, over: u64, step: u64) -> u64 {
    (now - now % step + step).saturating_sub(over.next_multiple_of(step))
}

fn column(cells: &[Option<Cell>]) -> Column {
    let all = |number: fn(&Cell) -> f32| cells.iter().map(move |cell| cell.as_ref().map(number));
    Column {
        avg: all(|cell| cell.avg).collect(),
        min: all(|cell| cell.min).collect(),
        max: all(|cell| cell.max).collect(),
    }
}
