//! What several words told of one figure, in four numbers.

/// One figure over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub(super) avg: f32,
    pub(super) min: f32,
    pub(super) max: f32,
    /// How many words told it.
    pub(super) words: u32,
}

impl Cell {
    /// What one word told.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a chart needs no more than the digits of an f32"
    )]
    pub(super) fn of(value: f64) -> Self {
        let value = value as f32;
        Self {
            avg: value,
            min: value,
            max: value,
            words: 1,
        }
    }

    /// Both together.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the average lies between two numbers that are f32"
    )]
    pub(super) fn and(self, other: Self) -> Self {
        let words = self.words.saturating_add(other.words).max(1);
        let share = f64::from(other.words) / f64::from(words);
        let avg = f64::from(self.avg) + (f64::from(other.avg) - f64::from(self.avg)) * share;
        Self {
            avg: avg as f32,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            words,
        }
    }

    /// Both together, if there are both.
    pub(super) fn join(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        }
    }
}
