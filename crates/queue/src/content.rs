//! Large content, each in a file of its own beside the segments.
//!
//! Content is received in a part, and gets its final name once it is whole and synced; only then
//! does a record name it. The next recovery removes content that no record names. A part whose
//! client gave a key stays for a while, so that the client can resume the upload.

use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full_at, write_all_at};
use super::error::{JournalError, unsynced, unsynced_names};
use bilico_core::checksum;
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

/// The name of the part of an upload with this mark: the hash of its key, or a random number.
pub fn part_name(mark: u128) -> String {
    format!("part-{mark:032x}")
}

/// The mark of a part of this name.
pub fn parse_part_name(text: &str) -> Option<u128> {
    let mark = u128::from_str_radix(text.strip_prefix("part-")?, 16).ok()?;
    (part_name(mark) == text).then_some(mark)
}

/// Why content could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Its own file failed: nothing else is concerned.
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

/// How many bytes of a part are read at once to compute its checksum.
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
    /// An empty part, in place of one that is there.
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

    /// The part that an earlier upload left, cut to `len` bytes, with its checksum. Its bytes are
    /// written again.
    pub fn resume(disk: Arc<dyn Disk>, mark: u128, len: u64) -> std::io::Result<Self> {
        let file = disk.open(&part_name(mark))?;
        if file.len()? < len {
            return Err(std::io::Error::other(
                "the part is shorter than its upload has said",
            ));
        }
        file.set_len(len)?;
        // After a sync that failed, the bytes may be in the system's memory only, and no other sync
        // would write them.
        let crc32c = rewrite(&*file, len)?;
        Ok(Self {
            disk,
            file,
            mark,
            len,
            crc32c,
        })
    }

    /// The CRC32C of its bytes.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// The file that holds it.
    pub fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write_all_at(&*self.file, bytes, self.len)?;
        self.len += bytes.len() as u64;
        self.crc32c = checksum::append(self.crc32c, bytes);
        Ok(())
    }

    /// Makes it durable as the content file with this id. If the directory cannot be synced, other
    /// names in it are concerned, too: the journal has to stop then, as after a failed sync of its
    /// own.
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

    /// Removes it.
    pub fn discard(self) {
        // The next recovery removes what cannot be removed now.
        let _ = self.disk.remove(&part_name(self.mark));
    }
}

/// Writes the first `len` bytes of a file again, and gives their CRC32C.
fn rewrite(file: &dyn DiskFile, len: u64) -> std::io::Result<u32> {
    let sum = sum_with(file, len, |piece, offset| write_all_at(file, piece, offset))?;
    sum.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// The CRC32C of the first `len` bytes of a file; `None` if the file is shorter.
pub(super) fn sum(file: &dyn DiskFile, len: u64) -> std::io::Result<Option<u32>> {
    sum_with(file, len, |_, _| Ok(()))
}

/// The same; each piece goes to `show` with its offset.
fn sum_with(
    file: &dyn DiskFile,
    len: u64,
    mut show: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> std::io::Result<Option<u32>> {
    let mut buffer = vec![0; STEP];
    let mut offset = 0;
    let mut crc = 0;
    while offset < len {
        let step = usize::try_from(len - offset).unwrap_or(STEP).min(STEP);
        let Some(piece) = buffer.get_mut(..step) else {
            break;
        };
        if read_full_at(file, piece, offset)? < step {
            return Ok(None);
        }
        show(piece, offset)?;
        crc = checksum::append(crc, piece);
        offset += step as u64;
    }
    Ok(Some(crc))
}
