//! The journal: what is written, when it is lasting, and how room is given back.
//!
//! Operations are appended to a batch; [`Journal::commit`] writes the batch and syncs it, and only
//! what is committed counts. Space is given back from the oldest end: when enough of the journal is
//! garbage, what is still needed of the oldest segment is written again at the newest end, a
//! bounded piece with each batch, and the segment is removed. One old file that waits for ever so
//! costs no more than its own bytes.
//!
//! Invariant: a segment is removed only when all that is needed of it is lasting elsewhere, and
//! never before an older one, so that the record of a delivery outlives every copy of the file that
//! it is about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::content;
use super::disk::{Disk, DiskFile, FileId, Space, read_full_at, write_all_at};
use super::error::{JournalError, failed, unsynced, unsynced_names};
use super::paged::Paged;
use super::record::{Accepted, Attempt, Content, Death, Ended, History, Record};
use super::segment::{self, Framer, HEADER_LEN, Header, JournalId, MAX_BATCH, MAX_BODY};
use bilico_core::durability::Durability;

/// The file whose room is kept back for a disk that others fill.
pub(super) const RESERVE: &str = "reserve";

/// How much of a segment is looked at in one step of cleaning, in bytes: the longest record fits in
/// twice.
const WINDOW: usize = 2 * (MAX_BODY + 64);

/// More small segments than this are merged, whatever they hold.
const MANY: usize = 16;

/// How a journal is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct JournalConfig {
    /// When a receipt may be given.
    pub durability: Durability,
    /// How long a segment gets, in bytes; `None` takes a sixteenth of the disk, from 1 MiB to 64
    /// MiB.
    pub segment_size: Option<u64>,
}

/// The bounds of a segment's size, in bytes.
pub const SEGMENT_SIZES: std::ops::RangeInclusive<u64> = 1024 * 1024..=1024 * 1024 * 1024;

/// Segments this short make a test's journal rotate and clean within a few records.
const SHORTEST: u64 = if cfg!(test) {
    1024
} else {
    *SEGMENT_SIZES.start()
};

/// The largest segment that is chosen by itself.
const USUAL_SEGMENT: u64 = 64 * 1024 * 1024;

/// Something that is to be recorded.
#[derive(Debug)]
pub enum Op {
    /// A file is accepted.
    Accept(Box<Accepted>),
    /// A file came back from a server.
    Attempt {
        /// Its request number.
        number: u64,
        /// The delivery that failed.
        attempt: Attempt,
        /// Whether that was the file's own fault.
        is_failure: bool,
    },
    /// A file was delivered, or thrown away.
    End(Box<Ended>),
    /// A file is a dead letter.
    Bury {
        /// Its request number.
        number: u64,
        /// Why.
        death: Death,
    },
    /// A dead letter waits again.
    Replay {
        /// Its request number.
        number: u64,
    },
    /// These files ended long ago: nothing of them is needed any more.
    Forget(Vec<u64>),
}

/// Where a file's record stands, and its content in it if that is inline.
#[derive(Clone)]
pub struct Location {
    handle: Handle,
    spot: RecordPosition,
    /// The length of its inline content, which ends its body.
    len: u32,
}

/// A segment that can be read, also when it was removed.
#[derive(Clone)]
pub struct Handle {
    /// Its number.
    pub segment: u64,
    /// Its bytes.
    pub file: Arc<dyn DiskFile>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("segment", &self.segment)
            .finish_non_exhaustive()
    }
}

/// A place in the journal, without the handle to read it.
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
    /// The spot of a record; one beyond what a segment can have is nowhere.
    pub(super) fn new(segment: u64, offset: u64, body_end: u64) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            segment: low(segment),
            offset: narrow(offset),
            end: narrow(body_end),
        }
    }

    /// The length of the record, with head and padding.
    pub fn record_len(self) -> u32 {
        self.end.saturating_sub(self.offset).next_multiple_of(ALIGN)
    }
}

/// Records begin at multiples of this many bytes.
const ALIGN: u32 = segment::ALIGN as u32;

/// The lower half of a segment's number: those of all segments that are there at once differ.
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of it is what is wanted"
)]
pub(super) fn low(segment: u64) -> u32 {
    segment as u32
}

impl Location {
    /// The place `spot` in a segment, whose record ends with `len` bytes of content.
    pub fn new(handle: Handle, spot: RecordPosition, len: u64) -> Self {
        Self {
            handle,
            spot,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    /// Where that is.
    pub fn spot(&self) -> RecordPosition {
        self.spot
    }

    /// The segment.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads the content; an error if it is no longer what it was.
    pub fn read(&self, crc32c: u32) -> std::io::Result<Bytes> {
        let mut content = vec![0; self.len as usize];
        let read = read_full_at(
            &*self.handle.file,
            &mut content,
            self.spot.end.saturating_sub(self.len).into(),
        )?;
        if read < content.len() || crc32c::crc32c(&content) != crc32c {
            return Err(std::io::Error::other(
                "the content is damaged in the journal",
            ));
        }
        Ok(content.into())
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Location")
            .field("spot", &self.spot)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// What a commit has made lasting.
#[derive(Debug, Default)]
pub struct Committed {
    /// How many operations, in the order in which they were applied.
    pub ops: usize,
    /// Where accepted files stand, in the order in which they were accepted.
    pub stored: Vec<(u64, Location)>,
    /// Where older files stand now.
    pub moved: Vec<(u64, Location)>,
}

/// A record that is needed.
#[derive(Debug, Clone, Copy, Default)]
struct Live {
    /// The lower half of its segment's number.
    segment: u32,
    /// Its length, with head and padding.
    len: u32,
}

/// What was recorded of a file beside its own record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// How often it came back.
    pub history: History,
    /// Why it is a dead letter, if it is one.
    pub death: Option<Death>,
}

impl Changes {
    /// What a record of the file itself says.
    pub(super) fn of(accepted: &Accepted) -> Option<Self> {
        let is_changed = accepted.history != History::default() || accepted.death.is_some();
        is_changed.then(|| Self {
            history: accepted.history.clone(),
            death: accepted.death.clone(),
        })
    }
}

struct Segment {
    id: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// How much of it is lasting; a mark behind that is not yet.
    lasting: u64,
    /// How many of its bytes are still needed.
    live: u64,
}

/// A journal, open for writing.
pub struct Journal {
    disk: Arc<dyn Disk>,
    id: JournalId,
    durability: Durability,
    segment_size: u64,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Which file the last one is.
    active: Option<FileId>,
    /// A segment that could neither be begun nor removed again.
    half_begun: Option<(u64, Arc<dyn DiskFile>)>,
    next_segment: u64,
    /// The records of the files that are kept.
    files: Paged<Live>,
    /// What was recorded of them since, or before; most files have nothing.
    changes: BTreeMap<u64, Changes>,
    /// The ids of the content files of those that have one.
    own: BTreeMap<u64, u64>,
    /// The record of each file that ended and is not forgotten.
    ended: Paged<Live>,
    sequence: u64,
    next_number: u64,
    live_bytes: u64,
    batch: Vec<u8>,
    committed: Committed,
    /// Content files that nothing needs once the batch is lasting.
    unneeded: Vec<u64>,
    /// How far the oldest segment has been cleaned.
    cleaned: u64,
    /// The oldest segment holds nothing that is needed, and the batch says so.
    retired: bool,
    has_reserve: bool,
    /// Whether the last record is a mark.
    marked: bool,
}

/// What recovery found, for a journal to go on with.
pub(super) struct Found {
    pub(super) id: JournalId,
    /// Id, file and length.
    pub(super) segments: Vec<(u64, Arc<dyn DiskFile>, u64)>,
    /// The id behind which segments go on.
    pub(super) after: u64,
    pub(super) sequence: u64,
    pub(super) next_number: u64,
}

impl Journal {
    /// A journal that goes on behind what recovery found; [`Self::begin`] opens its first segment.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        found: Found,
    ) -> Result<Self, JournalError> {
        let space = disk
            .space()
            .map_err(failed("ask for the room of", "the disk"))?;
        let usual = || (space.total / 16).clamp(*SEGMENT_SIZES.start(), USUAL_SEGMENT);
        let segment_size = config.segment_size.unwrap_or_else(usual);
        let segments = found.segments.into_iter().map(|(id, file, len)| Segment {
            id,
            file,
            len,
            lasting: len,
            live: 0,
        });
        Ok(Self {
            disk,
            id: found.id,
            durability: config.durability,
            segment_size: segment_size.clamp(SHORTEST, *SEGMENT_SIZES.end()),
            segments: segments.collect(),
            active: None,
            half_begun: None,
            next_segment: found.after.saturating_add(1),
            files: Paged::default(),
            changes: BTreeMap::new(),
            own: BTreeMap::new(),
            ended: Paged::default(),
            sequence: found.sequence,
            next_number: found.next_number,
            live_bytes: 0,
            batch: Vec::new(),
            committed: Committed::default(),
            unneeded: Vec::new(),
            cleaned: HEADER_LEN as u64,
            retired: false,
            has_reserve: false,
            marked: true,
        })
    }

    /// Counts a file that recovery found there.
    pub(super) fn add_file(&mut self, number: u64, spot: RecordPosition) {
        self.keep(
            number,
            Live {
                segment: spot.segment,
                len: spot.record_len(),
            },
        );
    }

    /// Takes in what recovery found out about files beside their records.
    pub(super) fn add_changes(&mut self, changes: BTreeMap<u64, Changes>, own: BTreeMap<u64, u64>) {
        (self.changes, self.own) = (changes, own);
    }

    /// Counts a file whose end recovery found there.
    pub(super) fn add_ended(&mut self, number: u64, spot: RecordPosition) {
        self.remember(
            number,
            Live {
                segment: spot.segment,
                len: spot.record_len(),
            },
        );
    }

    /// Notes the record of a file, in place of the one that it had.
    fn keep(&mut self, number: u64, live: Live) {
        if let Some(before) = self.files.insert(number, live) {
            self.uncount(before);
        }
        self.count(live);
    }

    /// Notes the record of the end of a file, in place of the one that it had.
    fn remember(&mut self, number: u64, live: Live) {
        if let Some(before) = self.ended.insert(number, live) {
            self.uncount(before);
        }
        self.count(live);
    }

    /// Opens a segment to write to, and takes hold of the reserve. Room is made first where that
    /// costs none.
    pub(super) fn begin(&mut self) -> Result<(), JournalError> {
        // A crash may have left one that holds no room.
        let is_whole = |len: u64| len >= self.segment_size / 4;
        self.has_reserve = self
            .disk
            .open(RESERVE)
            .and_then(|file| file.len())
            .is_ok_and(is_whole);
        match self.rotate() {
            Err(error) if error.is_full() && self.has_reserve => {
                self.release_reserve();
                self.rotate()?;
            }
            other => other?,
        }
        self.restore_reserve();
        Ok(())
    }

    /// Which journal this is.
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// How long segments get, in bytes.
    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// How many bytes of a batch are worth a commit.
    pub fn batch_size(&self) -> usize {
        usize::try_from(self.segment_size / 4)
            .unwrap_or(usize::MAX)
            .min(MAX_BATCH)
    }

    /// How many bytes wait for a commit.
    pub fn pending(&self) -> usize {
        self.batch.len()
    }

    /// How many bytes the segments take on the disk, and how many of them are needed.
    pub fn usage(&self) -> (u64, u64) {
        (
            self.segments.iter().map(|segment| segment.len).sum(),
            self.live_bytes,
        )
    }

    /// Begins a new segment, if the present one is long enough. To be called before the first
    /// operation of a batch.
    pub fn prepare(&mut self) -> Result<(), JournalError> {
        let is_long = |active: &Segment| active.len >= self.segment_size / 4 * 3;
        if self.batch.is_empty() && self.segments.back().is_none_or(is_long) {
            self.rotate()
        } else {
            Ok(())
        }
    }

    /// Puts an operation into the batch. About a file that is not kept there is nothing to record.
    pub fn apply(&mut self, op: Op) {
        self.committed.ops += 1;
        match op {
            Op::Accept(accepted) => self.accept(accepted),
            Op::End(ended) => self.end(ended),
            Op::Attempt {
                number,
                attempt,
                is_failure,
            } => {
                let Some(changes) = self.changes(number) else {
                    return;
                };
                changes.history.add(attempt.clone(), is_failure);
                self.append(&Record::Attempt {
                    number,
                    attempt,
                    is_failure,
                });
            }
            Op::Bury { number, death } => {
                let Some(changes) = self.changes(number) else {
                    return;
                };
                changes.death = Some(death.clone());
                self.append(&Record::Dead { number, death });
            }
            Op::Replay { number } => {
                let Some(changes) = self.changes(number) else {
                    return;
                };
                *changes = Changes::default();
                self.append(&Record::Replayed { number });
            }
            Op::Forget(numbers) => {
                for number in numbers {
                    if let Some(live) = self.ended.remove(number) {
                        self.uncount(live);
                    }
                }
            }
        }
    }

    /// Writes the batch and makes it lasting, and gives what it held. After an error nothing of it
    /// counts; one that [`JournalError::is_full`] leaves everything as it was, to be tried again
    /// when there is room, any other leaves the journal unfit for use.
    pub fn commit(&mut self) -> Result<Committed, JournalError> {
        if !self.batch.is_empty() {
            self.write_batch()?;
        }
        // Nothing counts that lies where nobody will look for it.
        self.verify()?;
        if self.retired {
            self.remove_oldest()?;
        }
        for id in std::mem::take(&mut self.unneeded) {
            // What cannot be removed now is found by the next recovery.
            if let Err(error) = self.disk.remove(&content::name(id)) {
                tracing::warn!(target: crate::LOG, content = content::name(id), error = %error, "cannot remove delivered content");
            }
        }
        Ok(std::mem::take(&mut self.committed))
    }

    /// Whether who opens the journal next finds what was written: where its directory was opened,
    /// what is written to has its name. A single look tells that.
    pub fn verify(&self) -> Result<(), JournalError> {
        let Some(active) = self.segments.back() else {
            return Ok(());
        };
        let name = segment::name(active.id);
        if self.disk.id_of(&name).map_err(failed("look for", &name))? == self.active {
            return Ok(());
        }
        let (path, now) = self.disk.describe();
        if self
            .disk
            .is_in_place()
            .map_err(failed("look for", "the directory"))?
        {
            return Err(JournalError::Removed { name, path });
        }
        Err(JournalError::Moved { path, now })
    }

    /// Says behind the last batch that it was synced, so that damage to it cannot be taken for a
    /// torn tail. Needs no sync of its own: when it is lost, only that is.
    pub fn mark(&mut self) -> Result<(), JournalError> {
        if self.marked || self.durability == Durability::Os || !self.batch.is_empty() {
            return Ok(());
        }
        self.append(&Record::Mark);
        let Some(active) = self.segments.back_mut() else {
            return Ok(());
        };
        if write_all_at(&*active.file, &self.batch, active.len).is_ok() {
            active.len += self.batch.len() as u64;
        } else {
            active
                .file
                .set_len(active.len)
                .map_err(failed("cut", &segment::name(active.id)))?;
            // The next record takes its place, or one would seem to be lost.
            self.sequence -= 1;
        }
        self.batch.clear();
        self.marked = true;
        Ok(())
    }

    /// Does a bounded piece of the work of giving room back, into the next batch, and says how many
    /// bytes it has looked at: 0 when there is nothing to do before the next commit.
    pub fn clean(&mut self, space: Space) -> Result<u64, JournalError> {
        let pressed = space.available < 4 * self.segment_size;
        if self.retired || !self.wants_cleaning(pressed) {
            return Ok(0);
        }
        if self.segments.len() == 1 && self.batch.is_empty() {
            self.rotate()?;
        }
        let before = self.cleaned;
        let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) else {
            return Ok(0);
        };
        let (rest, next) = (oldest.len.saturating_sub(before), next.id);
        if oldest.live == 0 || self.clean_window()? {
            self.append(&Record::Oldest { segment: next });
            self.retired = true;
            return Ok(rest.min(WINDOW as u64).max(1));
        }
        Ok(self.cleaned - before)
    }

    /// Gives the reserve's room to what must be written. False when there is none left to give.
    pub fn release_reserve(&mut self) -> bool {
        let had = std::mem::take(&mut self.has_reserve);
        had && self.disk.remove(RESERVE).is_ok()
    }

    /// Takes the reserve's room again, if there is plenty.
    pub fn restore_reserve(&mut self) {
        let plenty = |space: Space| space.available > 4 * self.segment_size;
        if self.has_reserve || !self.disk.space().is_ok_and(plenty) {
            return;
        }
        // What is there is none.
        let _ = self.disk.remove(RESERVE);
        let made = self
            .disk
            .create(RESERVE)
            .and_then(|file| file.allocate(self.segment_size / 4));
        self.has_reserve = made.is_ok();
        if made.is_err() {
            let _ = self.disk.remove(RESERVE);
        }
    }

    fn accept(&mut self, accepted: Box<Accepted>) {
        let number = accepted.number;
        self.next_number = self.next_number.max(number.saturating_add(1));
        if let Content::Own(id) = accepted.content {
            self.own.insert(number, id);
        }
        match Changes::of(&accepted) {
            Some(changes) => drop(self.changes.insert(number, changes)),
            None => drop(self.changes.remove(&number)),
        }
        let stored = self.append_file(accepted);
        self.committed.stored.extend(stored);
    }

    fn end(&mut self, ended: Box<Ended>) {
        let number = ended.number;
        let Some(live) = self.files.remove(number) else {
            return;
        };
        self.uncount(live);
        self.changes.remove(&number);
        self.unneeded.extend(self.own.remove(&number));
        self.append_end(ended);
    }

    fn changes(&mut self, number: u64) -> Option<&mut Changes> {
        self.files
            .contains(number)
            .then(|| self.changes.entry(number).or_default())
    }

    /// Writes a file's record, and gives where it stands.
    fn append_file(&mut self, accepted: Box<Accepted>) -> Option<(u64, Location)> {
        let (number, size) = (accepted.number, accepted.meta.size);
        let len = if matches!(accepted.content, Content::Inline(_)) {
            size
        } else {
            0
        };
        let spot = self.append(&Record::Accepted(accepted));
        self.add_file(number, spot);
        let active = self.segments.back()?;
        let handle = Handle {
            segment: active.id,
            file: active.file.clone(),
        };
        Some((number, Location::new(handle, spot, len)))
    }

    fn append_end(&mut self, ended: Box<Ended>) {
        let number = ended.number;
        let spot = self.append(&Record::Ended(ended));
        self.add_ended(number, spot);
    }

    /// Frames a record behind the batch, and gives its place.
    fn append(&mut self, record: &Record) -> RecordPosition {
        let (id, start, base) = self
            .segments
            .back()
            .map_or((0, 0, 0), |active| (active.id, active.len, active.lasting));
        let offset = start + self.batch.len() as u64;
        let framed =
            Framer::new(&self.id, id).append(record, self.sequence, (start, base), &mut self.batch);
        self.sequence += 1;
        self.marked = false;
        RecordPosition::new(id, offset, framed.body_end)
    }

    fn write_batch(&mut self) -> Result<(), JournalError> {
        let Some(active) = self.segments.back_mut() else {
            return Ok(());
        };
        let name = segment::name(active.id);
        if let Err(error) = write_all_at(&*active.file, &self.batch, active.len) {
            let error = failed("write to", &name)(error);
            if error.is_full() {
                // Nothing may stay behind that a later recovery could take for damage.
                active
                    .file
                    .set_len(active.len)
                    .map_err(failed("cut", &name))?;
            }
            return Err(error);
        }
        if self.durability == Durability::Disk {
            active.file.sync().map_err(unsynced(&name))?;
        }
        active.len += self.batch.len() as u64;
        active.lasting = active.len;
        self.batch.clear();
        Ok(())
    }

    /// Begins a new segment. What is in the old one is lasting first.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let last = self.segments.back();
        if let Some(last) = last.filter(|_| self.durability == Durability::Disk) {
            last.file
                .sync()
                .map_err(unsynced(&segment::name(last.id)))?;
        }
        let id = self.next_segment;
        let header = Header {
            journal: self.id,
            segment: id,
            oldest: self.segments.front().map_or(id, |oldest| oldest.id),
            next_number: self.next_number,
            first_sequence: self.sequence,
        };
        let name = segment::name(id);
        let file = self.create_segment(id, &name)?;
        if let Err(error) = self.begin_segment(&*file, &name, &header) {
            // Half a segment would be taken for a damaged one.
            if self.disk.remove(&name).is_err() {
                self.half_begun = Some((id, file));
            }
            return Err(error);
        }
        self.active = Some(file.id().map_err(failed("look for", &name))?);
        self.segments.push_back(Segment {
            id,
            file,
            len: HEADER_LEN as u64,
            lasting: HEADER_LEN as u64,
            live: 0,
        });
        self.next_segment = self.next_segment.saturating_add(1);
        Ok(())
    }

    /// Makes the file of a segment. One that is there is another program's, unless it was half
    /// begun.
    fn create_segment(&mut self, id: u64, name: &str) -> Result<Arc<dyn DiskFile>, JournalError> {
        if let Some((_, file)) = self.half_begun.take_if(|(begun, _)| *begun == id) {
            file.set_len(0).map_err(failed("cut", name))?;
            return Ok(file);
        }
        self.disk.create(name).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => JournalError::Intruder {
                name: name.to_owned(),
            },
            _ => failed("create", name)(error),
        })
    }

    fn begin_segment(
        &self,
        file: &dyn DiskFile,
        name: &str,
        header: &Header,
    ) -> Result<(), JournalError> {
        write_all_at(file, &header.encode(), 0).map_err(failed("write to", name))?;
        file.sync().map_err(unsynced(name))?;
        self.disk.sync_dir().map_err(unsynced_names)
    }

    fn wants_cleaning(&self, pressed: bool) -> bool {
        let (total, live) = self.usage();
        let garbage = total.saturating_sub(live);
        let dead =
            self.segments.len() > 1 && self.segments.front().is_some_and(|oldest| oldest.live == 0);
        let many = self.segments.len() > MANY && total < self.segment_size;
        dead || many
            || garbage > live + self.segment_size / 2
            || (pressed && garbage > self.segment_size / 4)
    }

    /// Writes again what is needed of the next piece of the oldest segment; true when there is
    /// nothing left of it.
    fn clean_window(&mut self) -> Result<bool, JournalError> {
        let Some(oldest) = self.segments.front() else {
            return Ok(false);
        };
        let (id, file, start, end) = (oldest.id, oldest.file.clone(), self.cleaned, oldest.len);
        let name = segment::name(id);
        let mut window = vec![0; WINDOW.min(usize::try_from(end - start).unwrap_or(WINDOW))];
        let read = read_full_at(&*file, &mut window, start).map_err(failed("read", &name))?;
        if read < window.len() {
            return Err(JournalError::Damaged {
                name,
                offset: start + read as u64,
            });
        }
        let (window, framer) = (Bytes::from(window), Framer::new(&self.id, id));
        let (base, mut at) = (usize::try_from(start).unwrap_or(usize::MAX), 0);
        while at < window.len() {
            match framer.read(&window, base, at) {
                Some(found) => {
                    at += found.len;
                    self.carry_over(found.record, id);
                }
                // The record goes on behind the window, or these are bytes that recovery has set
                // aside.
                None if window.len() - at < WINDOW / 2
                    && base + window.len() < usize::try_from(end).unwrap_or(0) =>
                {
                    break;
                }
                None => at += 8,
            }
        }
        self.cleaned = start + at as u64;
        let left = self.segments.front().map_or(0, |oldest| oldest.live);
        if self.cleaned >= end && left > 0 {
            return Err(JournalError::Damaged {
                name,
                offset: start,
            });
        }
        Ok(self.cleaned >= end)
    }

    /// Writes a record of the segment that is being cleaned again, if it is needed.
    fn carry_over(&mut self, record: Record, from: u64) {
        let stands_there = |live: Option<&Live>| live.is_some_and(|live| live.segment == low(from));
        match record {
            Record::Accepted(accepted) if stands_there(self.files.get(accepted.number)) => {
                self.carry_file(accepted);
            }
            Record::Ended(ended) if stands_there(self.ended.get(ended.number)) => {
                self.append_end(ended);
            }
            // What changed since is written with its file.
            _ => {}
        }
    }

    fn carry_file(&mut self, mut accepted: Box<Accepted>) {
        if let Some(changes) = self.changes.get(&accepted.number).cloned() {
            (accepted.history, accepted.death) = (changes.history, changes.death);
        }
        let moved = self.append_file(accepted);
        self.committed.moved.extend(moved);
    }

    /// Removes the oldest segment, lastingly: a younger one must never be gone while it is still
    /// there.
    fn remove_oldest(&mut self) -> Result<(), JournalError> {
        let Some(oldest) = self.segments.front() else {
            return Ok(());
        };
        let name = segment::name(oldest.id);
        self.disk.remove(&name).map_err(failed("remove", &name))?;
        self.disk.sync_dir().map_err(unsynced_names)?;
        // Not earlier: a commit that is tried again must not take the next one.
        self.segments.pop_front();
        (self.cleaned, self.retired) = (HEADER_LEN as u64, false);
        Ok(())
    }

    fn count(&mut self, live: Live) {
        self.live_bytes += u64::from(live.len);
        if let Some(segment) = self.segment_mut(live.segment) {
            segment.live += u64::from(live.len);
        }
    }

    fn uncount(&mut self, live: Live) {
        self.live_bytes = self.live_bytes.saturating_sub(live.len.into());
        if let Some(segment) = self.segment_mut(live.segment) {
            segment.live = segment.live.saturating_sub(live.len.into());
        }
    }

    fn segment_mut(&mut self, id: u32) -> Option<&mut Segment> {
        let oldest = low(self.segments.front()?.id);
        let place = id.wrapping_sub(oldest) as usize;
        // Segments may be missing from a damaged journal.
        if self
            .segments
            .get(place)
            .is_some_and(|segment| low(segment.id) == id)
        {
            return self.segments.get_mut(place);
        }
        self.segments
            .iter_mut()
            .find(|segment| low(segment.id) == id)
    }

    /// Counts again what is needed, and compares.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut needed: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, live) in self.files.iter().chain(self.ended.iter()) {
            *needed.entry(live.segment).or_default() += u64::from(live.len);
        }
        assert_eq!(self.live_bytes, needed.values().sum::<u64>(), "live bytes");
        assert!(
            self.files
                .iter()
                .all(|(number, _)| !self.ended.contains(number)),
            "waiting and ended"
        );
        assert!(
            self.changes
                .keys()
                .chain(self.own.keys())
                .all(|number| self.files.contains(*number)),
            "changes of none"
        );
        let mut last = 0;
        for segment in &self.segments {
            assert!(
                segment.id > last && segment.id < self.next_segment,
                "segment {} behind {last}",
                segment.id
            );
            last = segment.id;
            assert_eq!(
                segment.live,
                needed.remove(&low(segment.id)).unwrap_or(0),
                "live bytes of segment {last}"
            );
        }
        assert!(
            needed.is_empty(),
            "needed of segments that are gone: {needed:?}"
        );
    }
}
