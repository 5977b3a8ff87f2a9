//! Repairs a journal that was read, and opens it for writing.

use std::sync::Arc;

use crate::aside;
use crate::disk::Disk;
use crate::error::{JournalError, failed, unsynced_names};
use crate::identity;
use crate::journal::{Found, Handle, Journal, JournalConfig, low};
use crate::record::Ended;
use crate::segment::{self, JournalId};

use super::reading::Reading;
use super::recovered::Recovered;
use super::report::Torn;
use super::segment_file::SegmentFile;

impl Reading {
    /// Repairs what was found, and opens a journal behind it.
    ///
    /// After a crash in here, the order tells a first start from a journal that has lost something:
    /// a first start writes the part of `journal-id`, begins a segment, and only then gives the
    /// part its name. An empty segment is removed last if no other is there.
    pub(super) fn repair_and_open(
        mut self,
        disk: &Arc<dyn Disk>,
        config: JournalConfig,
    ) -> Result<(Journal, Recovered), JournalError> {
        let id = self.id.unwrap_or_else(rand::random);
        let is_new = self.is_new;
        if is_new {
            identity::begin(&**disk, id, &self.begun)?;
        }
        self.set_aside(&**disk)?;
        if !is_new && self.written.id.is_none() {
            identity::write(&**disk, id, self.written.name)?;
        }
        self.repair(&**disk)?;
        let stale = std::mem::take(&mut self.stale);
        let last = self.segments.last().map(|segment| segment.id);
        // An empty segment gives its number to the next one: a gap would be taken for a missing
        // segment.
        let after = last.or(stale.iter().copied().max()).unwrap_or(0);
        if last.is_some() {
            remove_segments(&**disk, &stale)?;
        }
        let opened = self.into_journal(disk.clone(), config, id, after)?;
        if last.is_none() {
            remove_segments(&**disk, &stale)?;
        }
        if is_new {
            identity::name_part(&**disk)?;
        }
        Ok(opened)
    }

    /// Keeps copies of the bytes that are damaged or torn.
    fn set_aside(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        let contents = &mut self.contents;
        for (name, bytes) in &contents.aside {
            aside::keep(disk, name, bytes)?;
        }
        if !contents.aside.is_empty() {
            disk.sync_dir().map_err(unsynced_names)?;
        }
        if let Some(Torn {
            aside: place @ Some(_),
            ..
        }) = &mut contents.report.torn
            && !contents.torn.is_empty()
        {
            let name = place.take().unwrap_or_default();
            let is_kept = aside::keep_torn(disk, &self.names, &name, &contents.torn)?;
            *place = is_kept.then_some(name);
        }
        Ok(())
    }

    /// Cuts off the torn tail, makes sure that what was read is durable, and removes content that
    /// nothing needs.
    fn repair(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        if let Some(last) = self.segments.last() {
            last.secure_tail(self.contents.tail)?;
        }
        // Beside damage, content without a record may be all that is left of a file.
        if self.contents.report.is_sound() {
            for name in &self.orphans {
                disk.remove(name).map_err(failed("remove", name))?;
            }
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
        let mut segments: Vec<_> = self
            .segments
            .iter()
            .map(|segment| (segment.id, segment.file.clone(), segment.len))
            .collect();
        if let Some((_, _, len)) = segments.last_mut() {
            *len = self.contents.tail.sound;
        }
        let found = Found {
            id,
            segments,
            after,
            sequence: self.contents.sequence.unwrap_or(1),
            next_number: self.next_number(),
        };
        let mut journal = Journal::new(disk, config, found)?;
        let contents = &self.contents;
        for (number, entry) in contents.files.iter() {
            journal.add_file(number, entry.spot);
        }
        journal.add_changes(contents.changes.clone(), contents.own.clone());
        for (number, (_, position)) in &contents.ended {
            journal.add_ended(*number, *position);
        }
        journal.begin()?;
        Ok((journal, self.into_recovered(id)))
    }

    /// What the balancer needs to know of all this.
    pub(super) fn into_recovered(self, journal: JournalId) -> Recovered {
        let next_number = self.next_number();
        let known_as = self.written.name.of(journal);
        let segments = self.segments.into_iter().map(|segment| {
            let SegmentFile { id, file, .. } = segment;
            (low(id), Handle { segment: id, file })
        });
        let contents = self.contents;
        let mut ended: Vec<Ended> = contents
            .ended
            .into_values()
            .map(|(ended, _)| ended)
            .collect();
        ended.sort_by_key(|ended| (ended.at_ms, ended.number));
        Recovered {
            journal,
            known_as,
            files: contents.files,
            changes: contents.changes,
            own: contents.own,
            users: contents.users,
            segments: segments.collect(),
            keys: contents.keys,
            ended,
            next_number,
            report: contents.report,
        }
    }
}

/// Removes segments durably.
fn remove_segments(disk: &dyn Disk, ids: &[u64]) -> Result<(), JournalError> {
    if ids.is_empty() {
        return Ok(());
    }
    for id in ids {
        let name = segment::name(*id);
        disk.remove(&name).map_err(failed("remove", &name))?;
    }
    disk.sync_dir().map_err(unsynced_names)
}
