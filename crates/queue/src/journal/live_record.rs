//! Where a record is that is needed, and how long it is.

use super::location::{RecordPosition, low};

/// A record that is needed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LiveRecord {
    /// The lower half of its segment's number.
    pub(super) segment: u32,
    /// Its length, with head and padding.
    pub(super) len: u32,
}

impl LiveRecord {
    pub(super) fn at(position: RecordPosition) -> Self {
        Self {
            segment: position.segment,
            len: position.record_len(),
        }
    }

    /// Whether it is in this segment.
    pub(super) fn is_in(self, segment: u64) -> bool {
        self.segment == low(segment)
    }
}
