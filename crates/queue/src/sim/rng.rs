//! Random numbers that are the same for the same seed.

/// `SplitMix64`: small, and the same everywhere and for ever, so that a printed seed stays good.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator that says the same for the same `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        index(self.next() % bound as u64)
    }

    /// Yes or no.
    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A number as an index.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).expect("more than memory can hold")
}
