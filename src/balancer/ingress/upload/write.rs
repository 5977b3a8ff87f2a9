//! One upload on its way to its part, and from there to content of the journal.
//!
//! What becomes of the part is decided on the threads that write it, for the connection may be gone
//! by then: an [`Upload`] that is dropped has broken off.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::lead::Lead;
use super::parts::PartLease;
use super::uploaded::Uploaded;
use crate::balancer::messages::ToHub;
use crate::bulk::{Sink, SyncJob};
use crate::checksum;
use crate::os_error::is_full;
use crate::protocol::{Prefix, Refusal, RefusalCode};
use crate::queue::Durability;
use crate::queue::content::{self, FinishError, Part};
use crate::queue::disk::Disk;
use crate::transport::plain;

/// Where uploads are written to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) durability: Durability,
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
}

/// An upload, as the threads that write it have it.
pub(in crate::balancer::ingress) struct Upload {
    target: Target,
    /// The part stays on the disk when the upload breaks off.
    is_kept: bool,
    /// `None` once the part is content of the journal.
    lease: Option<PartLease>,
    resumed: Option<Prefix>,
    /// `None` before the first byte, or the end, is there.
    part: Option<Part>,
    lead: Lead,
}

/// What is known of an upload before its content.
#[derive(Debug, Clone, Copy)]
pub(in crate::balancer::ingress) struct Coming {
    /// Names the part; an upload without one leaves none behind when it breaks off.
    pub(in crate::balancer::ingress) mark: Option<u128>,
    /// What an earlier upload has brought.
    pub(in crate::balancer::ingress) resumed: Option<Prefix>,
    /// The size of the whole file in bytes, if it is known.
    pub(in crate::balancer::ingress) size: Option<u64>,
}

impl Upload {
    /// An upload to the part with this lease. Nothing is done to the disk yet.
    pub(super) fn new(target: Target, lease: PartLease, coming: Coming) -> Self {
        Self {
            target,
            is_kept: coming.mark.is_some(),
            lease: Some(lease),
            resumed: coming.resumed,
            part: None,
            lead: Lead::new(coming.size),
        }
    }

    /// All of the content came, and its checksum is right: bytes with this CRC32C, if the client
    /// told it.
    pub(super) fn finish(mut self, proven: Option<u32>) -> io::Result<Uploaded> {
        let finished = self
            .take_part(proven)
            .and_then(|part| self.target.finish(part));
        match finished {
            Ok((id, crc32c)) => {
                let mut lease = self.lease.take();
                if let Some(lease) = &mut lease {
                    lease.is_gone = true;
                }
                let uploaded = Uploaded::new(id, crc32c, self.target.disk.clone(), lease);
                Ok(uploaded.with(self.lead.take()))
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Not all of it came. If it is useless, no later upload goes on with it.
    pub(super) fn give_up(mut self, is_useless: bool) {
        if is_useless {
            self.remove();
        }
    }

    fn remove(&mut self) {
        // If it cannot be removed now, `Parts::tidy` tries again later.
        if let Some(lease) = &mut self.lease
            && !lease.is_gone
        {
            let name = content::part_name(lease.mark);
            lease.is_gone = self.target.disk.remove(&name).is_ok();
        }
    }

    /// The part, if its bytes are those that came.
    fn take_part(&mut self, proven: Option<u32>) -> io::Result<Part> {
        let resumed = self.resumed;
        self.part()?;
        match self.part.take() {
            Some(part) if is_as_proven(&part, resumed, proven) => {
                self.lead.all_came(part.len());
                Ok(part)
            }
            _ => {
                self.remove();
                Err(damaged())
            }
        }
    }

    /// The part, which is begun if it was not.
    fn part(&mut self) -> io::Result<&mut Part> {
        let part = match self.part.take() {
            Some(part) => part,
            None => self.begin()?,
        };
        Ok(self.part.insert(part))
    }

    fn begin(&mut self) -> io::Result<Part> {
        let disk = self.target.disk.clone();
        let Some(lease) = &mut self.lease else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let Some(prefix) = self.resumed else {
            return Part::create(disk, lease.mark);
        };
        let part = Part::resume(disk, lease.mark, prefix.offset).map_err(|error| {
            lease.is_gone = error.kind() == io::ErrorKind::NotFound;
            mismatch(&plain(&error))
        })?;
        if part.crc32c() != prefix.crc32c {
            self.remove();
            return Err(mismatch("the bytes are not the same"));
        }
        Ok(part)
    }
}

impl Sink for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.part()?.write(bytes)?;
        if let Some(part) = &self.part
            && let Some(ahead) = self.lead.wrote(bytes.len() as u64, part, Instant::now())
        {
            let _ = self.target.hub.send(ToHub::HeadStart(ahead));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<Option<SyncJob>> {
        let file = self.part.as_ref().map(|part| part.file().clone());
        let is_synced = self.target.durability == Durability::Disk;
        Ok(file
            .filter(|_| is_synced)
            .map(|file| -> SyncJob { Box::new(move || file.sync()) }))
    }

    fn failed(&mut self, error: &io::Error) {
        // On a full disk, what failed to come in must not take up room.
        if is_full(error) {
            self.remove();
        }
    }
}

/// It has broken off, unless all of it came: a later upload may go on with what is kept.
impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_kept {
            self.remove();
        }
    }
}

impl Target {
    /// Writes content that is in memory.
    pub(super) fn keep(&self, bytes: &[u8]) -> io::Result<Uploaded> {
        let mark = rand::random();
        let written = Part::create(self.disk.clone(), mark).and_then(|mut part| {
            part.write(bytes)?;
            self.finish(part)
        });
        match written {
            Ok((id, crc32c)) => Ok(Uploaded::new(id, crc32c, self.disk.clone(), None)),
            Err(error) => {
                let _ = self.disk.remove(&content::part_name(mark));
                Err(error)
            }
        }
    }

    /// Makes a part durable content, and gives its id and its CRC32C. If the directory cannot be
    /// synced, the journal ends.
    fn finish(&self, part: Part) -> io::Result<(u64, u32)> {
        let id = rand::random();
        let crc32c = part.crc32c();
        match part.finish(id, self.durability) {
            Ok(()) => Ok((id, crc32c)),
            Err(FinishError::Content(error)) => Err(error),
            Err(FinishError::Names(error)) => {
                let told = io::Error::new(error.kind(), error.to_string());
                let failed = FinishError::Names(error).into();
                let _ = self.hub.send(ToHub::ContentStoreFailed(failed));
                Err(told)
            }
        }
    }
}

/// Whether the bytes that were written behind the beginning are those that came. If not, they were
/// damaged in memory, and their sum must not stand for the client's.
fn is_as_proven(part: &Part, resumed: Option<Prefix>, proven: Option<u32>) -> bool {
    let (begin, len) = resumed.map_or((0, 0), |prefix| (prefix.crc32c, prefix.offset));
    let written = part.len() - len;
    proven.is_none_or(|sum| checksum::combine(begin, sum, written) == part.crc32c())
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it was damaged in memory on its way to the disk: send it again",
    )
}

/// The part does not begin as the client says.
fn mismatch(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("cannot go on with an earlier upload: {why}"),
    )
}

/// The refusal of a file whose content cannot be written.
pub(super) fn refusal(error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::InvalidInput => RefusalCode::Checksum,
        _ if is_full(error) => RefusalCode::Full,
        _ => RefusalCode::Storage,
    };
    Refusal::new(code, format!("cannot keep the file: {}", plain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sim::{Fault, SimDisk};

    /// It used to pass itself off as the journal's writer.
    #[test]
    fn a_directory_that_cannot_be_synced_is_reported_as_the_content_stores_failure() {
        let (hub, mut inbox) = mpsc::unbounded_channel();
        let disk = SimDisk::new();
        let target = Target {
            disk: Arc::new(disk.clone()),
            durability: Durability::Disk,
            hub,
        };
        // The part is created, written, synced and renamed; then the directory is synced.
        disk.fail_at(disk.operations() + 4, Fault::Eio);
        let kept = target.keep(b"content");
        assert!(kept.is_err(), "{:?}", disk.log());
        assert!(matches!(inbox.try_recv(), Ok(ToHub::ContentStoreFailed(_))));
        assert!(inbox.try_recv().is_err());
    }
}
