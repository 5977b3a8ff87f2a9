//! Beginning a new segment.

use std::sync::Arc;

use bilico_core::durability::Durability;

use crate::disk::{DiskFile, write_all_at};
use crate::error::{JournalError, failed, unsynced, unsynced_names};
use crate::segment::{self, HEADER_LEN, Header};

use super::log::{Journal, Segment};

impl Journal {
    /// Begins a new segment. Everything in the one before is made durable first.
    pub(crate) fn rotate(&mut self) -> Result<(), JournalError> {
        if let Some(last) = self.segments.back()
            && self.durability == Durability::Disk
        {
            let name = segment::name(last.id);
            last.file.sync().map_err(unsynced(&name))?;
        }
        let id = self.next_segment;
        let name = segment::name(id);
        let header = Header {
            journal: self.id,
            segment: id,
            oldest: self.segments.front().map_or(id, |oldest| oldest.id),
            next_number: self.next_number,
            first_sequence: self.sequence,
        };
        let file = self.create_segment(id, &name)?;
        if let Err(error) = self.begin_segment(&*file, &name, &header) {
            // Half a segment would be taken for a damaged one.
            if self.disk.remove(&name).is_err() {
                self.unfinished = Some((id, file));
            }
            return Err(error);
        }
        self.active = Some(file.id().map_err(failed("look for", &name))?);
        self.segments.push_back(Segment {
            id,
            file,
            len: HEADER_LEN as u64,
            durable: HEADER_LEN as u64,
            live: 0,
        });
        self.next_segment = self.next_segment.saturating_add(1);
        Ok(())
    }

    /// Makes the file of a segment. One that is there already is another program's, unless it is
    /// our unfinished one.
    fn create_segment(&mut self, id: u64, name: &str) -> Result<Arc<dyn DiskFile>, JournalError> {
        if let Some((_, file)) = self.unfinished.take_if(|(begun, _)| *begun == id) {
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

    /// Writes the header of a segment, and makes header and name durable.
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
}
