//! Which records are needed, and how many bytes of each segment they take.

#[cfg(test)]
use std::collections::BTreeMap;

use super::live_record::LiveRecord;
use super::location::{RecordPosition, low};
use super::log::{Journal, Segment};

impl Journal {
    /// Notes where a file's record is, in place of the one that it had.
    pub(crate) fn add_file(&mut self, number: u64, position: RecordPosition) {
        let live = LiveRecord::at(position);
        if let Some(before) = self.files.insert(number, live) {
            self.uncount(before);
        }
        self.count(live);
    }

    /// Notes where the record of a file's end is, in place of the one that it had.
    pub(crate) fn add_ended(&mut self, number: u64, position: RecordPosition) {
        let live = LiveRecord::at(position);
        if let Some(before) = self.ended.insert(number, live) {
            self.uncount(before);
        }
        self.count(live);
    }

    fn count(&mut self, live: LiveRecord) {
        self.live_bytes += u64::from(live.len);
        if let Some(segment) = self.segment_mut(live.segment) {
            segment.live += u64::from(live.len);
        }
    }

    /// Notes that a record is not needed any more.
    pub(super) fn uncount(&mut self, live: LiveRecord) {
        self.live_bytes = self.live_bytes.saturating_sub(live.len.into());
        if let Some(segment) = self.segment_mut(live.segment) {
            segment.live = segment.live.saturating_sub(live.len.into());
        }
    }

    fn segment_mut(&mut self, id: u32) -> Option<&mut Segment> {
        let oldest = low(self.segments.front()?.id);
        let place = id.wrapping_sub(oldest) as usize;
        // Segments may be missing from a damaged journal.
        if self
            .segments
            .get(place)
            .is_some_and(|segment| low(segment.id) == id)
        {
            return self.segments.get_mut(place);
        }
        self.segments
            .iter_mut()
            .find(|segment| low(segment.id) == id)
    }

    /// Counts again what is needed, and compares.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let mut needed: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, live) in self.files.iter().chain(self.ended.iter()) {
            *needed.entry(live.segment).or_default() += u64::from(live.len);
        }
        assert_eq!(self.live_bytes, needed.values().sum::<u64>(), "live bytes");
        assert!(
            self.files
                .iter()
                .all(|(number, _)| !self.ended.contains(number)),
            "waiting and ended"
        );
        assert!(
            self.changes
                .keys()
                .chain(self.content_ids.keys())
                .all(|number| self.files.contains(*number)),
            "changes of files that are not there"
        );
        let mut last = 0;
        for segment in &self.segments {
            assert!(
                segment.id > last && segment.id < self.next_segment,
                "segment {} behind {last}",
                segment.id
            );
            last = segment.id;
            assert_eq!(
                segment.live,
                needed.remove(&low(segment.id)).unwrap_or(0),
                "live bytes of segment {last}"
            );
        }
        assert!(
            needed.is_empty(),
            "needed of segments that are gone: {needed:?}"
        );
    }
}
