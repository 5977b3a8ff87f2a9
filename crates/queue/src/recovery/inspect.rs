//! What a recovery looks at beside the records: missing segments, content files, and how far
//! request numbers have gone.

use std::collections::HashSet;
use std::io;

use crate::backlog_entry::BacklogEntry;
use crate::content;
use crate::disk::Disk;
use crate::error::{JournalError, failed};
use crate::record::Death;
use crate::segment::{self, HEAD_LEN};

use super::SKIPPED;
use super::reading::Reading;
use super::report::Damage;

/// The report names no more missing segments than this.
const MISSING: usize = 1000;

impl Reading {
    /// Notes segments that are missing between those that are there.
    pub(super) fn find_missing(&mut self) {
        let youngest = self.youngest.map(|header| header.segment);
        let read = self.segments.last().map(|segment| segment.id);
        let Some(last) = read.max(youngest) else {
            return;
        };
        let there: HashSet<u64> = self
            .segments
            .iter()
            .map(|segment| segment.id)
            .chain(self.stale.iter().copied())
            .collect();
        let missing = (self.oldest.max(1)..last).filter(|id| !there.contains(id));
        for id in missing.take(MISSING) {
            let what = "the segment is missing".to_owned();
            let damage = Damage::uncopied(segment::name(id), what, 0);
            self.contents.report.damage.push(damage);
        }
    }

    /// Compares the content files with the records that name them. A file without its content
    /// becomes a dead letter.
    pub(super) fn check_contents(&mut self) {
        let mut named = HashSet::new();
        for (number, id) in &self.contents.own {
            let Some(entry) = self.contents.files.get(*number) else {
                continue;
            };
            let name = content::name(*id);
            if self.names.get(&name) != Some(&entry.size()) {
                self.contents.report.lost_content.push(*number);
                let changes = self.contents.changes.entry(*number).or_default();
                changes
                    .death
                    .get_or_insert_with(|| death_without_content(entry, &name));
            }
            named.insert(name);
        }
        let is_orphan =
            |name: &&String| content::parse_name(name).is_some() && !named.contains(*name);
        self.orphans = self.names.keys().filter(is_orphan).cloned().collect();
        self.contents.report.orphans = self.orphans.len();
    }

    /// Reads the content files whose size is right, and compares them with the checksums of their
    /// files.
    pub(super) fn read_contents(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        for (number, id) in &self.contents.own {
            let name = content::name(*id);
            let entry = self.contents.files.get(*number);
            let is_there = |entry: &&BacklogEntry| self.names.get(&name) == Some(&entry.size());
            let Some(entry) = entry.filter(is_there) else {
                continue;
            };
            let file = match disk.open(&name) {
                // A balancer that runs has delivered it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("open", &name))?,
            };
            let sum = content::sum(&*file, entry.size()).map_err(failed("read", &name))?;
            if sum != Some(entry.crc32c) {
                let what = format!("the content of file {number} is not what was accepted");
                let damage = Damage::uncopied(name, what, entry.size());
                self.contents.report.damage.push(damage);
            }
        }
        Ok(())
    }

    /// The next request number, behind every number that may have been given.
    pub(super) fn next_number(&self) -> u64 {
        let report = &self.contents.report;
        // A torn tail can have held so many records. If it was damage after all, servers know
        // their numbers.
        let torn = report
            .torn
            .as_ref()
            .map_or(0, |torn| torn.len / HEAD_LEN as u64);
        let skipped = if self.may_have_lost_numbers() {
            SKIPPED
        } else {
            0
        };
        self.highest
            .saturating_add(1 + skipped)
            .saturating_add(torn)
            .saturating_add(self.skips)
    }

    /// Whether records are lost that can have had higher numbers than those found.
    fn may_have_lost_numbers(&self) -> bool {
        let report = &self.contents.report;
        let mut damage = report
            .damage
            .iter()
            .filter(|damage| damage.is_of_records())
            .peekable();
        if damage.peek().is_none() {
            return report.lost_records > 0;
        }
        // Damage that an earlier recovery has found lies before the numbers that it skipped.
        damage.any(|damage| !damage.is_known)
    }
}

fn death_without_content(entry: &BacklogEntry, name: &str) -> Death {
    Death {
        at_ms: u64::from(entry.accepted_s) * 1000,
        reason: format!("its content file {name} is missing, or has another size").into(),
    }
}
