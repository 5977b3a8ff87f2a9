//! Reading a segment in which something else than sound records turns up.

use bytes::Bytes;

use super::frame::{ALIGN, Found, Framer, HEAD_LEN, Head, MAX_BATCH, record_len};

/// The longest tail that can be torn, in bytes: a whole batch, and as much again that cleaning adds
/// to it.
const MAX_TORN: usize = 2 * MAX_BATCH;

/// What was found at one place of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A sound record.
    Record(Found),
    /// Bytes that were durable once and are no record.
    Damage {
        /// Where they begin.
        offset: usize,
        /// How many there are.
        len: usize,
    },
    /// Bytes at the end of the last segment that were never synced.
    Torn {
        /// Where they begin.
        offset: usize,
        /// How many there are.
        len: usize,
    },
}

/// Reads a segment from its first record to its end.
pub(crate) struct Scan<'a> {
    framer: Framer,
    segment: &'a Bytes,
    /// Nothing was written after this segment: its tail may be torn.
    is_last: bool,
    at: usize,
    sequence: Option<u64>,
}

impl<'a> Scan<'a> {
    /// A scan of `segment`, header included.
    #[cfg(test)]
    pub(crate) fn new(framer: Framer, segment: &'a Bytes, is_last: bool) -> Self {
        Self::behind(
            framer,
            segment,
            is_last,
            super::header::HEADER_LEN.min(segment.len()),
            None,
        )
    }

    /// A scan that goes on at `at`, behind the record with this sequence.
    pub(crate) fn behind(
        framer: Framer,
        segment: &'a Bytes,
        is_last: bool,
        at: usize,
        sequence: Option<u64>,
    ) -> Self {
        Self {
            framer,
            segment,
            is_last,
            at,
            sequence,
        }
    }

    /// The next sound record at or behind `from`, at a plausible distance from the last one.
    fn resume(&self, from: usize) -> Option<Found> {
        let places = (from..self.segment.len().saturating_sub(HEAD_LEN - 1)).step_by(ALIGN.into());
        places
            .filter_map(|at| self.framer.read(self.segment, 0, at))
            .find(|found| match self.sequence {
                // No record is shorter than its head.
                Some(last) => {
                    found.sequence > last
                        && found.sequence - last <= ((found.offset - self.at) / HEAD_LEN) as u64 + 1
                }
                None => true,
            })
    }

    /// Judges bytes at `self.at` that are no record: damage, or a torn tail.
    fn judge(&mut self) -> Item {
        let offset = self.at;
        let next = self.resume(offset + usize::from(ALIGN));
        let end = next
            .as_ref()
            .map_or(self.segment.len(), |found| found.offset);
        // Anything written after these bytes were synced proves that they were whole once. Never
        // more than one batch is unsynced.
        let was_synced = !self.is_last
            || self.segment.len() - offset > MAX_TORN
            || next.is_some_and(|next| self.is_proof(next, offset))
            || self.goes_beyond_a_batch(offset);
        if was_synced {
            self.at = end;
            return Item::Damage {
                offset,
                len: end - offset,
            };
        }
        self.at = self.segment.len();
        Item::Torn {
            offset,
            len: self.segment.len() - offset,
        }
    }

    /// Whether the records at `offset`, whose checksums are wrong, have heads that follow each
    /// other into a later batch. A torn tail has heads of one batch, or none.
    fn goes_beyond_a_batch(&self, offset: usize) -> bool {
        let (mut at, mut last) = (offset, self.sequence);
        while let Some(head) = Head::read(self.segment, at) {
            if head.base > at || last.is_some_and(|last| last.checked_add(1) != Some(head.sequence))
            {
                return false;
            }
            if head.base > offset {
                return true;
            }
            last = Some(head.sequence);
            at += record_len(head.body_len);
        }
        false
    }

    /// Whether `next` or a record behind it was written after the bytes at `offset` had been
    /// synced.
    fn is_proof(&self, next: Found, offset: usize) -> bool {
        let mut following = Some(next);
        while let Some(found) = following {
            if found.base > offset {
                return true;
            }
            let behind = found.offset + found.len;
            following = self
                .framer
                .read(self.segment, 0, behind)
                .or_else(|| self.resume(behind + usize::from(ALIGN)));
        }
        false
    }
}

impl Iterator for Scan<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.at >= self.segment.len() {
            return None;
        }
        match self.framer.read(self.segment, 0, self.at) {
            Some(found) if self.sequence.is_none_or(|last| found.sequence > last) => {
                self.at += found.len;
                self.sequence = Some(found.sequence);
                Some(Item::Record(found))
            }
            _ => Some(self.judge()),
        }
    }
}
