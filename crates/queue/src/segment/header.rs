//! The header of a segment, and the name of its file.

use bilico_core::checksum;

/// The beginning of each segment: the format, and in its last byte the format's version.
pub(crate) const MAGIC: [u8; 8] = *b"BILICOJ\x01";

/// The length of a segment's header in bytes.
pub(crate) const HEADER_LEN: usize = 64;

/// Which journal this is: 128 random bits.
pub type JournalId = [u8; 16];

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The journal.
    pub(crate) journal: JournalId,
    /// The segment's own number, from 1.
    pub(crate) segment: u64,
    /// The oldest segment that was still needed when this one was begun.
    pub(crate) oldest: u64,
    /// Every request number below this may have been given when this one was begun.
    pub(crate) next_number: u64,
    /// The sequence of its first record.
    pub(crate) first_sequence: u64,
}

impl Header {
    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
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
        out.extend_from_slice(&checksum::crc32c(&out).to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        header
    }

    /// Reads the header of a segment; `None` if it is damaged or of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = (bytes.get(..56)?, bytes.get(56..HEADER_LEN)?);
        let crc = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let sound = covered.starts_with(&MAGIC)
            && crc == checksum::crc32c(covered)
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
