//! Reads the segments of a journal into [`Contents`].

use std::collections::HashMap;

use bytes::Bytes;

use crate::aside;
use crate::disk::{DirEntry, Disk};
use crate::error::IDENTITY;
use crate::error::{JournalError, failed};
use crate::identity::{self, Written};
use crate::journal::RESERVE;
use crate::lock::LOCK;
use crate::segment::{self, Framer, HEADER_LEN, Header, Item, JournalId, Scan};
use crate::{LOG, content};

use super::contents::{Contents, Tail};
use super::report::{Damage, Torn};
use super::segment_file::SegmentFile;

/// How many bytes of a segment are read at once: more than the longest record.
const WINDOW: usize = 1024 * 1024;

/// A long recovery writes a line to the log each time that it has read so many bytes.
const LOGGED: u64 = 1024 * 1024 * 1024;

/// A journal's directory, read and judged.
pub(super) struct Reading {
    /// The regular files of the directory, with their lengths.
    pub(super) names: HashMap<String, u64>,
    /// What `journal-id` says.
    pub(super) written: Written,
    /// What the part of `journal-id` says that a first start left behind.
    pub(super) begun: Written,
    /// Which journal this is, if anything says so.
    pub(super) id: Option<JournalId>,
    /// Nothing was ever accepted: there is no journal, or a first start did not get far.
    pub(super) is_new: bool,
    /// How many request numbers are left out on top.
    pub(super) skips: u64,
    /// The segments that are needed, oldest first.
    pub(super) segments: Vec<SegmentFile>,
    /// Segments that are not needed any more, or were never written to.
    pub(super) stale: Vec<u64>,
    /// Segments that are empty though a crash does not leave them so: what is wrong with them, and
    /// all of their bytes.
    pub(super) emptied: Vec<(u64, &'static str, Bytes)>,
    /// No segment before this one is needed.
    pub(super) oldest: u64,
    /// The youngest header that can be read.
    pub(super) youngest: Option<Header>,
    /// The first sequence of a segment that is still empty: all before it was durable when it was
    /// begun.
    pub(super) sealed: Option<u64>,
    /// The highest request number that may have been given. It outlives a pass that starts over: a
    /// number in a segment that is not needed was given, too.
    pub(super) highest: u64,
    /// Content files that no record names.
    pub(super) orphans: Vec<String>,
    /// What the last pass over the segments collected.
    pub(super) contents: Contents,
}

impl Reading {
    /// Reads the journal on `disk`; changes nothing.
    pub(super) fn of(disk: &dyn Disk) -> Result<Self, JournalError> {
        let names = regular_files(disk)?;
        let mut reading = Self {
            written: identity::read(disk, IDENTITY, names.contains_key(IDENTITY))?,
            begun: identity::read(disk, identity::PART, names.contains_key(identity::PART))?,
            names,
            id: None,
            is_new: false,
            skips: 0,
            segments: Vec::new(),
            stale: Vec::new(),
            emptied: Vec::new(),
            oldest: 0,
            youngest: None,
            sealed: None,
            highest: 0,
            orphans: Vec::new(),
            contents: Contents::default(),
        };
        reading.find_segments(disk)?;
        reading.read_segments()?;
        for (id, what, bytes) in std::mem::take(&mut reading.emptied) {
            reading.damaged(id, what, 0, &bytes);
        }
        reading.find_missing();
        reading.judge_identity();
        reading.check_contents();
        Ok(reading)
    }

    /// Reads the segments that are needed. A record can say that fewer are needed than the youngest
    /// header knew: then the reading starts over without the others.
    fn read_segments(&mut self) -> Result<(), JournalError> {
        loop {
            self.read_all()?;
            self.highest = self.highest.max(self.contents.highest);
            self.oldest = self.oldest.max(self.contents.oldest);
            if self
                .segments
                .iter()
                .all(|segment| segment.id >= self.oldest)
            {
                break;
            }
        }
        if let Some(sequence) = self.sealed.filter(|_| !self.segments.is_empty()) {
            self.contents.expect(sequence);
        }
        Ok(())
    }

    /// One pass over the segments from the oldest that is needed.
    fn read_all(&mut self) -> Result<(), JournalError> {
        self.contents = Contents::default();
        let (needed, stale): (Vec<_>, Vec<_>) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|segment| segment.id >= self.oldest);
        self.stale.extend(stale.iter().map(|segment| segment.id));
        // Once another segment was begun, everything before it was durable.
        let may_be_torn = self.sealed.is_none() && self.emptied.is_empty();
        let last = needed.last().map(|segment| segment.id);
        for segment in &needed {
            self.read_segment(segment, may_be_torn && last == Some(segment.id))?;
        }
        self.segments = needed;
        Ok(())
    }

    fn read_segment(
        &mut self,
        segment: &SegmentFile,
        may_be_torn: bool,
    ) -> Result<(), JournalError> {
        self.count(segment);
        self.contents.tail = Tail {
            proven: 0,
            sound: segment.len,
        };
        match segment.header {
            Some(header) => {
                self.highest = self.highest.max(header.next_number.saturating_sub(1));
                self.contents.expect(header.first_sequence);
            }
            None => self.damaged(segment.id, "its header", 0, &segment.read(0, HEADER_LEN)?),
        }
        let framer = Framer::new(&self.id.unwrap_or_default(), segment.id);
        let (at, sequence) = self.read_sound(segment, framer)?;
        if at as u64 >= segment.len {
            return Ok(());
        }
        // How bytes are judged that are no record depends on everything behind them.
        let bytes = segment.read(0, usize::try_from(segment.len).unwrap_or(usize::MAX))?;
        for item in Scan::behind(framer, &bytes, may_be_torn, at, sequence) {
            match item {
                Item::Record(found) => self.contents.add(found, segment.id),
                Item::Damage { offset, len } => {
                    let piece = bytes.slice(offset..offset + len);
                    self.damaged(segment.id, "records", offset, &piece);
                }
                Item::Torn { offset, len } => {
                    self.torn(segment.id, offset, bytes.slice(offset..offset + len));
                }
            }
        }
        Ok(())
    }

    /// Counts a segment, and tells the log of a long recovery how far it is.
    fn count(&mut self, segment: &SegmentFile) {
        let report = &mut self.contents.report;
        let before = report.bytes;
        report.segments += 1;
        report.bytes += segment.len;
        if report.bytes / LOGGED > before / LOGGED {
            let segments = report.segments;
            let files = self.contents.files.len();
            tracing::info!(target: LOG, segments, bytes = before, files, "reading the journal");
        }
    }

    /// Takes in the records of a segment, a window at a time, up to the first bytes that are no
    /// record. Gives where that is, or the segment's end, and the last sequence.
    fn read_sound(
        &mut self,
        segment: &SegmentFile,
        framer: Framer,
    ) -> Result<(usize, Option<u64>), JournalError> {
        let mut start = HEADER_LEN.min(usize::try_from(segment.len).unwrap_or(usize::MAX));
        let mut sequence = None;
        loop {
            let window = segment.read(start, WINDOW)?;
            let mut at = 0;
            while let Some(found) = framer.read(&window, start, at)
                && sequence.is_none_or(|last| found.sequence > last)
            {
                at += found.len;
                sequence = Some(found.sequence);
                self.contents.add(found, segment.id);
            }
            start += at;
            // A record can go on behind the window. One that begins with the window lies in it
            // whole, so that a window without a record is the end.
            if at == 0 || window.len() < WINDOW {
                return Ok((start, sequence));
            }
        }
    }

    /// Notes damage in a segment, of which a copy is to be kept.
    fn damaged(&mut self, id: u64, what: &str, offset: usize, bytes: &Bytes) {
        let aside = format!("{}{id:016x}-{offset:08x}", aside::DAMAGED);
        let (aside, is_known) = aside::place(&self.names, &aside, bytes.len() as u64);
        if !is_known {
            self.contents.aside.push((aside.clone(), bytes.clone()));
        }
        self.contents.report.damage.push(Damage {
            name: segment::name(id),
            what: what.to_owned(),
            offset: offset as u64,
            len: bytes.len() as u64,
            aside: Some(aside),
            is_known,
        });
    }

    /// Notes the torn tail of the last segment, of which a copy is to be kept.
    fn torn(&mut self, id: u64, offset: usize, bytes: Bytes) {
        let aside = format!("{}{id:016x}-{offset:08x}", aside::TORN);
        let (aside, is_known) = aside::place(&self.names, &aside, bytes.len() as u64);
        self.contents.tail.sound = offset as u64;
        self.contents.report.torn = Some(Torn {
            name: segment::name(id),
            offset: offset as u64,
            len: bytes.len() as u64,
            aside: Some(aside),
        });
        self.contents.torn = if is_known { Bytes::new() } else { bytes };
    }
}

/// The regular files of the directory, with their lengths; an error if something else has a name
/// of ours.
fn regular_files(disk: &dyn Disk) -> Result<HashMap<String, u64>, JournalError> {
    let entries = disk.list().map_err(failed("list", "the files"))?;
    let is_in_the_way = |entry: &&DirEntry| !entry.is_file && is_ours(&entry.name);
    if let Some(DirEntry { name, .. }) = entries.iter().find(is_in_the_way) {
        return Err(JournalError::NotRegular { name: name.clone() });
    }
    let files = entries.into_iter().filter(|entry| entry.is_file);
    Ok(files.map(|entry| (entry.name, entry.len)).collect())
}

/// Whether only this program makes files of this name here.
fn is_ours(name: &str) -> bool {
    let is_parsed = segment::parse_name(name).is_some()
        || content::parse_name(name).is_some()
        || content::parse_part_name(name).is_some();
    let is_named = [IDENTITY, identity::PART, RESERVE, LOCK, aside::PART].contains(&name);
    let is_aside = name.starts_with(aside::DAMAGED) || name.starts_with(aside::TORN);
    is_parsed || is_named || is_aside
}
