//! Opens a journal: finds every file that is kept, cuts a torn tail, and sets other damage aside.
//!
//! Owns what a journal's directory may hold and what to make of it. Invariant: nothing that was found is changed before all
//! of it has been read, nothing is removed that a record needs, and bytes that cannot be read are kept under a name
//! that says so, and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::brief::Brief;
use super::content;
use super::disk::{Disk, DiskFile, read_full_at, write_all_at};
use super::error::{JournalError, failed, unsynced, unsynced_names};
use super::journal::{Changes, Found, Handle, Journal, JournalConfig, Location, Spot, low};
use super::keys::Keys;
use super::paged::Paged;
use super::record::{Accepted, Content, Death, Ended, Record};
use super::segment::{self, Framer, HEADER_LEN, Header, Item, JournalId, MAGIC, Scan};

/// The file that says which journal this is.
pub const IDENTITY: &str = "journal-id";

/// After damage, request numbers go on so far behind the highest that was found: those of lost records may have been
/// given.
const SKIPPED: u64 = 1_000_000;

/// How much of a segment is read at once, in bytes: more than the longest record.
const WINDOW: usize = 1024 * 1024;

/// The log tells of a long recovery each time that so many bytes were read.
const TOLD: u64 = 1024 * 1024 * 1024;

/// What a journal held.
#[derive(Default)]
pub struct Recovered {
    /// Which journal it is.
    pub journal: JournalId,
    /// The files that wait or are dead letters, by number.
    pub files: Paged<Brief>,
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
        let len = if self.own.contains_key(&number) { 0 } else { brief.size() };
        Some(Location::new(handle, brief.spot, len))
    }

    /// How many files are dead letters.
    pub fn dead(&self) -> usize {
        self.changes.values().filter(|changes| changes.death.is_some()).count()
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
        let places = self.files.iter().map(|(number, _)| Some((number, self.location(number)?)));
        let places = places.collect::<Option<Vec<_>>>().ok_or("a file stands in no segment")?;
        let kept = |(number, back)| match back {
            super::brief::Back::File(accepted) => {
                let Changes { history, death } = self.changes.get(&number).cloned().unwrap_or_default();
                let location = self.location(number).filter(|_| matches!(accepted.content, Content::Inline(_)));
                Ok((number, Kept { accepted: Accepted { history, death, ..*accepted }, location }))
            }
            other => Err(format!("file {number}: {other:?}")),
        };
        super::brief::read_back(&self.journal, places, false).into_iter().map(kept).collect()
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
    /// How many bytes at the end were never synced: nobody was given a receipt for them.
    pub torn: u64,
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

/// Opens the journal on `disk`, or begins a new one.
pub fn open(disk: Arc<dyn Disk>, config: JournalConfig) -> Result<(Journal, Recovered), JournalError> {
    let reading = Reading::of(&*disk)?;
    let id = reading.settle_identity(&*disk)?;
    let sequence = reading.repair(&*disk)?;
    reading.into_journal(disk, config, id, sequence)
}

/// Reads the journal on `disk` and says what it holds and what is wrong with it; changes nothing.
pub fn check(disk: &dyn Disk) -> Result<Recovered, JournalError> {
    let reading = Reading::of(disk)?;
    let id = reading.id().unwrap_or_default();
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
    written_id: Option<JournalId>,
    parts: Vec<Part>,
    /// Segments that are not needed any more, or were never written to.
    stale: Vec<u64>,
    oldest: u64,
    /// The sequence with which a segment goes on that was begun when all before it was lasting, and holds nothing yet.
    sealed: Option<u64>,
    /// The sequence that the next record should have.
    sequence: Option<u64>,
    highest: u64,
    files: Paged<Brief>,
    changes: BTreeMap<u64, Changes>,
    own: BTreeMap<u64, u64>,
    keys: Keys,
    /// With the place of its record.
    ended: BTreeMap<u64, (Ended, Spot)>,
    /// How far the last segment is proven to be synced, and how far it is sound.
    tail: (u64, u64),
    orphans: Vec<String>,
    /// What is to be set aside.
    aside: Vec<(String, Bytes)>,
    report: Report,
}

impl Reading {
    fn of(disk: &dyn Disk) -> Result<Self, JournalError> {
        let entries = disk.list().map_err(failed("list", "the files"))?;
        let names: HashMap<String, u64> = entries.into_iter().map(|entry| (entry.name, entry.len)).collect();
        let mut reading = Self {
            written_id: read_identity(disk, &names)?,
            names,
            parts: Vec::new(),
            stale: Vec::new(),
            oldest: 0,
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
            report: Report::default(),
        };
        reading.find_segments(disk)?;
        reading.read_segments()?;
        reading.find_missing();
        reading.check_contents();
        Ok(reading)
    }

    /// Which journal this is, if anything says so.
    fn id(&self) -> Option<JournalId> {
        self.written_id.or_else(|| self.parts.iter().find_map(|part| part.header).map(|header| header.journal))
    }

    /// Opens the segments that are needed, in their order.
    fn find_segments(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        let mut ids: Vec<u64> = self.names.keys().filter_map(|name| segment::parse_name(name)).collect();
        ids.sort_unstable();
        for id in ids {
            self.parts.push(open_part(disk, id)?);
        }
        // A segment that holds nothing yet may be one whose beginning was never made lasting.
        while let Some(last) = self.parts.pop_if(|part| part.len <= HEADER_LEN as u64) {
            let next = last.header.map_or(0, |header| header.next_number);
            self.highest = self.highest.max(next.saturating_sub(1));
            self.written_id = self.written_id.or(last.header.map(|header| header.journal));
            self.sealed = last.header.map(|header| header.first_sequence).or(self.sealed);
            self.stale.push(last.id);
        }
        if let Some(part) =
            self.parts.iter().find(|part| part.header.is_some_and(|header| Some(header.journal) != self.id()))
        {
            return Err(JournalError::Foreign { name: segment::name(part.id) });
        }
        if !self.parts.is_empty() && self.id().is_none() {
            return Err(JournalError::NoIdentity);
        }
        let youngest = self.parts.iter().rev().find_map(|part| part.header);
        self.oldest = youngest.map_or(0, |header| header.oldest);
        Ok(())
    }

    /// Reads the segments that are needed. A record can say that fewer are than the youngest header knew: then what the
    /// others say does not count, though it was read.
    fn read_segments(&mut self) -> Result<(), JournalError> {
        loop {
            let (needed, stale): (Vec<Part>, Vec<Part>) =
                std::mem::take(&mut self.parts).into_iter().partition(|part| part.id >= self.oldest);
            self.stale.extend(stale.iter().map(|part| part.id));
            let last = needed.last().map(|part| part.id).filter(|_| self.sealed.is_none());
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
            self.report = Report::default();
        }
    }

    fn read_segment(&mut self, part: &Part, is_last: bool) -> Result<(), JournalError> {
        self.report.segments += 1;
        let before = self.report.bytes;
        self.report.bytes += part.len;
        if self.report.bytes / TOLD > before / TOLD {
            let (segments, files) = (self.report.segments, self.files.len());
            tracing::info!(segments, bytes = before, files, "reading the journal");
        }
        self.tail = (0, part.len);
        match part.header {
            Some(header) => {
                self.highest = self.highest.max(header.next_number.saturating_sub(1));
                self.expect(header.first_sequence);
            }
            None => self.damaged(part.id, "its header", 0, &read_piece(part, 0, HEADER_LEN)?),
        }
        let framer = Framer::new(&self.id().unwrap_or_default(), part.id);
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
                    self.damaged(part.id, "records", offset, &bytes.slice(offset..offset + len));
                }
                Item::Torn { offset, len } => {
                    self.report.torn = len as u64;
                    self.tail.1 = offset as u64;
                }
            }
        }
        Ok(())
    }

    /// Takes in the records of a segment piece by piece, up to the first bytes that are none. Gives where those begin,
    /// or the segment ends, and the last sequence.
    fn read_sound(&mut self, part: &Part, framer: Framer) -> Result<(usize, Option<u64>), JournalError> {
        let (mut start, mut sequence) = (HEADER_LEN.min(usize::try_from(part.len).unwrap_or(usize::MAX)), None);
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
        let spot = Spot::new(part.id, found.offset as u64, found.body_end as u64);
        match found.record {
            Record::Accepted(accepted) => self.keep(&accepted, spot),
            Record::Attempt { number, attempt, is_failure } => {
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
        self.files.contains(number).then(|| self.changes.entry(number).or_default())
    }

    fn keep(&mut self, accepted: &Accepted, spot: Spot) {
        let number = accepted.number;
        self.highest = self.highest.max(number);
        if self.ended.contains_key(&number) {
            return;
        }
        self.files.insert(number, Brief::new(&accepted.meta, spot));
        self.forget_changes(number);
        self.changes.extend(Changes::of(accepted).map(|changes| (number, changes)));
        if let Content::Own(id) = accepted.content {
            self.own.insert(number, id);
        }
        if let Some(key) = accepted.meta.key.as_deref() {
            self.keys.insert_if_later(key, number);
        }
    }

    fn end(&mut self, ended: Ended, spot: Spot) {
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
        let aside = format!("damaged-{id:016x}-{offset:08x}");
        let is_known = self.names.get(&aside) == Some(&(bytes.len() as u64));
        if !is_known {
            self.aside.push((aside.clone(), bytes.clone()));
        }
        let (offset, len, what) = (offset as u64, bytes.len() as u64, what.to_owned());
        self.report.damage.push(Damage { name, what, offset, len, aside: Some(aside), is_known });
    }

    /// Notices segments that are missing between those that are there.
    fn find_missing(&mut self) {
        let (Some(last), oldest) = (self.parts.last().map(|part| part.id), self.oldest.max(1)) else { return };
        let there: HashSet<u64> = self.parts.iter().map(|part| part.id).collect();
        for id in (oldest..last).filter(|id| !there.contains(id)).take(1000) {
            let (name, what) = (segment::name(id), "the segment is missing".to_owned());
            self.report.damage.push(Damage { name, what, offset: 0, len: 0, aside: None, is_known: false });
        }
    }

    /// Compares the content files with the records that name them.
    fn check_contents(&mut self) {
        let mut named = HashSet::new();
        for (number, id) in &self.own {
            let Some(brief) = self.files.get(*number) else { continue };
            let name = content::name(*id);
            if self.names.get(&name) != Some(&brief.size()) {
                self.report.lost_content.push(*number);
                self.changes.entry(*number).or_default().death.get_or_insert_with(|| Death {
                    at_ms: u64::from(brief.accepted_s) * 1000,
                    reason: format!("its content file {name} is missing, or has another size").into(),
                });
            }
            named.insert(name);
        }
        let is_orphan = |name: &&String| content::parse_name(name).is_some() && !named.contains(*name);
        self.orphans = self.names.keys().filter(is_orphan).cloned().collect();
        self.report.orphans = self.orphans.len();
    }

    fn next_number(&self) -> u64 {
        let is_new = |damage: &Damage| !damage.is_known;
        let Report { damage, lost_records, .. } = &self.report;
        // Damage that an earlier recovery has found lies before the numbers that it skipped.
        let skips = damage.iter().any(is_new) || (damage.is_empty() && *lost_records > 0);
        let skipped = if skips { SKIPPED } else { 0 };
        self.highest.saturating_add(1 + skipped)
    }

    /// Sees to it that the identity is written down, and gives it.
    fn settle_identity(&self, disk: &dyn Disk) -> Result<JournalId, JournalError> {
        let id = self.id().unwrap_or_else(rand::random);
        if read_identity(disk, &self.names)? != Some(id) {
            let part = format!("{IDENTITY}.part");
            let _ = disk.remove(&part);
            let digits = format!("{:032x}", u128::from_be_bytes(id));
            let text = format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()));
            let file = disk.create(&part).map_err(failed("create", &part))?;
            write_all_at(&*file, text.as_bytes(), 0).map_err(failed("write to", &part))?;
            file.sync().map_err(unsynced(&part))?;
            disk.rename(&part, IDENTITY).map_err(failed("rename", &part))?;
            disk.sync_dir().map_err(unsynced_names)?;
        }
        Ok(id)
    }

    /// Sets damage aside, cuts the torn tail, makes sure that what was read is lasting, and removes what nothing needs.
    /// Gives the sequence to go on with.
    fn repair(&self, disk: &dyn Disk) -> Result<u64, JournalError> {
        for (name, bytes) in &self.aside {
            let _ = disk.remove(name);
            let file = disk.create(name).map_err(failed("create", name))?;
            write_all_at(&*file, bytes, 0).map_err(failed("write to", name))?;
            file.sync().map_err(unsynced(name))?;
        }
        if let Some(last) = self.parts.last() {
            secure_tail(last, self.tail)?;
        }
        for id in &self.stale {
            let name = segment::name(*id);
            disk.remove(&name).map_err(failed("remove", &name))?;
        }
        // Among damage, content without a record may be all that is left of a file.
        for name in self.orphans.iter().filter(|_| self.report.is_sound()) {
            disk.remove(name).map_err(failed("remove", name))?;
        }
        disk.sync_dir().map_err(unsynced_names)?;
        Ok(self.sequence.unwrap_or(1))
    }

    fn into_journal(
        self,
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        id: JournalId,
        sequence: u64,
    ) -> Result<(Journal, Recovered), JournalError> {
        let segments = self.parts.iter().enumerate().map(|(place, part)| {
            let is_last = place + 1 == self.parts.len();
            (part.id, part.file.clone(), if is_last { self.tail.1 } else { part.len })
        });
        // A segment that held nothing gives its number to the next: a gap would be taken for a missing segment.
        let after = self.parts.last().map(|part| part.id).or(self.stale.iter().copied().max()).unwrap_or(0);
        let found = Found { id, segments: segments.collect(), after, sequence, next_number: self.next_number() };
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
        let next_number = self.next_number();
        let mut ended: Vec<Ended> = self.ended.into_values().map(|(ended, _)| ended).collect();
        ended.sort_by_key(|ended| (ended.at_ms, ended.number));
        let handle = |part: Part| (low(part.id), Handle { segment: part.id, file: part.file });
        let segments = self.parts.into_iter().map(handle).collect();
        let Self { files, changes, own, keys, report, .. } = self;
        Recovered { journal, files, changes, own, segments, keys, ended, next_number, report }
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
        header => Ok(Part { id, file, len, header }),
    }
}

/// Whether a header would be sound if its version were ours.
fn is_flipped(header: &[u8; HEADER_LEN]) -> bool {
    let mut ours = *header;
    ours.iter_mut().zip(MAGIC).for_each(|(byte, magic)| *byte = magic);
    Header::decode(&ours).is_some()
}

/// Up to `len` bytes of a segment from `start` on; fewer at its end.
fn read_piece(part: &Part, start: usize, len: usize) -> Result<Bytes, JournalError> {
    let left = usize::try_from(part.len).unwrap_or(usize::MAX).saturating_sub(start);
    let mut bytes = vec![0; left.min(len)];
    let read = read_full_at(&*part.file, &mut bytes, start as u64).map_err(failed("read", &segment::name(part.id)))?;
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Cuts what is torn off the last segment, and writes once more what nothing proves to be synced: after a sync that failed
/// it may be in memory only, where another sync would not find it.
fn secure_tail(last: &Part, (proven, sound): (u64, u64)) -> Result<(), JournalError> {
    let name = segment::name(last.id);
    last.file.set_len(sound).map_err(failed("cut", &name))?;
    let mut tail = vec![0; usize::try_from(sound.saturating_sub(proven)).unwrap_or(usize::MAX)];
    read_full_at(&*last.file, &mut tail, proven).map_err(failed("read", &name))?;
    write_all_at(&*last.file, &tail, proven).map_err(failed("write to", &name))?;
    last.file.sync().map_err(unsynced(&name))
}

/// What the identity's own file says, if it can be read.
fn read_identity(disk: &dyn Disk, names: &HashMap<String, u64>) -> Result<Option<JournalId>, JournalError> {
    if !names.contains_key(IDENTITY) {
        return Ok(None);
    }
    let file = disk.open(IDENTITY).map_err(failed("open", IDENTITY))?;
    let mut text = [0; 42];
    let read = read_full_at(&*file, &mut text, 0).map_err(failed("read", IDENTITY))?;
    let line =
        text.get(..read).and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.strip_suffix('\n'));
    let (digits, crc) = line.and_then(|line| line.split_once(' ')).unwrap_or_default();
    // What is damaged says nothing; the segments know, too.
    let is_sound = digits.len() == 32 && crc == format!("{:08x}", crc32c::crc32c(digits.as_bytes()));
    let id = u128::from_str_radix(digits, 16).ok().filter(|_| is_sound);
    Ok(id.map(u128::to_be_bytes))
}
