//! What a member told in one minute: what is written to disk, and read back.

use super::cell::Cell;
use crate::fleet::facts::Figure;
use crate::fleet::identity::Identity;
use crate::fleet::report::Summary;

/// Seconds of a minute.
pub(super) const MINUTE: u64 = 60;

/// What a member told in one minute, or in a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    /// Its first second, in seconds since 1970.
    pub time: u64,
    /// The member.
    pub member: Identity,
    /// How many words there were.
    pub samples: u32,
    /// The figures that were told.
    pub figures: Vec<(Figure, Summary)>,
}

/// A minute that is being filled.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Its first second.
    pub(super) time: u64,
    samples: u32,
    cells: Vec<(Figure, Cell)>,
}

impl Open {
    pub(super) fn new(time: u64) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// Bytes on the heap, with the minute itself.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.cells.capacity() * size_of::<(Figure, Cell)>()
    }

    pub(super) fn tell(&mut self, told: &[(Figure, Cell)]) {
        self.samples = self.samples.saturating_add(1);
        for (figure, cell) in told {
            let known = self.cells.iter_mut().find(|(known, _)| known == figure);
            if let Some((_, known)) = known {
                *known = known.and(*cell);
            } else {
                self.cells.reserve_exact(1);
                self.cells.push((*figure, *cell));
            }
        }
    }

    pub(super) fn finish(self, member: Identity) -> Minute {
        let summary = |cell: Cell| Summary {
            avg: cell.avg,
            min: cell.min,
            max: cell.max,
        };
        let figures = self.cells.into_iter();
        Minute {
            time: self.time,
            member,
            samples: self.samples,
            figures: figures
                .map(|(figure, cell)| (figure, summary(cell)))
                .collect(),
        }
    }
}

impl Minute {
    /// Its figures as cells; `None` if it is damaged: no sample, or numbers that cannot be.
    pub(super) fn cells(&self) -> Option<Vec<(Figure, Cell)>> {
        let words = self.samples;
        let is_sound = |summary: &Summary| {
            summary.min.is_finite()
                && summary.max.is_finite()
                && 0.0 <= summary.min
                && summary.min <= summary.avg
                && summary.avg <= summary.max
        };
        let is_bad = words == 0
            || self.figures.is_empty()
            || !self.figures.iter().all(|(_, summary)| is_sound(summary));
        let cells = self.figures.iter().map(|(figure, summary)| {
            let Summary { avg, min, max } = *summary;
            let cell = Cell {
                avg,
                min,
                max,
                words,
            };
            (*figure, cell)
        });
        (!is_bad).then(|| cells.collect())
    }
}
