//! Giving room back: the records of the oldest segment that are still needed are written again at
//! the newest end, until the segment can be removed.

use bytes::Bytes;

use crate::disk::{Space, read_full_at};
use crate::error::{JournalError, failed, unsynced_names};
use crate::record::{Accepted, Record};
use crate::segment::{self, Framer, HEADER_LEN, MAX_BODY};

use super::log::Journal;

/// How many bytes of a segment one step of cleaning looks at: the longest record fits in twice.
const WINDOW: usize = 2 * (MAX_BODY + 64);

/// More small segments than this are merged, whatever they hold.
const MANY: usize = 16;

impl Journal {
    /// Does a bounded piece of the work of giving room back, into the next batch. Says how many
    /// bytes it has looked at: 0 when there is nothing to do before the next commit.
    pub fn clean(&mut self, space: Space) -> Result<u64, JournalError> {
        let is_short = space.available < 4 * self.segment_size;
        if self.oldest_is_unneeded || !self.wants_cleaning(is_short) {
            return Ok(0);
        }
        if self.segments.len() == 1 && self.batch.is_empty() {
            self.rotate()?;
        }
        let before = self.cleaned_to;
        let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) else {
            return Ok(0);
        };
        let rest = oldest.len.saturating_sub(before);
        let next = next.id;
        if oldest.live == 0 || self.clean_window()? {
            self.append(&Record::Oldest { segment: next });
            self.oldest_is_unneeded = true;
            return Ok(rest.min(WINDOW as u64).max(1));
        }
        Ok(self.cleaned_to - before)
    }

    /// Whether cleaning is worth its writes; sooner on a disk that is short of room.
    fn wants_cleaning(&self, is_short: bool) -> bool {
        let (total, live) = self.usage();
        let garbage = total.saturating_sub(live);
        let is_dead =
            self.segments.len() > 1 && self.segments.front().is_some_and(|oldest| oldest.live == 0);
        let are_many = self.segments.len() > MANY && total < self.segment_size;
        is_dead
            || are_many
            || garbage > live + self.segment_size / 2
            || (is_short && garbage > self.segment_size / 4)
    }

    /// Writes again what is needed of the next window of the oldest segment; true when nothing is
    /// left of it.
    fn clean_window(&mut self) -> Result<bool, JournalError> {
        let Some(oldest) = self.segments.front() else {
            return Ok(false);
        };
        let id = oldest.id;
        let file = oldest.file.clone();
        let start = self.cleaned_to;
        let end = oldest.len;
        let name = segment::name(id);
        let mut window = vec![0; WINDOW.min(usize::try_from(end - start).unwrap_or(WINDOW))];
        let read = read_full_at(&*file, &mut window, start).map_err(failed("read", &name))?;
        if read < window.len() {
            return Err(JournalError::Damaged {
                name,
                offset: start + read as u64,
            });
        }
        self.cleaned_to = start + self.rewrite_window(id, &window.into(), start, end) as u64;
        let is_done = self.cleaned_to >= end;
        if is_done && self.segments.front().is_some_and(|oldest| oldest.live > 0) {
            return Err(JournalError::Damaged {
                name,
                offset: start,
            });
        }
        Ok(is_done)
    }

    /// Writes again what is needed of a window that begins at `start` in the segment `id`, which is
    /// `end` bytes long. Gives how far it got in the window.
    fn rewrite_window(&mut self, id: u64, window: &Bytes, start: u64, end: u64) -> usize {
        let framer = Framer::new(&self.id, id);
        let base = usize::try_from(start).unwrap_or(usize::MAX);
        let is_last = base + window.len() >= usize::try_from(end).unwrap_or(0);
        let mut at = 0;
        while at < window.len() {
            match framer.read(window, base, at) {
                Some(found) => {
                    at += found.len;
                    self.rewrite_if_needed(found.record, id);
                }
                // The record goes on behind the window.
                None if window.len() - at < WINDOW / 2 && !is_last => break,
                // Recovery has set these bytes aside.
                None => at += usize::from(segment::ALIGN),
            }
        }
        at
    }

    /// Writes a record of the segment `from` again if it is the one that is needed of its file.
    fn rewrite_if_needed(&mut self, record: Record, from: u64) {
        match record {
            Record::Accepted(accepted) => {
                let live = self.files.get(accepted.number);
                if live.is_some_and(|live| live.is_in(from)) {
                    self.rewrite_file(accepted);
                }
            }
            Record::Ended(ended) => {
                let live = self.ended.get(ended.number);
                if live.is_some_and(|live| live.is_in(from)) {
                    self.append_end(ended);
                }
            }
            // What happened since a file was accepted is written with the file.
            _ => {}
        }
    }

    fn rewrite_file(&mut self, mut accepted: Box<Accepted>) {
        if let Some(changes) = self.changes.get(&accepted.number).cloned() {
            accepted.history = changes.history;
            accepted.death = changes.death;
        }
        let moved = self.append_file(accepted);
        self.committed.moved.extend(moved);
    }

    /// Removes the oldest segment, durably: no younger segment may be gone while it is still there.
    pub(super) fn remove_oldest(&mut self) -> Result<(), JournalError> {
        let Some(oldest) = self.segments.front() else {
            return Ok(());
        };
        let name = segment::name(oldest.id);
        self.disk.remove(&name).map_err(failed("remove", &name))?;
        self.disk.sync_dir().map_err(unsynced_names)?;
        // Only now: a commit that is tried again must not take the next segment.
        if let Some(oldest) = self.segments.pop_front() {
            self.disk.close(oldest.file);
        }
        self.cleaned_to = HEADER_LEN as u64;
        self.oldest_is_unneeded = false;
        Ok(())
    }
}
