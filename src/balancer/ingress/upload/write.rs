//! Writes one upload to its part, on a thread of its own, until the part becomes content of the
//! journal. The thread decides what becomes of the part, for the connection may be gone by then.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::parts::PartLease;
use super::uploaded::Uploaded;
use crate::balancer::messages::ToHub;
use crate::os_error::is_full;
use crate::protocol::{Prefix, Refusal, RefusalCode};
use crate::queue::Durability;
use crate::queue::content::{self, FinishError, Part};
use crate::queue::disk::Disk;
use crate::rolling_sync::RollingSync;
use crate::transport::plain;

/// What the reader of an upload tells its writer.
pub(super) enum Step {
    Piece(Bytes),
    /// All of the content came, and its checksum is right: pieces with this CRC32C, if the client
    /// told it.
    Whole(Option<u32>),
    /// The content is wrong or will not be taken: no later upload goes on with it.
    Useless,
}

/// Where uploads are written to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) durability: Durability,
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
}

/// An upload, as its writing thread has it.
pub(super) struct Upload {
    pub(super) target: Target,
    /// The part stays on the disk when the upload breaks off.
    pub(super) is_kept: bool,
    pub(super) lease: PartLease,
}

impl Upload {
    /// Writes the pieces that come; `None` if the upload broke off.
    pub(super) fn run(
        mut self,
        resumed: Option<Prefix>,
        mut steps: mpsc::Receiver<Step>,
    ) -> io::Result<Option<Uploaded>> {
        let mut part = self.begin(resumed)?;
        let begin = (part.crc32c(), part.len());
        let mut sync = RollingSync::default();
        let proven = loop {
            match steps.blocking_recv() {
                Some(Step::Piece(piece)) => {
                    if let Err(error) = self.write(&mut part, &piece, &mut sync) {
                        return Err(self.failed(error));
                    }
                }
                Some(Step::Whole(proven)) => break proven,
                Some(Step::Useless) => {
                    self.remove();
                    return Ok(None);
                }
                None => {
                    if !self.is_kept {
                        self.remove();
                    }
                    return Ok(None);
                }
            }
        };
        if !is_as_proven(&part, begin, proven) {
            self.remove();
            return Err(damaged());
        }
        match sync.end().and_then(|()| self.target.finish(part)) {
            Ok((id, crc32c)) => {
                self.lease.is_gone = true;
                let disk = self.target.disk;
                Ok(Some(Uploaded::new(id, crc32c, disk, Some(self.lease))))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn write(&self, part: &mut Part, piece: &[u8], sync: &mut RollingSync) -> io::Result<()> {
        part.write(piece)?;
        if self.target.durability == Durability::Disk && sync.wrote(piece.len()) {
            let file = part.file().clone();
            sync.start(move || file.sync())?;
        }
        Ok(())
    }

    fn begin(&mut self, resumed: Option<Prefix>) -> io::Result<Part> {
        let disk = self.target.disk.clone();
        let mark = self.lease.mark;
        let Some(prefix) = resumed else {
            return Part::create(disk, mark);
        };
        let part = Part::resume(disk, mark, prefix.offset).map_err(|error| {
            self.lease.is_gone = error.kind() == io::ErrorKind::NotFound;
            mismatch(&plain(&error))
        })?;
        if part.crc32c() != prefix.crc32c {
            self.remove();
            return Err(mismatch("the bytes are not the same"));
        }
        Ok(part)
    }

    fn failed(&mut self, error: io::Error) -> io::Error {
        // On a full disk, what failed to come in must not take up room.
        if !self.is_kept || is_full(&error) {
            self.remove();
        }
        error
    }

    fn remove(&mut self) {
        // If it cannot be removed now, `Parts::tidy` tries again later.
        let name = content::part_name(self.lease.mark);
        self.lease.is_gone = self.target.disk.remove(&name).is_ok();
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

/// Whether the bytes that were written behind the beginning, of this CRC32C and length, are those
/// that came. If not, they were damaged in memory, and their sum must not stand for the client's.
fn is_as_proven(part: &Part, (begin, len): (u32, u64), proven: Option<u32>) -> bool {
    let written = usize::try_from(part.len() - len).unwrap_or(usize::MAX);
    proven.is_none_or(|sum| crc32c::crc32c_combine(begin, sum, written) == part.crc32c())
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
