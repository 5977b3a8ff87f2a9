//! [`BacklogEntry`]: the few bytes kept in memory of a file in the backlog, and how its record is
//! read back from the journal when its turn comes.
//!
//! Records near each other are read in one piece. As in a recovery, the record's checksum proves
//! what was read, and the record must be that of the file that was asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::read_full_at;
use super::journal::{Location, RecordPosition};
use super::record::{Accepted, Content, Meta, Record};
use super::segment::{Framer, HEAD_LEN, JournalId, KIND_AT};
use bilico_core::os_error::is_shortage;

/// The most bytes that are read at once; a single record may be longer.
const STEP: u32 = 1024 * 1024;

/// Up to so many bytes between two records are read along, to save a read.
const GAP: u32 = 32 * 1024;

/// What is kept in memory of a file in the backlog.
#[derive(Debug, Clone, Copy, Default)]
pub struct BacklogEntry {
    /// The place of its record.
    pub spot: RecordPosition,
    /// The CRC32C of its content.
    pub crc32c: u32,
    /// When it was accepted, in seconds since the beginning of 1970, UTC.
    pub accepted_s: u32,
    size_low: u32,
    size_high: u16,
}

impl BacklogEntry {
    /// The entry of a file whose record is at this place.
    pub fn new(meta: &Meta, spot: RecordPosition) -> Self {
        let [low @ .., _, _, _, _] = meta.size.to_le_bytes();
        Self {
            spot,
            crc32c: meta.crc32c,
            accepted_s: u32::try_from(meta.accepted_ms / 1000).unwrap_or(u32::MAX),
            size_low: u32::from_le_bytes(low),
            // No file is so large that it would be cut.
            size_high: u16::try_from(meta.size >> 32).unwrap_or(u16::MAX),
        }
    }

    /// The size of its content in bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.size_high) << 32 | u64::from(self.size_low)
    }

    /// What is said of the file if its record cannot be read.
    pub fn stand_in(&self) -> Meta {
        Meta {
            title: "?".into(),
            key: None,
            from: "?".into(),
            size: self.size(),
            crc32c: self.crc32c,
            accepted_ms: u64::from(self.accepted_s) * 1000,
        }
    }
}

/// A file that was read back.
#[derive(Debug)]
pub enum ReadBack {
    /// What its record says.
    File(Box<Accepted>),
    /// Its record is damaged.
    Unreadable {
        /// Why.
        reason: String,
        /// What the damaged record seems to say, for people; `None` if it says nothing.
        meta: Option<Arc<Meta>>,
    },
    /// The system is short of descriptors or memory: nothing is wrong with the file.
    NotNow(String),
}

/// Reads files back from the journal with this identity, in the order of their places. With
/// `with_content`, inline content is copied out of what was read; otherwise it is left out.
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

/// Whether two records are so near each other that they are read together.
fn is_near(one: &Location, next: &Location) -> bool {
    one.handle().segment == next.handle().segment
        && next.spot().offset.saturating_sub(one.spot().end) <= GAP
}

/// Reads files of one segment whose records are near each other.
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
    let last = last.spot();
    let end = last.offset.saturating_add(last.record_len());
    let mut bytes = vec![0; end.saturating_sub(start) as usize];
    match read_full_at(&*first.handle().file, &mut bytes, start.into()) {
        Ok(read) => {
            bytes.truncate(read);
            let bytes = Bytes::from(bytes);
            let framer = Framer::new(journal, first.handle().segment);
            back.extend(run.iter().map(|(number, location)| {
                let place = location.spot();
                let file = take_out(framer, &bytes, start, *number, place, with_content);
                (*number, file)
            }));
        }
        // One bad sector must not cost its neighbours.
        Err(error) if run.len() > 1 && !is_shortage(&error) => run
            .chunks(1)
            .for_each(|one| read_run(journal, one, with_content, back)),
        Err(error) => back.extend(run.iter().map(|(number, _)| (*number, unread(&error)))),
    }
}

/// What is read back of a file when reading fails.
fn unread(error: &std::io::Error) -> ReadBack {
    if is_shortage(error) {
        ReadBack::NotNow(error.to_string())
    } else {
        ReadBack::Unreadable {
            reason: format!("cannot read it from the journal: {error}"),
            meta: None,
        }
    }
}

/// The file whose record is at `spot` in `bytes`, which begin at `start` in the segment.
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

/// What a record with a wrong checksum seems to say.
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
