//! Large content, each in a file of its own beside the segments.
//!
//! It is received under the name of a part, and gets its lasting name once it is whole and synced;
//! only then does a record name it. What no record names is removed by the next recovery. A part
//! whose client gave it a key stays for a while, so that the client can go on where it was.

use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full_at, write_all_at};
use super::error::{JournalError, unsynced, unsynced_names};
use bilico_core::durability::Durability;

/// The name of the content file with this id.
pub fn name(id: u64) -> String {
    format!("content-{id:016x}")
}

/// The id of a content file of this name.
pub fn parse_name(text: &str) -> Option<u64> {
    let id = u64::from_str_radix(text.strip_prefix("content-")?, 16).ok()?;
    (name(id) == text).then_some(id)
}

/// The name of the part that an upload under this mark is received in.
pub fn part_name(mark: u128) -> String {
    format!("part-{mark:032x}")
}

/// The mark of a part of this name.
pub fn parse_part_name(text: &str) -> Option<u128> {
    let mark = u128::from_str_radix(text.strip_prefix("part-")?, 16).ok()?;
    (part_name(mark) == text).then_some(mark)
}

/// Why content could not be made lasting.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Its own file failed: it concerns nothing else.
    #[error(transparent)]
    Content(#[from] std::io::Error),
    /// The directory could not be synced: the journal has to stop.
    #[error("cannot sync the directory: {0}")]
    Names(std::io::Error),
}

impl From<FinishError> for JournalError {
    fn from(error: FinishError) -> Self {
        match error {
            FinishError::Content(source) => unsynced("content")(source),
            FinishError::Names(source) => unsynced_names(source),
        }
    }
}

/// How much is read at once to sum a part up.
const STEP: usize = 256 * 1024;

/// Content that is being received.
pub struct Part {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    mark: u128,
    len: u64,
    crc32c: u32,
}

impl Part {
    /// An empty part; one that was there is thrown away.
    pub fn create(disk: Arc<dyn Disk>, mark: u128) -> std::io::Result<Self> {
        let name = part_name(mark);
        let file = match disk.create(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                disk.remove(&name)?;
                disk.create(&name)?
            }
            other => other?,
        };
        Ok(Self {
            disk,
            file,
            mark,
            len: 0,
            crc32c: 0,
        })
    }

    /// The part that an earlier upload has left, cut to `len` bytes, summed up and written once
    /// more.
    pub fn resume(disk: Arc<dyn Disk>, mark: u128, len: u64) -> std::io::Result<Self> {
        let file = disk.open(&part_name(mark))?;
        if file.len()? < len {
            return Err(std::io::Error::other("the part is shorter than that"));
        }
        file.set_len(len)?;
        // After a sync that failed the system may have what it could not write, and no other sync
        // would try again.
        let crc32c = rewrite(&*file, len)?;
        Ok(Self {
            disk,
            file,
            mark,
            len,
            crc32c,
        })
    }

    /// The CRC32C of what it holds.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// What it is written to.
    pub fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends to it.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write_all_at(&*self.file, bytes, self.len)?;
        self.len += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        Ok(())
    }

    /// Makes it lasting under the name of content with this id. When the directory cannot be
    /// synced, that concerns other names in it, too: whoever writes the journal has to stop then,
    /// as for a failed sync of its own.
    pub fn finish(self, id: u64, durability: Durability) -> Result<(), FinishError> {
        if durability == Durability::Disk {
            self.file.sync().map_err(FinishError::Content)?;
        }
        self.disk
            .rename(&part_name(self.mark), &name(id))
            .map_err(FinishError::Content)?;
        if durability == Durability::Disk {
            self.disk.sync_dir().map_err(FinishError::Names)
        } else {
            Ok(())
        }
    }

    /// Throws it away.
    pub fn discard(self) {
        // What cannot be removed now is found by the next recovery.
        let _ = self.disk.remove(&part_name(self.mark));
    }
}

/// Writes the first `len` bytes of a file once more, and gives their CRC32C.
fn rewrite(file: &dyn DiskFile, len: u64) -> std::io::Result<u32> {
    let sum = sum_with(file, len, |piece, offset| write_all_at(file, piece, offset))?;
    sum.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// The CRC32C of the first `len` bytes of a file; `None` if it does not have so many.
pub(super) fn sum(file: &dyn DiskFile, len: u64) -> std::io::Result<Option<u32>> {
    sum_with(file, len, |_, _| Ok(()))
}

/// The same, each piece shown on the way.
fn sum_with(
    file: &dyn DiskFile,
    len: u64,
    mut show: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> std::io::Result<Option<u32>> {
    let mut buffer = vec![0; STEP];
    let (mut offset, mut crc) = (0, 0);
    while offset < len {
        let step = usize::try_from(len - offset).unwrap_or(STEP).min(STEP);
        let Some(piece) = buffer.get_mut(..step) else {
            break;
        };
        if read_full_at(file, piece, offset)? < step {
            return Ok(None);
        }
        show(piece, offset)?;
        crc = crc32c::crc32c_append(crc, piece);
        offset += step as u64;
    }
    Ok(Some(crc))
}
