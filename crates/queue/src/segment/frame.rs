//! The frame around each record.

use bytes::Bytes;

use crate::record::Record;
use bilico_core::checksum;

use super::header::JournalId;

/// The length of a record's head in bytes.
pub(crate) const HEAD_LEN: usize = 24;

/// The offset in the head of the byte that tells the kind of the record.
pub(crate) const KIND_AT: usize = 20;

/// Records begin at multiples of this many bytes.
pub(crate) const ALIGN: u8 = 8;

/// The longest body of a record: 64 KiB of content, the longest texts, and room to spare.
pub(crate) const MAX_BODY: usize = 128 * 1024;

/// A batch of so many bytes is committed, whatever else waits.
pub(crate) const MAX_BATCH: usize = 8 * 1024 * 1024;

/// The length of a whole record with a body of this length.
pub(crate) fn record_len(body_len: usize) -> usize {
    (HEAD_LEN + body_len).next_multiple_of(ALIGN.into())
}

/// Frames the records of one segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framer {
    seed: u32,
}

impl Framer {
    /// For the segment of this journal.
    pub(crate) fn new(journal: &JournalId, segment: u64) -> Self {
        Self {
            seed: checksum::append(checksum::crc32c(journal), &segment.to_le_bytes()),
        }
    }

    /// Appends a record to `out`, which will be at `start` in the segment. The segment is durable
    /// up to `base`.
    pub(crate) fn append(
        self,
        record: &Record,
        sequence: u64,
        (start, base): (u64, u64),
        out: &mut Vec<u8>,
    ) -> Framed {
        let at = out.len();
        out.extend_from_slice(&[0; HEAD_LEN]);
        record.encode(out);
        let body_len = out.len() - at - HEAD_LEN;
        let len = record_len(body_len);
        out.resize(at + len, 0);
        let offset = start + at as u64;
        let framed = Framed {
            len: len as u64,
            body_end: offset + (HEAD_LEN + body_len) as u64,
        };
        let Some(whole) = out.get_mut(at..) else {
            return framed;
        };
        let (crc, covered) = whole.split_at_mut(4);
        let head = covered.iter_mut().zip(
            u32::try_from(body_len)
                .unwrap_or(u32::MAX)
                .to_le_bytes()
                .into_iter()
                .chain(sequence.to_le_bytes())
                .chain(u32::try_from(base).unwrap_or(u32::MAX).to_le_bytes())
                .chain([record.kind()]),
        );
        head.for_each(|(to, from)| *to = from);
        crc.copy_from_slice(&self.crc(covered, offset).to_le_bytes());
        framed
    }

    fn crc(self, covered: &[u8], offset: u64) -> u32 {
        checksum::append(checksum::append(self.seed, &offset.to_le_bytes()), covered)
    }

    /// The sound record at `at` in `window`, a part of the segment that begins at `start`; `None`
    /// if there is no sound record.
    pub(crate) fn read(self, window: &Bytes, start: usize, at: usize) -> Option<Found> {
        let offset = start + at;
        // The head first: a search for the next record must not compute the checksum of half a
        // segment at each place.
        let Head {
            crc,
            body_len,
            sequence,
            base,
            kind,
        } = Head::read(window, at).filter(|head| head.base <= offset)?;
        let len = record_len(body_len);
        let covered = window.get(at + 4..at.checked_add(len)?)?;
        if self.crc(covered, offset as u64) != crc {
            return None;
        }
        let body_start = at + HEAD_LEN;
        let record = Record::decode(kind, &window.slice(body_start..body_start + body_len))?;
        Some(Found {
            record,
            offset,
            len,
            body_end: offset + HEAD_LEN + body_len,
            sequence,
            base,
        })
    }
}

/// The head of a record, if it can be one.
pub(super) struct Head {
    pub(super) crc: u32,
    pub(super) body_len: usize,
    pub(super) sequence: u64,
    pub(super) base: usize,
    pub(super) kind: u8,
}

impl Head {
    /// The head at `at`.
    pub(super) fn read(window: &[u8], at: usize) -> Option<Self> {
        let head = window.get(at..at.checked_add(HEAD_LEN)?)?;
        let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (body_len, base) = (word(4)? as usize, word(16)? as usize);
        if body_len > MAX_BODY || head.get(21..) != Some(&[0; 3]) {
            return None;
        }
        let sequence = u64::from_le_bytes(head.get(8..16)?.try_into().ok()?);
        Some(Self {
            crc: word(0)?,
            body_len,
            sequence,
            base,
            kind: *head.get(KIND_AT)?,
        })
    }
}

/// Where a record was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framed {
    /// Its length, with head and padding.
    pub(crate) len: u64,
    /// Where in the segment its body ends.
    pub(crate) body_end: u64,
}

/// A record where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The record.
    pub(crate) record: Record,
    /// Where it begins in the segment.
    pub(crate) offset: usize,
    /// Its length, with head and padding.
    pub(crate) len: usize,
    /// Where its body ends.
    pub(crate) body_end: usize,
    /// Its place among all records of the journal.
    pub(crate) sequence: u64,
    /// How far the segment was synced when it was written.
    pub(crate) base: usize,
}
