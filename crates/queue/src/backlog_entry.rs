//! What is kept in memory of a file whose record is read back when its turn comes, and the reading.
//!
//! Records that stand near each other are read in one piece. What is read is proven by the record's
//! checksum, as in a recovery, and must be about the file that was meant.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::read_full_at;
use super::journal::{Location, RecordPosition};
use super::record::{Accepted, Content, Meta, Record};
use super::segment::{Framer, HEAD_LEN, JournalId, KIND_AT};
use bilico_core::os_error::is_shortage;

/// How much is read at once at the most, if it is no single record, in bytes.
const STEP: u32 = 1024 * 1024;

/// Bytes that are read past rather than left out.
const GAP: u32 = 32 * 1024;

/// The least that must be known of a file to wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct BacklogEntry {
    /// Where its record stands.
    pub spot: RecordPosition,
    /// The CRC32C of its content.
    pub crc32c: u32,
    /// When it was accepted, in seconds since the beginning of 1970, UTC.
    pub accepted_s: u32,
    size_low: u32,
    size_high: u16,
}

impl BacklogEntry {
    /// What is to be kept of a file with this description at this place.
    pub fn new(meta: &Meta, spot: RecordPosition) -> Self {
        let [low @ .., _, _, _, _] = meta.size.to_le_bytes();
        Self {
            spot,
            crc32c: meta.crc32c,
            accepted_s: u32::try_from(meta.accepted_ms / 1000).unwrap_or(u32::MAX),
            size_low: u32::from_le_bytes(low),
            // No disk has a file of so many bytes.
            size_high: u16::try_from(meta.size >> 32).unwrap_or(u16::MAX),
        }
    }

    /// The size of its content in bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.size_high) << 32 | u64::from(self.size_low)
    }
}

/// A file that was read back.
#[derive(Debug)]
pub enum ReadBack {
    /// What its record says.
    File(Box<Accepted>),
    /// Its record is not what it was.
    Unreadable {
        /// Why.
        reason: String,
        /// What it seems to be, for people.
        meta: Option<Arc<Meta>>,
    },
    /// The system is short of something: nothing is wrong with it.
    NotNow(String),
}

/// Reads files back from the journal with this identity, in the order of their places. Content
/// comes as bytes of its own, or not at all.
pub fn read_back(
    journal: &JournalId,
    mut files: Vec<(u64, Location)>,
    with_content: bool,
) -> Vec<(u64, ReadBack)> {
    files.sort_unstable_by_key(|(_, location)| (location.handle().segment, location.spot().offset));
    let mut back = Vec::with_capacity(files.len());
    for run in files.chunk_by(|(_, one), (_, next)| is_near(one, next)) {
        let mut rest = run;
        while let Some((_, first)) = rest.first() {
            let start = first.spot().offset;
            let fitting = rest
                .iter()
                .take_while(|(_, next)| next.spot().end.saturating_sub(start) <= STEP)
                .count();
            let (piece, behind) = rest.split_at(fitting.max(1));
            read_run(journal, piece, with_content, &mut back);
            rest = behind;
        }
    }
    back
}

/// Whether two records stand so near to each other that they are read together.
fn is_near(one: &Location, next: &Location) -> bool {
    one.handle().segment == next.handle().segment
        && next.spot().offset.saturating_sub(one.spot().end) <= GAP
}

/// Reads files of one segment whose records stand near each other.
fn read_run(
    journal: &JournalId,
    run: &[(u64, Location)],
    with_content: bool,
    back: &mut Vec<(u64, ReadBack)>,
) {
    let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else {
        return;
    };
    let start = first.spot().offset;
    let end = last.spot().offset.saturating_add(last.spot().record_len());
    let mut bytes = vec![0; end.saturating_sub(start) as usize];
    match read_full_at(&*first.handle().file, &mut bytes, start.into()) {
        Ok(read) => {
            bytes.truncate(read);
            let (bytes, framer) = (
                Bytes::from(bytes),
                Framer::new(journal, first.handle().segment),
            );
            let read = |(number, location): &(u64, Location)| {
                (
                    *number,
                    take_out(
                        framer,
                        &bytes,
                        start,
                        *number,
                        location.spot(),
                        with_content,
                    ),
                )
            };
            back.extend(run.iter().map(read));
        }
        Err(error) if is_shortage(&error) => {
            back.extend(
                run.iter()
                    .map(|(number, _)| (*number, ReadBack::NotNow(error.to_string()))),
            );
        }
        // One bad place must not take its neighbours with it.
        Err(_) if run.len() > 1 => run
            .chunks(1)
            .for_each(|one| read_run(journal, one, with_content, back)),
        Err(error) => {
            let reason = format!("it cannot be read from the journal: {error}");
            back.extend(run.iter().map(|(number, _)| {
                (
                    *number,
                    ReadBack::Unreadable {
                        reason: reason.clone(),
                        meta: None,
                    },
                )
            }));
        }
    }
}

/// The file at `spot` in `bytes`, which begin at `start` in the segment.
fn take_out(
    framer: Framer,
    bytes: &Bytes,
    start: u32,
    number: u64,
    spot: RecordPosition,
    with_content: bool,
) -> ReadBack {
    let at = spot.offset.saturating_sub(start) as usize;
    let found = framer
        .read(bytes, start as usize, at)
        .map(|found| found.record);
    match found {
        Some(Record::Accepted(mut accepted)) if accepted.number == number => {
            if let Content::Inline(content) = &mut accepted.content {
                *content = if with_content {
                    Bytes::copy_from_slice(content)
                } else {
                    Bytes::new()
                };
            }
            ReadBack::File(accepted)
        }
        _ => {
            let meta = rescue(bytes, at, spot).filter(|accepted| accepted.number == number);
            let reason = "the content is damaged in the journal".to_owned();
            ReadBack::Unreadable {
                reason,
                meta: meta.map(|accepted| accepted.meta),
            }
        }
    }
}

/// What a record seems to say whose checksum is wrong.
fn rescue(bytes: &Bytes, at: usize, spot: RecordPosition) -> Option<Box<Accepted>> {
    let body_end = at + spot.end.saturating_sub(spot.offset) as usize;
    let record = bytes.get(at..body_end)?;
    let kind = *record.get(KIND_AT)?;
    match Record::decode(
        kind,
        &bytes.slice(at + HEAD_LEN.min(record.len())..body_end),
    )? {
        Record::Accepted(accepted) => Some(accepted),
        _ => None,
    }
}
