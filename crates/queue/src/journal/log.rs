//! Writing the journal: a batch of records, and the commit that makes it durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bilico_core::durability::Durability;

use crate::disk::{Disk, DiskFile, FileId, write_all_at};
use crate::error::{JournalError, failed, unsynced};
use crate::paged::Paged;
use crate::record::{Accepted, Content, Ended, Record};
use crate::segment::{self, Framer, HEADER_LEN, JournalId, MAX_BATCH};
use crate::{LOG, content};

use super::config::JournalConfig;
use super::live_record::LiveRecord;
use super::location::{Handle, Location, RecordPosition};
use super::op::{Changes, Committed, Op};

/// A segment that belongs to the journal.
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    /// How much of it is durable. A mark at its end is not counted: it is never synced.
    pub(super) durable: u64,
    /// How many of its bytes are records that are needed.
    pub(super) live: u64,
}

/// A journal, open for writing.
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) id: JournalId,
    pub(super) durability: Durability,
    pub(super) segment_size: u64,
    /// Oldest first; the last one is written to.
    pub(super) segments: VecDeque<Segment>,
    /// The identity of the last segment's file.
    pub(super) active: Option<FileId>,
    /// A segment that could neither be begun nor removed again.
    pub(super) unfinished: Option<(u64, Arc<dyn DiskFile>)>,
    pub(super) next_segment: u64,
    /// The records of the files that wait or are dead letters.
    pub(super) files: Paged<LiveRecord>,
    /// What happened to these files since they were accepted; to most nothing did.
    pub(super) changes: BTreeMap<u64, Changes>,
    /// The ids of the content files of those that have one.
    pub(super) content_ids: BTreeMap<u64, u64>,
    /// The records of the ends of files that are not forgotten.
    pub(super) ended: Paged<LiveRecord>,
    /// The sequence of the next record.
    pub(super) sequence: u64,
    pub(super) next_number: u64,
    pub(super) live_bytes: u64,
    pub(super) batch: Vec<u8>,
    /// What the batch holds.
    pub(super) committed: Committed,
    /// Content files that nothing needs once the batch is durable.
    unneeded_content: Vec<u64>,
    /// How far the oldest segment was cleaned.
    pub(super) cleaned_to: u64,
    /// Nothing of the oldest segment is needed, and the batch says so.
    pub(super) oldest_is_unneeded: bool,
    pub(super) has_reserve: bool,
    ends_with_mark: bool,
}

/// What recovery found, for a journal to go on with.
pub(crate) struct Found {
    pub(crate) id: JournalId,
    /// Number, file and length of each.
    pub(crate) segments: Vec<(u64, Arc<dyn DiskFile>, u64)>,
    /// The number that the next segment comes behind.
    pub(crate) after: u64,
    pub(crate) sequence: u64,
    pub(crate) next_number: u64,
}

impl Journal {
    /// A journal that goes on behind what recovery found; [`Self::begin`] begins its segment.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        found: Found,
    ) -> Result<Self, JournalError> {
        let space = disk
            .space()
            .map_err(failed("ask for the room of", "the disk"))?;
        let segments = found.segments.into_iter().map(|(id, file, len)| Segment {
            id,
            file,
            len,
            durable: len,
            live: 0,
        });
        Ok(Self {
            disk,
            id: found.id,
            durability: config.durability,
            segment_size: config.segment_size_on(space.total),
            segments: segments.collect(),
            active: None,
            unfinished: None,
            next_segment: found.after.saturating_add(1),
            files: Paged::default(),
            changes: BTreeMap::new(),
            content_ids: BTreeMap::new(),
            ended: Paged::default(),
            sequence: found.sequence,
            next_number: found.next_number,
            live_bytes: 0,
            batch: Vec::new(),
            committed: Committed::default(),
            unneeded_content: Vec::new(),
            cleaned_to: HEADER_LEN as u64,
            oldest_is_unneeded: false,
            has_reserve: false,
            ends_with_mark: true,
        })
    }

    /// Takes in what recovery found about files beside their records: what happened to them, and
    /// the ids of their content files.
    pub(crate) fn add_changes(
        &mut self,
        changes: BTreeMap<u64, Changes>,
        content_ids: BTreeMap<u64, u64>,
    ) {
        self.changes = changes;
        self.content_ids = content_ids;
    }

    /// Begins the segment to write to, and sees to the reserve.
    pub(crate) fn begin(&mut self) -> Result<(), JournalError> {
        self.find_reserve();
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

    /// Puts an operation into the batch. Operations on files the journal does not hold are ignored.
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
                if let Some(changes) = self.changes(number) {
                    changes.history.add(attempt.clone(), is_failure);
                    self.append(&Record::Attempt {
                        number,
                        attempt,
                        is_failure,
                    });
                }
            }
            Op::Bury { number, death } => {
                if let Some(changes) = self.changes(number) {
                    changes.death = Some(death.clone());
                    self.append(&Record::Dead { number, death });
                }
            }
            Op::Replay { number } => {
                if let Some(changes) = self.changes(number) {
                    changes.replay();
                    self.append(&Record::Replayed { number });
                }
            }
            Op::Forget(numbers) => self.forget(numbers),
        }
    }

    /// Writes the batch and makes it durable, and gives what it held. After an error nothing of it
    /// counts. An error that [`JournalError::is_full`] leaves everything as it was, to be tried
    /// again when there is room; any other leaves the journal unfit for use.
    pub fn commit(&mut self) -> Result<Committed, JournalError> {
        if !self.batch.is_empty() {
            self.write_batch()?;
        }
        // Nothing counts that whoever opens the journal next would not find.
        self.verify()?;
        if self.oldest_is_unneeded {
            self.remove_oldest()?;
        }
        for id in std::mem::take(&mut self.unneeded_content) {
            let name = content::name(id);
            // Open, so that removing it takes no longer for a large file than for a small one.
            let content = self.disk.open(&name);
            // The next recovery removes what cannot be removed now.
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!(
                    target: LOG,
                    content = name,
                    error = %error,
                    "cannot remove delivered content"
                );
            }
            if let Ok(content) = content {
                self.disk.close(content);
            }
        }
        Ok(std::mem::take(&mut self.committed))
    }

    /// Checks that whoever opens the journal next finds what was written: the file that is written
    /// to has its name where the directory was opened. One system call tells that.
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
    /// torn tail. The mark needs no sync of its own: if it is lost, nothing else is.
    pub fn mark(&mut self) -> Result<(), JournalError> {
        if self.ends_with_mark || self.durability == Durability::Os || !self.batch.is_empty() {
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
            // The next record takes its sequence: otherwise a record would seem to be lost.
            self.sequence -= 1;
        }
        self.batch.clear();
        self.ends_with_mark = true;
        Ok(())
    }

    fn accept(&mut self, accepted: Box<Accepted>) {
        let number = accepted.number;
        self.next_number = self.next_number.max(number.saturating_add(1));
        if let Content::Own(id) = accepted.content {
            self.content_ids.insert(number, id);
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
        self.unneeded_content
            .extend(self.content_ids.remove(&number));
        self.append_end(ended);
    }

    fn forget(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            if let Some(live) = self.ended.remove(number) {
                self.uncount(live);
            }
        }
    }

    /// What happened to a file; `None` if the journal does not hold the file.
    fn changes(&mut self, number: u64) -> Option<&mut Changes> {
        self.files
            .contains(number)
            .then(|| self.changes.entry(number).or_default())
    }

    /// Appends a file's record to the batch, and gives where it is.
    pub(super) fn append_file(&mut self, accepted: Box<Accepted>) -> Option<(u64, Location)> {
        let number = accepted.number;
        let len = match accepted.content {
            Content::Inline(_) => accepted.meta.size,
            Content::Own(_) => 0,
        };
        let position = self.append(&Record::Accepted(accepted));
        self.add_file(number, position);
        let active = self.segments.back()?;
        let handle = Handle {
            segment: active.id,
            file: active.file.clone(),
        };
        Some((number, Location::new(handle, position, len)))
    }

    /// Appends the record of a file's end to the batch.
    pub(super) fn append_end(&mut self, ended: Box<Ended>) {
        let number = ended.number;
        let position = self.append(&Record::Ended(ended));
        self.add_ended(number, position);
    }

    /// Frames a record at the end of the batch, and gives its place.
    pub(super) fn append(&mut self, record: &Record) -> RecordPosition {
        let (id, start, base) = self
            .segments
            .back()
            .map_or((0, 0, 0), |active| (active.id, active.len, active.durable));
        let offset = start + self.batch.len() as u64;
        let framer = Framer::new(&self.id, id);
        let end = framer
            .append(record, self.sequence, (start, base), &mut self.batch)
            .body_end;
        self.sequence += 1;
        self.ends_with_mark = false;
        RecordPosition::new(id, offset, end)
    }

    fn write_batch(&mut self) -> Result<(), JournalError> {
        let Some(active) = self.segments.back_mut() else {
            return Ok(());
        };
        let name = segment::name(active.id);
        if let Err(error) = write_all_at(&*active.file, &self.batch, active.len) {
            let error = failed("write to", &name)(error);
            if error.is_full() {
                // A later recovery could take the rest for damage.
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
        active.durable = active.len;
        self.batch.clear();
        Ok(())
    }
}
