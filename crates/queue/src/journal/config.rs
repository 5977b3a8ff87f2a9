//! How a journal is kept.

use bilico_core::durability::Durability;

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct JournalConfig {
    /// What a file must outlive before its receipt is given.
    pub durability: Durability,
    /// The length of a segment in bytes; `None` takes a sixteenth of the disk, from 1 MiB to 64
    /// MiB.
    pub segment_size: Option<u64>,
}

/// The bounds of a segment's length, in bytes.
pub const SEGMENT_SIZES: std::ops::RangeInclusive<u64> = 1024 * 1024..=1024 * 1024 * 1024;

/// The largest segment that is chosen without a setting, in bytes.
const LARGEST_DEFAULT: u64 = 64 * 1024 * 1024;

/// The shortest segment in bytes. In a test a segment is full after a few records.
const SHORTEST: u64 = if cfg!(test) {
    1024
} else {
    *SEGMENT_SIZES.start()
};

impl JournalConfig {
    /// The length of a segment on a disk of so many bytes.
    pub(super) fn segment_size_on(&self, disk: u64) -> u64 {
        let default = || (disk / 16).clamp(*SEGMENT_SIZES.start(), LARGEST_DEFAULT);
        self.segment_size
            .unwrap_or_else(default)
            .clamp(SHORTEST, *SEGMENT_SIZES.end())
    }
}
