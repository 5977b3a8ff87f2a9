//! A segment's file while a recovery reads it.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, read_full_at, write_all_at};
use crate::error::{JournalError, failed, unsynced};
use crate::segment::{self, HEADER_LEN, Header, MAGIC};

use super::contents::Tail;

/// A segment that was opened to be read.
pub(super) struct SegmentFile {
    pub(super) id: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    /// `None` if the header is damaged.
    pub(super) header: Option<Header>,
}

impl SegmentFile {
    /// Opens a segment; an error if its header is another segment's or of another version.
    pub(super) fn open(disk: &dyn Disk, id: u64) -> Result<Self, JournalError> {
        let name = segment::name(id);
        let file = disk.open(&name).map_err(failed("open", &name))?;
        let len = file.len().map_err(failed("read", &name))?;
        let mut bytes = [0; HEADER_LEN];
        let read = read_full_at(&*file, &mut bytes, 0).map_err(failed("read", &name))?;
        // A header that was cut short says nothing about its version.
        let is_whole = read == HEADER_LEN;
        if let Some(version) = other_version(&bytes).filter(|_| is_whole) {
            return Err(JournalError::Version { name, version });
        }
        match Header::decode(bytes.get(..read).unwrap_or_default()) {
            // The file of another segment was copied here.
            Some(header) if header.segment != id => Err(JournalError::Foreign { name }),
            header => Ok(Self {
                id,
                file,
                len,
                header,
            }),
        }
    }

    /// Whether it has no bytes behind its header.
    pub(super) fn is_empty(&self) -> bool {
        self.len <= HEADER_LEN as u64
    }

    /// Up to `len` bytes from `start` on; fewer at the segment's end.
    pub(super) fn read(&self, start: usize, len: usize) -> Result<Bytes, JournalError> {
        let left = usize::try_from(self.len)
            .unwrap_or(usize::MAX)
            .saturating_sub(start);
        let mut bytes = vec![0; left.min(len)];
        let read = read_full_at(&*self.file, &mut bytes, start as u64)
            .map_err(failed("read", &segment::name(self.id)))?;
        bytes.truncate(read);
        Ok(bytes.into())
    }

    /// Cuts off a torn tail, and writes again what nothing proves to be synced: after a sync that
    /// failed it may be in memory only, and another sync would not write it.
    pub(super) fn secure_tail(&self, tail: Tail) -> Result<(), JournalError> {
        let name = segment::name(self.id);
        self.file
            .set_len(tail.sound)
            .map_err(failed("cut", &name))?;
        let unproven = tail.sound.saturating_sub(tail.proven);
        let mut bytes = vec![0; usize::try_from(unproven).unwrap_or(usize::MAX)];
        read_full_at(&*self.file, &mut bytes, tail.proven).map_err(failed("read", &name))?;
        write_all_at(&*self.file, &bytes, tail.proven).map_err(failed("write to", &name))?;
        self.file.sync().map_err(unsynced(&name))
    }
}

/// The version that a whole header names, if it is not ours.
///
/// A header that would be sound if it named our version is ours with a flipped bit: that is damage,
/// not another version.
fn other_version(header: &[u8; HEADER_LEN]) -> Option<u8> {
    let [format @ .., version] = header.first_chunk::<{ MAGIC.len() }>()?;
    let [our_format @ .., our_version] = &MAGIC;
    let is_other = format == our_format && version != our_version;
    (is_other && !is_sound_as_ours(header)).then_some(*version)
}

/// Whether a header would be sound if it named our version.
fn is_sound_as_ours(header: &[u8; HEADER_LEN]) -> bool {
    let mut ours = *header;
    ours.iter_mut()
        .zip(MAGIC)
        .for_each(|(byte, magic)| *byte = magic);
    Header::decode(&ours).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; HEADER_LEN] {
        Header {
            journal: [7; 16],
            segment: 1,
            oldest: 1,
            next_number: 1,
            first_sequence: 1,
        }
        .encode()
    }

    #[test]
    fn a_flipped_bit_is_no_other_version() {
        assert_eq!(other_version(&header()), None);
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = header();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(other_version(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_sound_header_of_another_version_is_known_by_it() {
        let mut newer = header();
        newer[7] = 2;
        let crc = crc32c::crc32c(&newer[..56]);
        newer[56..60].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(other_version(&newer), Some(2));
    }
}
