//! What a crash leaves of the operations that were not synced.

use super::rng::Rng;

/// Which of the unsynced operations a crash leaves on the disk. They are counted from 0, oldest
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All of them, and they stay unsynced or in doubt: only the process died, and a power cut can
    /// follow.
    All,
    /// None.
    None,
    /// The first so many.
    Prefix(usize),
    /// All but this one.
    Drop(usize),
    /// All, but of this one, if it is a write, only the length it gave its file: new bytes read as
    /// zeros.
    Zeros(usize),
    /// All names and lengths, no bytes: they read as zeros, or as what they were.
    Lengths,
    /// Each with probability 1/2; some of the lost writes leave their length or some sectors.
    Random(u64),
    /// All before `op` and none after it; if it is a write, each of its sectors with probability
    /// 1/2.
    Torn {
        /// Which operation.
        op: usize,
        /// The size of a sector in bytes; sectors are aligned in the file.
        sector: usize,
        /// Says which sectors.
        seed: u64,
    },
}

impl Shape {
    /// What becomes of the unsynced operation `index`.
    pub(super) fn fate(self, index: usize, rng: &mut Rng) -> Fate {
        let kept_if = |kept| if kept { Fate::Kept } else { Fate::Lost };
        match self {
            Self::None => Fate::Lost,
            Self::Prefix(count) => kept_if(index < count),
            Self::Drop(op) => kept_if(index != op),
            Self::Zeros(op) if index == op => Fate::Length,
            Self::All | Self::Zeros(_) => Fate::Kept,
            Self::Lengths => Fate::Length,
            Self::Random(_) => match rng.below(8) {
                0..4 => Fate::Kept,
                4 | 5 => Fate::Lost,
                6 => Fate::Length,
                _ => Fate::Torn {
                    sector: if rng.coin() { 512 } else { 4096 },
                    seed: rng.next(),
                },
            },
            Self::Torn { op, sector, seed } if index == op => Fate::Torn { sector, seed },
            Self::Torn { op, .. } => kept_if(index < op),
        }
    }

    pub(super) fn seed(self) -> u64 {
        match self {
            Self::Random(seed) => seed,
            _ => 0,
        }
    }
}

/// What a crash does to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// Of a write only the file's length; anything else is kept.
    Length,
    /// Of a write only some sectors; anything else is lost.
    Torn {
        sector: usize,
        seed: u64,
    },
}
