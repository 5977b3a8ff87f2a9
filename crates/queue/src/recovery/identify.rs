//! Which journal this is, and which of its segments are to be read.

use crate::aside;
use crate::content;
use crate::disk::Disk;
use crate::error::IDENTITY;
use crate::error::JournalError;
use crate::identity::{Name, Written};
use crate::segment::{self, HEADER_LEN, Header};

use super::reading::Reading;
use super::report::Damage;
use super::segment_file::SegmentFile;

impl Reading {
    /// Opens all segments in their order, and puts the empty ones at the end aside.
    pub(super) fn find_segments(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        let mut ids: Vec<u64> = self
            .names
            .keys()
            .filter_map(|name| segment::parse_name(name))
            .collect();
        ids.sort_unstable();
        for id in ids {
            self.segments.push(SegmentFile::open(disk, id)?);
        }
        self.settle_identity()?;
        while let Some(last) = self.segments.pop_if(|segment| segment.is_empty()) {
            self.pass_over(&last)?;
        }
        let mut segments = self.segments.iter().rev();
        let youngest = segments.find_map(|segment| segment.header);
        self.youngest = self.youngest.or(youngest);
        self.oldest = self.youngest.map_or(0, |header| header.oldest);
        Ok(())
    }

    /// Takes in an empty segment that comes behind all that hold something. Perhaps not even its
    /// header was made durable.
    fn pass_over(&mut self, segment: &SegmentFile) -> Result<(), JournalError> {
        let bytes = segment.read(0, HEADER_LEN)?;
        if self.had_records(segment) {
            self.emptied
                .push((segment.id, "what it held is gone", bytes));
        } else if segment.header.is_none() && has_both_ends(&bytes) {
            self.emptied.push((segment.id, "its header", bytes));
        }
        if let Some(header) = segment.header {
            self.highest = self.highest.max(header.next_number.saturating_sub(1));
            self.sealed = Some(header.first_sequence);
            self.youngest = self.youngest.or(Some(header));
        }
        self.stale.push(segment.id);
        Ok(())
    }

    /// Whether a younger segment says that this empty one held records: it is needed, and the
    /// younger one does not begin with the same sequence.
    fn had_records(&self, segment: &SegmentFile) -> bool {
        let same_sequence = |youngest: Header| {
            segment
                .header
                .is_some_and(|header| header.first_sequence == youngest.first_sequence)
        };
        self.youngest
            .is_some_and(|youngest| youngest.oldest <= segment.id && !same_sequence(youngest))
    }

    /// Finds out which journal this is before any record is read, as their checksums depend on it:
    /// from `journal-id`, or from the headers of the segments where that is missing or damaged. All
    /// that say something must say the same.
    fn settle_identity(&mut self) -> Result<(), JournalError> {
        let has_file = self.written.bytes.is_some();
        let begun = self.begun.id.filter(|_| !has_file);
        let in_headers = self
            .segments
            .iter()
            .find_map(|segment| segment.header)
            .map(|header| header.journal);
        self.id = self.written.id.or(begun).or(in_headers);
        if let Some(foreign) = self.foreign_segment() {
            return Err(JournalError::Foreign {
                name: segment::name(foreign),
            });
        }
        let has_records = self.segments.iter().any(|segment| !segment.is_empty());
        if in_headers.is_none() && !has_records {
            self.is_new = true;
            return self.nothing_is_left();
        }
        // A first start that did not get to name the part has not accepted anything either.
        self.is_new = begun.is_some() && !has_records;
        if self.id.is_none() {
            Err(JournalError::NoIdentity)
        } else {
            Ok(())
        }
    }

    /// A segment whose header names another journal.
    fn foreign_segment(&self) -> Option<u64> {
        let is_foreign = |header: Header| Some(header.journal) != self.id;
        self.segments
            .iter()
            .find(|segment| segment.header.is_some_and(is_foreign))
            .map(|segment| segment.id)
    }

    /// Checks that a journal without segments never had any.
    fn nothing_is_left(&self) -> Result<(), JournalError> {
        let is_left = |name: &&String| *name == IDENTITY || content::parse_name(name).is_some();
        let left = self.names.keys().filter(is_left).max();
        left.map_or(Ok(()), |left| {
            Err(JournalError::SegmentsGone { left: left.clone() })
        })
    }

    /// Reports a damaged or missing `journal-id`. The segments know the same, but for the identity
    /// that servers know the journal by.
    pub(super) fn judge_identity(&mut self) {
        let Some(what) = self.identity_damage() else {
            return;
        };
        let bytes = self.written.bytes.clone();
        let len = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let aside = bytes.map(|bytes| {
            let name = aside::free_place(&self.names, &format!("{}{IDENTITY}", aside::DAMAGED));
            self.contents.aside.push((name.clone(), bytes));
            name
        });
        let damage = Damage::uncopied(IDENTITY.to_owned(), what.to_owned(), len);
        self.contents.report.damage.push(Damage { aside, ..damage });
    }

    /// What is wrong with `journal-id`; `None` if nothing is.
    fn identity_damage(&self) -> Option<&'static str> {
        match &self.written {
            _ if self.is_new => None,
            Written { bytes: None, .. } => Some(
                "it is missing: the segments tell which journal this is, but not whether it was \
                 adopted",
            ),
            Written { id: None, .. } => Some("the segments tell which journal this is"),
            Written {
                name: Name::Lost, ..
            } => Some("its second line said what servers know the journal by"),
            Written { .. } => None,
        }
    }
}

/// Whether a header has bytes at both of its ends. A crash leaves all of a header, or nothing of
/// its beginning or of its end: one that has both and is not sound is damaged.
fn has_both_ends(header: &[u8]) -> bool {
    let has_bytes = |range: std::ops::Range<usize>| {
        header
            .get(range)
            .is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
    };
    has_bytes(0..8) && has_bytes(56..HEADER_LEN)
}
