//! A segment of the journal: its header, the frame around each record, and how a segment is read.
//!
//! ```text
//! header   magic:8  journal:16  segment:u64  oldest:u64  next_number:u64  first_sequence:u64  crc32c:u32  0:u32
//! record   crc32c:u32  body_len:u32  sequence:u64  base:u32  kind:u8  0:3   body   0 to 7 zeros
//! ```
//!
//! A record's checksum covers its place, too (journal, segment and offset), so that bytes which
//! were copied here from elsewhere, say inside the content of a file, are never taken for a record.
//! `base` is where the part of the segment ends that was synced before this record was written:
//! where its batch begins, or the mark before it. That tells a torn tail, which nobody was given a
//! receipt for, from damage to what was safe. `docs/journal.md` shows every byte.

use bytes::Bytes;

use super::record::Record;

/// The beginning of each segment: the format, and in its last byte the format's version.
pub const MAGIC: [u8; 8] = *b"BILICOJ\x01";

/// The length of a segment's header in bytes.
pub const HEADER_LEN: usize = 64;

/// The length of a record's head in bytes.
pub const HEAD_LEN: usize = 24;

/// Where in the head the byte stands that says which record it is.
pub(super) const KIND_AT: usize = 20;

/// Records begin at multiples of this many bytes.
pub(super) const ALIGN: u8 = 8;

/// The longest body of a record: 64 KiB of content, the longest texts, and room to spare.
pub const MAX_BODY: usize = 128 * 1024;

/// The longest tail that can be torn, in bytes: twice what is worth a commit, since what is cleaned
/// with it comes on top.
pub(super) const MAX_TORN: usize = 2 * MAX_BATCH;

/// How many bytes are worth a commit at the most.
pub(super) const MAX_BATCH: usize = 8 * 1024 * 1024;

/// Which journal this is: 128 random bits.
pub type JournalId = [u8; 16];

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The journal.
    pub journal: JournalId,
    /// The segment's own number, from 1.
    pub segment: u64,
    /// The oldest segment that was still needed when this one was begun.
    pub oldest: u64,
    /// Every request number below this may have been given when this one was begun.
    pub next_number: u64,
    /// The sequence of its first record.
    pub first_sequence: u64,
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.journal);
        for number in [
            self.segment,
            self.oldest,
            self.next_number,
            self.first_sequence,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        header
    }

    /// Reads the header of a segment; `None` if it is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = (bytes.get(..56)?, bytes.get(56..HEADER_LEN)?);
        let crc = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let sound = covered.starts_with(&MAGIC)
            && crc == crc32c::crc32c(covered)
            && rest.ends_with(&[0; 4]);
        let number = |at: usize| {
            Some(u64::from_le_bytes(
                covered.get(at..at + 8)?.try_into().ok()?,
            ))
        };
        let header = Self {
            journal: covered.get(8..24)?.try_into().ok()?,
            segment: number(24)?,
            oldest: number(32)?,
            next_number: number(40)?,
            first_sequence: number(48)?,
        };
        sound.then_some(header)
    }
}

/// The name of a segment's file.
pub fn name(segment: u64) -> String {
    format!("{segment:016x}.log")
}

/// The segment that a file of this name is.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let segment = u64::from_str_radix(digits, 16).ok()?;
    (self::name(segment) == name).then_some(segment)
}

/// The length of a whole record with a body of this length.
pub fn record_len(body_len: usize) -> usize {
    (HEAD_LEN + body_len).next_multiple_of(ALIGN.into())
}

/// Frames the records of one segment.
#[derive(Debug, Clone, Copy)]
pub struct Framer {
    seed: u32,
}

impl Framer {
    /// For the segment of this journal.
    pub fn new(journal: &JournalId, segment: u64) -> Self {
        Self {
            seed: crc32c::crc32c_append(crc32c::crc32c(journal), &segment.to_le_bytes()),
        }
    }

    /// Appends a record to `out`, which will stand at `start` in the segment. The segment is
    /// lasting up to `base`.
    pub fn append(
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
        crc32c::crc32c_append(
            crc32c::crc32c_append(self.seed, &offset.to_le_bytes()),
            covered,
        )
    }

    /// The record at `at` in `window`, a part of the segment that begins at `start`, if a sound one
    /// stands there.
    pub fn read(self, window: &Bytes, start: usize, at: usize) -> Option<Found> {
        let offset = start + at;
        // Looked at first: a search for the next record must not sum up half a segment at each
        // place.
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
struct Head {
    crc: u32,
    body_len: usize,
    sequence: u64,
    base: usize,
    kind: u8,
}

impl Head {
    /// The head at `at`.
    fn read(window: &[u8], at: usize) -> Option<Self> {
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
pub struct Framed {
    /// Its length, with head and padding.
    pub len: u64,
    /// Where in the segment its body ends.
    pub body_end: u64,
}

/// A record where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Where it stands in the segment.
    pub offset: usize,
    /// Its length, with head and padding.
    pub len: usize,
    /// Where its body ends.
    pub body_end: usize,
    /// Its place among all records of the journal.
    pub sequence: u64,
    /// How far the segment was synced when it was written.
    pub base: usize,
}

/// What stands in a segment at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A sound record.
    Record(Found),
    /// Bytes that are none.
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
pub struct Scan<'a> {
    framer: Framer,
    segment: &'a Bytes,
    /// Nothing was written after this segment, so its tail may be torn.
    is_last: bool,
    at: usize,
    sequence: Option<u64>,
}

impl<'a> Scan<'a> {
    /// A scan of `segment`, header included.
    pub fn new(framer: Framer, segment: &'a Bytes, is_last: bool) -> Self {
        Self::behind(
            framer,
            segment,
            is_last,
            HEADER_LEN.min(segment.len()),
            None,
        )
    }

    /// A scan that goes on at `at`, behind the record with this sequence.
    pub fn behind(
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

    /// What to make of bytes at `self.at` that are no record.
    fn judge(&mut self) -> Item {
        let offset = self.at;
        let next = self.resume(offset + usize::from(ALIGN));
        let end = next
            .as_ref()
            .map_or(self.segment.len(), |found| found.offset);
        // Whatever was written after these bytes were synced proves that they were whole once. Only
        // one batch is ever unsynced.
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

    /// Whether the heads of the records at `offset`, whose checksums are wrong, follow each other
    /// into a later batch. What a crash tore off has heads of one batch, or none.
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

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: JournalId = [7; 16];

    fn segment(batches: &[usize]) -> (Framer, Vec<u8>, Vec<usize>) {
        let header = Header {
            journal: JOURNAL,
            segment: 3,
            oldest: 2,
            next_number: 9,
            first_sequence: 100,
        };
        let framer = Framer::new(&JOURNAL, 3);
        let (mut bytes, mut sequence, mut offsets) = (header.encode().to_vec(), 100, Vec::new());
        for count in batches {
            let mut batch = Vec::new();
            for _ in 0..*count {
                offsets.push(bytes.len() + batch.len());
                let start = bytes.len() as u64;
                framer.append(
                    &Record::Replayed { number: sequence },
                    sequence,
                    (start, start),
                    &mut batch,
                );
                sequence += 1;
            }
            bytes.extend_from_slice(&batch);
        }
        (framer, bytes, offsets)
    }

    fn scan(framer: Framer, bytes: &[u8], is_last: bool) -> Vec<Item> {
        Scan::new(framer, &Bytes::copy_from_slice(bytes), is_last).collect()
    }

    fn records(items: &[Item]) -> usize {
        items
            .iter()
            .filter(|item| matches!(item, Item::Record(_)))
            .count()
    }

    #[test]
    fn header_and_records_are_read_back() {
        let (framer, bytes, offsets) = segment(&[1, 3, 2]);
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(
            (
                header.segment,
                header.oldest,
                header.next_number,
                header.first_sequence
            ),
            (3, 2, 9, 100)
        );
        let items = scan(framer, &bytes, true);
        assert_eq!(records(&items), 6);
        for (item, (sequence, offset)) in items.iter().zip((100..).zip(offsets)) {
            let Item::Record(found) = item else {
                panic!("{item:?}")
            };
            assert_eq!((found.sequence, found.offset), (sequence, offset));
        }
    }

    #[test]
    fn a_segment_cut_anywhere_loses_only_what_was_cut() {
        let (framer, bytes, offsets) = segment(&[1, 3, 2]);
        for len in 0..bytes.len() {
            let items = scan(framer, &bytes[..len], true);
            let whole = offsets
                .iter()
                .filter(|offset| **offset + record_len(8) <= len)
                .count();
            assert_eq!(records(&items), whole, "cut to {len}");
            assert!(!items.iter().any(|item| matches!(item, Item::Damage { .. })));
        }
    }

    #[test]
    fn damage_to_what_was_synced_is_told_from_a_torn_tail() {
        let (framer, bytes, offsets) = segment(&[1, 3, 2]);
        for (place, offset) in offsets.iter().enumerate() {
            let mut bad = bytes.clone();
            bad[offset + 10] ^= 1;
            let items = scan(framer, &bad, true);
            let is_torn = items.iter().any(|item| matches!(item, Item::Torn { .. }));
            assert_eq!(
                is_torn,
                place >= 4,
                "only the last batch can be torn: {place}"
            );
            assert_eq!(records(&items), if is_torn { place } else { 5 });
            let items = scan(framer, &bad, false);
            assert!(
                items.iter().any(|item| matches!(item, Item::Damage { .. })),
                "a sealed segment has no torn tail"
            );
        }
    }

    #[test]
    fn a_length_that_leads_astray_is_found_out() {
        let (framer, bytes, offsets) = segment(&[1, 1, 1, 1]);
        for length in [0_u32, 1, 9, 200, 70_000, u32::MAX] {
            let mut bad = bytes.clone();
            bad[offsets[1] + 4..offsets[1] + 8].copy_from_slice(&length.to_le_bytes());
            let items = scan(framer, &bad, true);
            assert_eq!(records(&items), 3);
            assert!(
                items.contains(&Item::Damage {
                    offset: offsets[1],
                    len: record_len(8)
                }),
                "{items:?}"
            );
        }
    }

    /// The content of a file may be a piece of a journal, even of this one.
    #[test]
    fn a_record_counts_only_in_its_own_place() {
        let (framer, bytes, offsets) = segment(&[1, 1]);
        let copied = bytes[offsets[0]..offsets[1]].to_vec();
        let moved = [&bytes[..offsets[1]], &copied, &copied].concat();
        assert_eq!(records(&scan(framer, &moved, true)), 1);
        // Its sequence and its base would do, here.
        let (_, longer, offsets) = segment(&[3]);
        let early = [&longer[..offsets[1]], &longer[offsets[2]..]].concat();
        assert_eq!(records(&scan(framer, &early, true)), 1);
        assert_eq!(records(&scan(Framer::new(&JOURNAL, 4), &bytes, true)), 0);
        assert_eq!(records(&scan(Framer::new(&[8; 16], 3), &bytes, true)), 0);
    }

    #[test]
    fn names_lead_to_segments_and_back() {
        assert_eq!(name(255), "00000000000000ff.log");
        assert_eq!(parse_name("00000000000000ff.log"), Some(255));
        for other in [
            "",
            ".log",
            "ff.log",
            "00000000000000FF.log",
            "+0000000000000ff.log",
            "00000000000000ff.log2",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (_, bytes, _) = segment(&[1]);
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), None, "bit {bit}");
        }
    }
}
