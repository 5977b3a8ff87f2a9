//! Opens a journal: finds every file that is kept, cuts a torn tail, and sets other damage aside.
//!
//! Owns what a journal's directory may hold and what to make of it. Invariant: nothing that was
//! found is changed before all of it has been read, nothing is removed that a record needs, and
//! bytes that cannot be read are kept under a name that says so, and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::backlog_entry::BacklogEntry;
use super::disk::{DirEntry, Disk, DiskFile, read_full_at, write_all_at};
use super::error::{JournalError, failed, unsynced, unsynced_names};
use super::identity::{self, Name, Written};
use super::journal::{
    Changes, Found, Handle, Journal, JournalConfig, Location, RESERVE, RecordPosition, low,
};
use super::keys::Keys;
use super::lock::LOCK;
use super::paged::Paged;
use super::record::{Accepted, Content, Death, Ended, Record};
use super::segment::{self, Framer, HEAD_LEN, HEADER_LEN, Header, Item, JournalId, MAGIC, Scan};
use super::{aside, content};

pub use super::identity::IDENTITY;

/// After damage, request numbers go on so far behind the highest that was found: those of lost
/// records may have been given. After an adoption, too: those of another copy of the journal may
/// have been.
pub const SKIPPED: u64 = 1_000_000;

/// How much of a segment is read at once, in bytes: more than the longest record.
const WINDOW: usize = 1024 * 1024;

/// The log tells of a long recovery each time that so many bytes were read.
const TOLD: u64 = 1024 * 1024 * 1024;

/// What a journal held.
#[derive(Default)]
pub struct Recovered {
    /// Which journal it is.
    pub journal: JournalId,
    /// What servers know it by: that, or another identity since it was adopted.
    pub known_as: JournalId,
    /// The files that wait or are dead letters, by number.
    pub files: Paged<BacklogEntry>,
    /// What was recorded of some of them since they were accepted.
    pub changes: BTreeMap<u64, Changes>,
    /// The ids of the content files of those that have one.
    pub own: BTreeMap<u64, u64>,
    /// The segments that they stand in, by the lower halves of their numbers.
    pub segments: BTreeMap<u32, Handle>,
    /// The keys of all files.
    pub keys: Keys,
    /// The files that ended and are not forgotten, in the order in which they ended.
    pub ended: Vec<Ended>,
    /// The next request number.
    pub next_number: u64,
    /// What was wrong, if anything.
    pub report: Report,
}

impl Recovered {
    /// Where a file's record stands.
    pub fn location(&self, number: u64) -> Option<Location> {
        let brief = self.files.get(number)?;
        let handle = self.segments.get(&brief.spot.segment)?.clone();
        let len = if self.own.contains_key(&number) {
            0
        } else {
            brief.size()
        };
        Some(Location::new(handle, brief.spot, len))
    }

    /// How many files are dead letters.
    pub fn dead(&self) -> usize {
        self.changes
            .values()
            .filter(|changes| changes.death.is_some())
            .count()
    }
}

/// A file as a recovery found it, read back. For tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Kept {
    /// What is known of it; its inline content is left out.
    pub(crate) accepted: Accepted,
    /// Where its inline content stands.
    pub(crate) location: Option<Location>,
}

#[cfg(test)]
impl Recovered {
    /// All files that wait or are dead letters, read back; an error if one cannot be.
    pub(crate) fn kept(&self) -> Result<BTreeMap<u64, Kept>, String> {
        let places = self
            .files
            .iter()
            .map(|(number, _)| Some((number, self.location(number)?)));
        let places = places
            .collect::<Option<Vec<_>>>()
            .ok_or("a file stands in no segment")?;
        let kept = |(number, back)| match back {
            super::backlog_entry::ReadBack::File(accepted) => {
                let Changes { history, death } =
                    self.changes.get(&number).cloned().unwrap_or_default();
                let location = self
                    .location(number)
                    .filter(|_| matches!(accepted.content, Content::Inline(_)));
                Ok((
                    number,
                    Kept {
                        accepted: Accepted {
                            history,
                            death,
                            ..*accepted
                        },
                        location,
                    },
                ))
            }
            other => Err(format!("file {number}: {other:?}")),
        };
        super::backlog_entry::read_back(&self.journal, places, false)
            .into_iter()
            .map(kept)
            .collect()
    }
}

/// The state of a journal's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many segments there are.
    pub segments: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many sound records.
    pub records: u64,
    /// Bytes at the end that were never synced, if there are any: nobody was given a receipt for
    /// them.
    pub torn: Option<Torn>,
    /// What was lasting once, and cannot be read.
    pub damage: Vec<Damage>,
    /// How many records are missing between those that were found.
    pub lost_records: u64,
    /// Files whose own content is missing or has another size.
    pub lost_content: Vec<u64>,
    /// Content files that no record names.
    pub orphans: usize,
}

impl Report {
    /// Whether all that was ever lasting was found.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lost_records == 0 && self.lost_content.is_empty()
    }
}

/// Bytes at the end of the last segment that were never synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub name: String,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
    /// The file that a copy of them is in; `None` if there was no room for one.
    pub aside: Option<String>,
}

/// Bytes that were lasting once, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file they are in.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
    /// The file that a copy of them is in.
    pub aside: Option<String>,
    /// Whether an earlier recovery had found them, too.
    pub is_known: bool,
}

impl Damage {
    /// Whether records may be lost with it.
    fn is_of_records(&self) -> bool {
        segment::parse_name(&self.name).is_some()
    }
}

/// Opens the journal on `disk`, or begins a new one.
#[expect(clippy::needless_pass_by_value, reason = "the journal keeps the disk")]
pub fn open(
    disk: Arc<dyn Disk>,
    config: JournalConfig,
) -> Result<(Journal, Recovered), JournalError> {
    let reading = Reading::of(&*disk)?;
    if reading.written.name == Name::Lost {
        return Err(JournalError::NameLost);
    }
    reading.go_on(&disk, config)
}

/// Gives the journal on `disk` a new identity for servers, and skips request numbers. `None` if
/// there is no journal. To be done again if it fails.
#[expect(clippy::needless_pass_by_value, reason = "the journal keeps the disk")]
pub fn adopt(
    disk: Arc<dyn Disk>,
    config: JournalConfig,
) -> Result<Option<Recovered>, JournalError> {
    let mut reading = Reading::of(&*disk)?;
    if reading.is_new {
        return Ok(None);
    }
    reading.skips = SKIPPED;
    if reading.written.name == Name::Lost {
        reading.written.name = Name::Own;
    }
    let (_, mut recovered) = reading.go_on(&disk, config)?;
    // Now that the numbers are skipped for good: no server may hear the new name with an old
    // number.
    recovered.known_as = rand::random();
    identity::write(&*disk, recovered.journal, Name::Other(recovered.known_as))?;
    Ok(Some(recovered))
}

/// Whether a journal is, or was, on `disk`.
pub fn is_journal(disk: &dyn Disk) -> std::io::Result<bool> {
    let is_of_one =
        |entry: &DirEntry| entry.name == IDENTITY || segment::parse_name(&entry.name).is_some();
    Ok(disk.list()?.iter().any(is_of_one))
}

/// Reads the journal on `disk`, large contents too, and says what it holds and what is wrong with
/// it; changes nothing.
pub fn check(disk: &dyn Disk) -> Result<Recovered, JournalError> {
    let mut reading = Reading::of(disk)?;
    reading.read_contents(disk)?;
    let id = reading.id.unwrap_or_default();
    Ok(reading.into_recovered(id))
}

/// A segment that was read.
struct Part {
    id: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    header: Option<Header>,
}

/// What is made of a journal's directory.
struct Reading {
    names: HashMap<String, u64>,
    /// What `journal-id` says, and the part that a first start has left.
    written: Written,
    part: Written,
    /// Which journal this is, if anything says so.
    id: Option<JournalId>,
    /// Nothing was ever accepted: there is no journal, or a first start did not get far.
    is_new: bool,
    /// How many request numbers are left out on top.
    skips: u64,
    parts: Vec<Part>,
    /// Segments that are not needed any more, or were never written to.
    stale: Vec<u64>,
    /// Segments that hold nothing, and that a crash has not left like that: what is wrong with
    /// them, and all of their bytes.
    emptied: Vec<(u64, &'static str, Bytes)>,
    oldest: u64,
    /// The youngest header that can be read.
    youngest: Option<Header>,
    /// The sequence with which a segment goes on that was begun when all before it was lasting, and
    /// holds nothing yet.
    sealed: Option<u64>,
    /// The sequence that the next record should have.
    sequence: Option<u64>,
    highest: u64,
    files: Paged<BacklogEntry>,
    changes: BTreeMap<u64, Changes>,
    own: BTreeMap<u64, u64>,
    keys: Keys,
    /// With the place of its record.
    ended: BTreeMap<u64, (Ended, RecordPosition)>,
    /// How far the last segment is proven to be synced, and how far it is sound.
    tail: (u64, u64),
    orphans: Vec<String>,
    /// What is to be set aside.
    aside: Vec<(String, Bytes)>,
    torn: Bytes,
    report: Report,
}

impl Reading {
    fn of(disk: &dyn Disk) -> Result<Self, JournalError> {
        let entries = disk.list().map_err(failed("list", "the files"))?;
        if let Some(DirEntry { name, .. }) = entries
            .iter()
            .find(|entry| !entry.is_file && is_ours(&entry.name))
        {
            return Err(JournalError::NotRegular { name: name.clone() });
        }
        let files = entries.into_iter().filter(|entry| entry.is_file);
        let names: HashMap<String, u64> = files.map(|entry| (entry.name, entry.len)).collect();
        let mut reading = Self {
            written: identity::read(disk, IDENTITY, names.contains_key(IDENTITY))?,
            part: identity::read(disk, identity::PART, names.contains_key(identity::PART))?,
            names,
            id: None,
            is_new: false,
            skips: 0,
            parts: Vec::new(),
            stale: Vec::new(),
            emptied: Vec::new(),
            oldest: 0,
            youngest: None,
            sealed: None,
            sequence: None,
            highest: 0,
            files: Paged::default(),
            changes: BTreeMap::new(),
            own: BTreeMap::new(),
            keys: Keys::default(),
            ended: BTreeMap::new(),
            tail: (0, 0),
            orphans: Vec::new(),
            aside: Vec::new(),
            torn: Bytes::new(),
            report: Report::default(),
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

    /// Opens the segments that are needed, in their order.
    fn find_segments(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        let mut ids: Vec<u64> = self
            .names
            .keys()
            .filter_map(|name| segment::parse_name(name))
            .collect();
        ids.sort_unstable();
        for id in ids {
            self.parts.push(open_part(disk, id)?);
        }
        self.settle_identity()?;
        while let Some(last) = self.parts.pop_if(|part| part.len <= HEADER_LEN as u64) {
            self.pass_over(&last)?;
        }
        self.youngest = self
            .youngest
            .or(self.parts.iter().rev().find_map(|part| part.header));
        self.oldest = self.youngest.map_or(0, |header| header.oldest);
        Ok(())
    }

    /// Takes in a segment that holds nothing, and comes behind all that do. It may be one whose
    /// beginning was never made lasting.
    fn pass_over(&mut self, part: &Part) -> Result<(), JournalError> {
        let bytes = read_piece(part, 0, HEADER_LEN)?;
        // A crash leaves all of a header, or nothing of its beginning or of its end.
        let is_there = |at: std::ops::Range<usize>| {
            bytes
                .get(at)
                .is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
        };
        let is_damaged = part.header.is_none() && is_there(0..8) && is_there(56..HEADER_LEN);
        let same = |youngest: Header| {
            part.header
                .is_some_and(|header| header.first_sequence == youngest.first_sequence)
        };
        let had_records = self
            .youngest
            .is_some_and(|youngest| youngest.oldest <= part.id && !same(youngest));
        if had_records {
            self.emptied.push((part.id, "what it held is gone", bytes));
        } else if is_damaged {
            self.emptied.push((part.id, "its header", bytes));
        }
        if let Some(header) = part.header {
            self.highest = self.highest.max(header.next_number.saturating_sub(1));
            self.sealed = Some(header.first_sequence);
            self.youngest = self.youngest.or(Some(header));
        }
        self.stale.push(part.id);
        Ok(())
    }

    /// Finds out which journal this is before any record is read, as their checksums depend on it:
    /// from `journal-id`, and where that is missing or damaged, from the headers of the segments.
    /// All that say so must say the same.
    fn settle_identity(&mut self) -> Result<(), JournalError> {
        let has_file = self.written.bytes.is_some();
        let part = self.part.id.filter(|_| !has_file);
        let told = self
            .parts
            .iter()
            .find_map(|part| part.header)
            .map(|header| header.journal);
        self.id = self.written.id.or(part).or(told);
        let is_foreign = |part: &&Part| {
            part.header
                .is_some_and(|header| Some(header.journal) != self.id)
        };
        if let Some(part) = self.parts.iter().find(is_foreign) {
            return Err(JournalError::Foreign {
                name: segment::name(part.id),
            });
        }
        let has_records = self.parts.iter().any(|part| part.len > HEADER_LEN as u64);
        let is_left = |name: &&String| *name == IDENTITY || content::parse_name(name).is_some();
        if told.is_none() && !has_records {
            self.is_new = true;
            let left = self.names.keys().filter(is_left).max();
            return left.map_or(Ok(()), |left| {
                Err(JournalError::SegmentsGone { left: left.clone() })
            });
        }
        // A first start that did not get to name the part has not accepted anything either.
        self.is_new = part.is_some() && !has_records;
        if self.id.is_none() {
            Err(JournalError::NoIdentity)
        } else {
            Ok(())
        }
    }

    /// Tells of a `journal-id` that is not what it was. The segments know the same, but for what
    /// servers know the journal by.
    fn judge_identity(&mut self) {
        let what = match (&self.written, self.is_new) {
            (_, true) => return,
            (Written { bytes: None, .. }, _) => {
                "it is missing: the segments tell which journal this is, but not whether it was adopted"
            }
            (Written { id: None, .. }, _) => "the segments tell which journal this is",
            (
                Written {
                    name: Name::Lost, ..
                },
                _,
            ) => "its second line said what servers know the journal by",
            _ => return,
        };
        let bytes = self.written.bytes.clone();
        let len = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let aside = bytes.map(|bytes| {
            let name = aside::free_place(&self.names, &format!("{}{IDENTITY}", aside::DAMAGED));
            self.aside.push((name.clone(), bytes));
            name
        });
        let (name, what) = (IDENTITY.to_owned(), what.to_owned());
        self.report.damage.push(Damage {
            name,
            what,
            offset: 0,
            len,
            aside,
            is_known: false,
        });
    }

    /// Reads the segments that are needed. A record can say that fewer are than the youngest header
    /// knew: then what the others say does not count, though it was read.
    fn read_segments(&mut self) -> Result<(), JournalError> {
        loop {
            let (needed, stale): (Vec<Part>, Vec<Part>) = std::mem::take(&mut self.parts)
                .into_iter()
                .partition(|part| part.id >= self.oldest);
            self.stale.extend(stale.iter().map(|part| part.id));
            // Once another segment was begun, all before it was lasting.
            let last = needed
                .last()
                .map(|part| part.id)
                .filter(|_| self.sealed.is_none() && self.emptied.is_empty());
            for part in &needed {
                self.read_segment(part, last == Some(part.id))?;
            }
            self.parts = needed;
            if self.parts.iter().all(|part| part.id >= self.oldest) {
                if let Some(sequence) = self.sealed.filter(|_| !self.parts.is_empty()) {
                    self.expect(sequence);
                }
                return Ok(());
            }
            self.sequence = None;
            self.files = Paged::default();
            self.changes.clear();
            self.own.clear();
            self.keys = Keys::default();
            self.ended.clear();
            self.aside.clear();
            self.torn = Bytes::new();
            self.report = Report::default();
        }
    }

    fn read_segment(&mut self, part: &Part, is_last: bool) -> Result<(), JournalError> {
        self.report.segments += 1;
        let before = self.report.bytes;
        self.report.bytes += part.len;
        if self.report.bytes / TOLD > before / TOLD {
            let (segments, files) = (self.report.segments, self.files.len());
            tracing::info!(target: crate::LOG, segments, bytes = before, files, "reading the journal");
        }
        self.tail = (0, part.len);
        match part.header {
            Some(header) => {
                self.highest = self.highest.max(header.next_number.saturating_sub(1));
                self.expect(header.first_sequence);
            }
            None => self.damaged(part.id, "its header", 0, &read_piece(part, 0, HEADER_LEN)?),
        }
        let framer = Framer::new(&self.id.unwrap_or_default(), part.id);
        let (at, sequence) = self.read_sound(part, framer)?;
        if at as u64 >= part.len {
            return Ok(());
        }
        // What to make of bytes that are no record takes a look at all that stand behind them.
        let bytes = read_piece(part, 0, usize::try_from(part.len).unwrap_or(usize::MAX))?;
        for item in Scan::behind(framer, &bytes, is_last, at, sequence) {
            match item {
                Item::Record(found) => self.note(found, part),
                Item::Damage { offset, len } => {
                    self.damaged(
                        part.id,
                        "records",
                        offset,
                        &bytes.slice(offset..offset + len),
                    );
                }
                Item::Torn { offset, len } => {
                    self.torn(part.id, offset, bytes.slice(offset..offset + len));
                }
            }
        }
        Ok(())
    }

    /// Takes in the records of a segment piece by piece, up to the first bytes that are none. Gives
    /// where those begin, or the segment ends, and the last sequence.
    fn read_sound(
        &mut self,
        part: &Part,
        framer: Framer,
    ) -> Result<(usize, Option<u64>), JournalError> {
        let (mut start, mut sequence) = (
            HEADER_LEN.min(usize::try_from(part.len).unwrap_or(usize::MAX)),
            None,
        );
        loop {
            let window = read_piece(part, start, WINDOW)?;
            let mut at = 0;
            while let Some(found) = framer.read(&window, start, at)
                && sequence.is_none_or(|last| found.sequence > last)
            {
                at += found.len;
                sequence = Some(found.sequence);
                self.note(found, part);
            }
            start += at;
            // A record may go on behind the window. One that begins with it lies in it whole.
            if at == 0 || window.len() < WINDOW {
                return Ok((start, sequence));
            }
        }
    }

    /// Counts the records that are missing before this sequence.
    fn expect(&mut self, sequence: u64) {
        let expected = self.sequence.unwrap_or(sequence);
        self.report.lost_records += sequence.saturating_sub(expected);
        self.sequence = Some(sequence.max(expected));
    }

    /// Takes in what a record says.
    fn note(&mut self, found: segment::Found, part: &Part) {
        self.expect(found.sequence);
        self.sequence = Some(found.sequence + 1);
        self.tail.0 = self.tail.0.max(found.base as u64);
        self.report.records += 1;
        let spot = RecordPosition::new(part.id, found.offset as u64, found.body_end as u64);
        match found.record {
            Record::Accepted(accepted) => self.keep(&accepted, spot),
            Record::Attempt {
                number,
                attempt,
                is_failure,
            } => {
                if let Some(changes) = self.changes(number) {
                    changes.history.add(attempt, is_failure);
                }
            }
            Record::Ended(ended) => self.end(*ended, spot),
            Record::Dead { number, death } => {
                if let Some(changes) = self.changes(number) {
                    changes.death = Some(death);
                }
            }
            Record::Replayed { number } => {
                if let Some(changes) = self.changes(number) {
                    *changes = Changes::default();
                }
            }
            Record::Oldest { segment } => self.oldest = self.oldest.max(segment.min(part.id)),
            Record::Mark => {}
        }
    }

    /// What was recorded of a file beside its record.
    fn changes(&mut self, number: u64) -> Option<&mut Changes> {
        self.files
            .contains(number)
            .then(|| self.changes.entry(number).or_default())
    }

    fn keep(&mut self, accepted: &Accepted, spot: RecordPosition) {
        let number = accepted.number;
        self.highest = self.highest.max(number);
        if self.ended.contains_key(&number) {
            return;
        }
        self.files
            .insert(number, BacklogEntry::new(&accepted.meta, spot));
        self.forget_changes(number);
        self.changes
            .extend(Changes::of(accepted).map(|changes| (number, changes)));
        if let Content::Own(id) = accepted.content {
            self.own.insert(number, id);
        }
        if let Some(key) = accepted.meta.key.as_deref() {
            self.keys.insert_if_later(key, number);
        }
    }

    fn end(&mut self, ended: Ended, spot: RecordPosition) {
        let number = ended.number;
        self.highest = self.highest.max(number);
        self.files.remove(number);
        self.forget_changes(number);
        if let Some(key) = ended.meta.key.as_deref() {
            self.keys.insert_if_later(key, number);
        }
        self.ended.insert(number, (ended, spot));
    }

    fn forget_changes(&mut self, number: u64) {
        self.changes.remove(&number);
        self.own.remove(&number);
    }

    fn damaged(&mut self, id: u64, what: &str, offset: usize, bytes: &Bytes) {
        let name = segment::name(id);
        let aside = format!("{}{id:016x}-{offset:08x}", aside::DAMAGED);
        let (aside, is_known) = aside::place(&self.names, &aside, bytes.len() as u64);
        if !is_known {
            self.aside.push((aside.clone(), bytes.clone()));
        }
        let (offset, len, what) = (offset as u64, bytes.len() as u64, what.to_owned());
        self.report.damage.push(Damage {
            name,
            what,
            offset,
            len,
            aside: Some(aside),
            is_known,
        });
    }

    fn torn(&mut self, id: u64, offset: usize, bytes: Bytes) {
        let aside = format!("{}{id:016x}-{offset:08x}", aside::TORN);
        let (aside, is_known) = aside::place(&self.names, &aside, bytes.len() as u64);
        let (name, offset, len) = (segment::name(id), offset as u64, bytes.len() as u64);
        self.tail.1 = offset;
        self.report.torn = Some(Torn {
            name,
            offset,
            len,
            aside: Some(aside),
        });
        self.torn = if is_known { Bytes::new() } else { bytes };
    }

    /// Notices segments that are missing between those that are there.
    fn find_missing(&mut self) {
        let youngest = self.youngest.map(|header| header.segment);
        let Some(last) = self.parts.last().map(|part| part.id).max(youngest) else {
            return;
        };
        let oldest = self.oldest.max(1);
        let there: HashSet<u64> = self
            .parts
            .iter()
            .map(|part| part.id)
            .chain(self.stale.iter().copied())
            .collect();
        for id in (oldest..last).filter(|id| !there.contains(id)).take(1000) {
            let (name, what) = (segment::name(id), "the segment is missing".to_owned());
            self.report.damage.push(Damage {
                name,
                what,
                offset: 0,
                len: 0,
                aside: None,
                is_known: false,
            });
        }
    }

    /// Compares the content files with the records that name them.
    fn check_contents(&mut self) {
        let mut named = HashSet::new();
        for (number, id) in &self.own {
            let Some(brief) = self.files.get(*number) else {
                continue;
            };
            let name = content::name(*id);
            if self.names.get(&name) != Some(&brief.size()) {
                self.report.lost_content.push(*number);
                self.changes
                    .entry(*number)
                    .or_default()
                    .death
                    .get_or_insert_with(|| Death {
                        at_ms: u64::from(brief.accepted_s) * 1000,
                        reason: format!("its content file {name} is missing, or has another size")
                            .into(),
                    });
            }
            named.insert(name);
        }
        let is_orphan =
            |name: &&String| content::parse_name(name).is_some() && !named.contains(*name);
        self.orphans = self.names.keys().filter(is_orphan).cloned().collect();
        self.report.orphans = self.orphans.len();
    }

    /// Reads the content files whose size is right, and compares them with the checksums of their
    /// files.
    fn read_contents(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        for (number, id) in &self.own {
            let (name, brief) = (content::name(*id), self.files.get(*number));
            let Some(brief) = brief.filter(|brief| self.names.get(&name) == Some(&brief.size()))
            else {
                continue;
            };
            let file = match disk.open(&name) {
                // A balancer that runs has delivered it meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("open", &name))?,
            };
            if content::sum(&*file, brief.size()).map_err(failed("read", &name))?
                != Some(brief.crc32c)
            {
                let what = format!("the content of file {number} is not what was accepted");
                let len = brief.size();
                self.report.damage.push(Damage {
                    name,
                    what,
                    offset: 0,
                    len,
                    aside: None,
                    is_known: false,
                });
            }
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        let mut damage = self
            .report
            .damage
            .iter()
            .filter(|damage| damage.is_of_records())
            .peekable();
        let has_none = damage.peek().is_none();
        // Damage that an earlier recovery has found lies before the numbers that it skipped.
        let skips =
            damage.any(|damage| !damage.is_known) || (has_none && self.report.lost_records > 0);
        let skipped = if skips { SKIPPED } else { 0 };
        // As many records a torn tail can have held: if it was damage after all, its numbers are
        // known to servers.
        let torn = self
            .report
            .torn
            .as_ref()
            .map_or(0, |torn| torn.len / HEAD_LEN as u64);
        self.highest
            .saturating_add(1 + skipped)
            .saturating_add(torn)
            .saturating_add(self.skips)
    }

    /// Repairs what was found, and goes on behind it. The order tells, after a crash, a first start
    /// from a journal that has lost something: a part, then a segment, then the part's name; and a
    /// segment that holds nothing goes last if no other is there.
    fn go_on(
        mut self,
        disk: &Arc<dyn Disk>,
        config: JournalConfig,
    ) -> Result<(Journal, Recovered), JournalError> {
        let id = self.id.unwrap_or_else(rand::random);
        let (is_new, is_written) = (self.is_new, self.written.id.is_some());
        if is_new {
            identity::begin(&**disk, id, &self.part)?;
        }
        self.set_aside(&**disk)?;
        if !is_new && !is_written {
            identity::write(&**disk, id, self.written.name)?;
        }
        self.repair(&**disk)?;
        let stale = std::mem::take(&mut self.stale);
        let remove_stale = |disk: &dyn Disk| {
            let mut names = stale.iter().map(|id| segment::name(*id));
            names.try_for_each(|name| disk.remove(&name).map_err(failed("remove", &name)))?;
            disk.sync_dir().map_err(unsynced_names)
        };
        // A segment that held nothing gives its number to the next: a gap would be taken for a
        // missing segment.
        let last = self.parts.last().map(|part| part.id);
        let after = last.or(stale.iter().copied().max()).unwrap_or(0);
        if last.is_some() && !stale.is_empty() {
            remove_stale(&**disk)?;
        }
        let opened = self.into_journal(disk.clone(), config, id, after)?;
        if last.is_none() && !stale.is_empty() {
            remove_stale(&**disk)?;
        }
        if is_new {
            identity::name_part(&**disk)?;
        }
        Ok(opened)
    }

    /// Keeps copies of what is damaged or torn.
    fn set_aside(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        for (name, bytes) in &self.aside {
            aside::keep(disk, name, bytes)?;
        }
        if !self.aside.is_empty() {
            disk.sync_dir().map_err(unsynced_names)?;
        }
        if let Some(Torn {
            aside: place @ Some(_),
            ..
        }) = &mut self.report.torn
            && !self.torn.is_empty()
        {
            let name = place.take().unwrap_or_default();
            *place = aside::keep_torn(disk, &self.names, &name, &self.torn)?.then_some(name);
        }
        Ok(())
    }

    /// Cuts the torn tail, makes sure that what was read is lasting, and removes content that
    /// nothing needs.
    fn repair(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        if let Some(last) = self.parts.last() {
            secure_tail(last, self.tail)?;
        }
        // Among damage, content without a record may be all that is left of a file.
        for name in self.orphans.iter().filter(|_| self.report.is_sound()) {
            disk.remove(name).map_err(failed("remove", name))?;
        }
        disk.sync_dir().map_err(unsynced_names)
    }

    fn into_journal(
        self,
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        id: JournalId,
        after: u64,
    ) -> Result<(Journal, Recovered), JournalError> {
        let segments = self.parts.iter().enumerate().map(|(place, part)| {
            let is_last = place + 1 == self.parts.len();
            (
                part.id,
                part.file.clone(),
                if is_last { self.tail.1 } else { part.len },
            )
        });
        let (segments, sequence) = (segments.collect(), self.sequence.unwrap_or(1));
        let found = Found {
            id,
            segments,
            after,
            sequence,
            next_number: self.next_number(),
        };
        let mut journal = Journal::new(disk, config, found)?;
        for (number, brief) in self.files.iter() {
            journal.add_file(number, brief.spot);
        }
        journal.add_changes(self.changes.clone(), self.own.clone());
        for (number, (_, spot)) in &self.ended {
            journal.add_ended(*number, *spot);
        }
        journal.begin()?;
        Ok((journal, self.into_recovered(id)))
    }

    fn into_recovered(self, journal: JournalId) -> Recovered {
        let (next_number, known_as) = (self.next_number(), self.written.name.of(journal));
        let mut ended: Vec<Ended> = self.ended.into_values().map(|(ended, _)| ended).collect();
        ended.sort_by_key(|ended| (ended.at_ms, ended.number));
        let handle = |part: Part| {
            (
                low(part.id),
                Handle {
                    segment: part.id,
                    file: part.file,
                },
            )
        };
        let segments = self.parts.into_iter().map(handle).collect();
        let Self {
            files,
            changes,
            own,
            keys,
            report,
            ..
        } = self;
        Recovered {
            journal,
            known_as,
            files,
            changes,
            own,
            segments,
            keys,
            ended,
            next_number,
            report,
        }
    }
}

fn open_part(disk: &dyn Disk, id: u64) -> Result<Part, JournalError> {
    let name = segment::name(id);
    let file = disk.open(&name).map_err(failed("open", &name))?;
    let len = file.len().map_err(failed("read", &name))?;
    let mut bytes = [0; HEADER_LEN];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(failed("read", &name))?;
    let header = Header::decode(bytes.get(..read).unwrap_or_default());
    if header.is_none()
        // What was cut shorter says nothing of its version.
        && read == HEADER_LEN
        && let [magic @ .., version] = bytes.first_chunk::<8>().copied().unwrap_or_default()
        && MAGIC.starts_with(&magic)
        && MAGIC.last() != Some(&version)
        // A flipped bit in the version is damage: then the checksum is that of our version.
        && !is_flipped(&bytes)
    {
        return Err(JournalError::Version { name, version });
    }
    // What says that it is another segment was copied here.
    match header {
        Some(header) if header.segment != id => Err(JournalError::Foreign { name }),
        header => Ok(Part {
            id,
            file,
            len,
            header,
        }),
    }
}

/// Whether a header would be sound if its version were ours.
fn is_flipped(header: &[u8; HEADER_LEN]) -> bool {
    let mut ours = *header;
    ours.iter_mut()
        .zip(MAGIC)
        .for_each(|(byte, magic)| *byte = magic);
    Header::decode(&ours).is_some()
}

/// Up to `len` bytes of a segment from `start` on; fewer at its end.
fn read_piece(part: &Part, start: usize, len: usize) -> Result<Bytes, JournalError> {
    let left = usize::try_from(part.len)
        .unwrap_or(usize::MAX)
        .saturating_sub(start);
    let mut bytes = vec![0; left.min(len)];
    let read = read_full_at(&*part.file, &mut bytes, start as u64)
        .map_err(failed("read", &segment::name(part.id)))?;
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Cuts what is torn off the last segment, and writes once more what nothing proves to be synced:
/// after a sync that failed it may be in memory only, where another sync would not find it.
fn secure_tail(last: &Part, (proven, sound): (u64, u64)) -> Result<(), JournalError> {
    let name = segment::name(last.id);
    last.file.set_len(sound).map_err(failed("cut", &name))?;
    let mut tail = vec![0; usize::try_from(sound.saturating_sub(proven)).unwrap_or(usize::MAX)];
    read_full_at(&*last.file, &mut tail, proven).map_err(failed("read", &name))?;
    write_all_at(&*last.file, &tail, proven).map_err(failed("write to", &name))?;
    last.file.sync().map_err(unsynced(&name))
}

/// Whether only this program makes files of this name here.
fn is_ours(name: &str) -> bool {
    let parsed = segment::parse_name(name).is_some() || content::parse_name(name).is_some();
    let named = [IDENTITY, identity::PART, RESERVE, LOCK, aside::PART].contains(&name);
    let set_aside = name.starts_with(aside::DAMAGED) || name.starts_with(aside::TORN);
    parsed || named || set_aside || content::parse_part_name(name).is_some()
}
