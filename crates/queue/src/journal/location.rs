//! Where a record is, and how its content is read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskFile, read_full_at};
use crate::segment;
use bilico_core::checksum;

/// Where a file's record is, and its inline content.
#[derive(Clone)]
pub struct Location {
    handle: Handle,
    position: RecordPosition,
    /// The length of the inline content, which ends the record's body; 0 for a content file.
    len: u32,
}

/// A segment that can be read, even after it was removed.
#[derive(Clone)]
pub struct Handle {
    /// The segment's number.
    pub segment: u64,
    /// Its bytes.
    pub file: Arc<dyn DiskFile>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

/// The place of a record in the journal, without the handle to read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordPosition {
    /// The lower half of the segment's number.
    pub segment: u32,
    /// Where the record begins.
    pub offset: u32,
    /// Where its body ends.
    pub end: u32,
}

impl RecordPosition {
    /// The place of a record. No segment is so long that it would have to be cut.
    pub(crate) fn new(segment: u64, offset: u64, body_end: u64) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            segment: low(segment),
            offset: narrow(offset),
            end: narrow(body_end),
        }
    }

    /// The length of the record in bytes, with head and padding.
    pub fn record_len(self) -> u32 {
        self.end.saturating_sub(self.offset).next_multiple_of(ALIGN)
    }
}

/// Records begin at multiples of this many bytes.
const ALIGN: u32 = segment::ALIGN as u32;

/// The lower half of a segment's number. The segments that exist at one time differ in it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
pub(crate) fn low(segment: u64) -> u32 {
    segment as u32
}

impl Location {
    /// The record at `position` in a segment, whose body ends with `len` bytes of content.
    pub fn new(handle: Handle, position: RecordPosition, len: u64) -> Self {
        Self {
            handle,
            position,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    /// The place of the record.
    pub fn spot(&self) -> RecordPosition {
        self.position
    }

    /// The segment that holds the record.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads the content; an error if its checksum is not this one.
    pub fn read(&self, crc32c: u32) -> std::io::Result<Bytes> {
        let content = self.read_as_it_is()?;
        if content.len() < self.len as usize || checksum::crc32c(&content) != crc32c {
            return Err(std::io::Error::other(
                "the content is damaged in the journal",
            ));
        }
        Ok(content)
    }

    /// Reads the content, damaged or not; less than all of it if the segment is cut short.
    pub fn read_as_it_is(&self) -> std::io::Result<Bytes> {
        let mut content = vec![0; self.len as usize];
        let start = self.position.end.saturating_sub(self.len);
        let read = read_full_at(&*self.handle.file, &mut content, start.into())?;
        content.truncate(read);
        Ok(content.into())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("position", &self.position)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
