//! Large content on its way out, compared with the client's checksum while it is read. What goes
//! ahead has no checksum yet: there the server compares.

use std::io;
use std::sync::Arc;

use crate::bulk::{Fill, ReadAhead};
use crate::checksum;
use crate::queue::content;
use crate::queue::disk::{Disk, DiskFile, read_full_at};
use crate::transport::Direct;

/// How much is read and sent at once, in bytes.
const STEP: usize = 256 * 1024;

/// Content of a file of its own.
pub(super) struct LargeContent {
    place: Place,
    offset: u64,
    /// Where it ends, in bytes from its beginning.
    end: u64,
    /// `None`: whoever receives it finds out whether it is sound.
    proof: Option<Proof>,
}

/// Where content stands.
enum Place {
    Content(Arc<dyn Disk>, u64),
    Opened(Arc<dyn DiskFile>),
}

/// Two sums that are the same at the end of sound content.
struct Proof {
    /// What it must have.
    crc32c: u32,
    /// The CRC32C of what was read.
    read: u32,
}

impl LargeContent {
    /// Begins to read `size` bytes. Content that does not have this CRC32C ends in an error before
    /// its last piece.
    pub(super) fn open(disk: Arc<dyn Disk>, id: u64, size: u64, crc32c: u32) -> ReadAhead<Self> {
        ReadAhead::new(Self {
            place: Place::Content(disk, id),
            offset: 0,
            end: size,
            proof: Some(Proof { crc32c, read: 0 }),
        })
    }

    /// Content that is still being written to `file`, of which nothing is known to be there yet.
    pub(super) fn coming(file: Arc<dyn DiskFile>, direct: Option<Direct>) -> ReadAhead<Self> {
        let nothing = Self {
            place: Place::Opened(file),
            offset: 0,
            end: 0,
            proof: None,
        };
        ReadAhead::empty(nothing, direct)
    }

    /// So many bytes of it are there now.
    pub(super) fn grows_to(&mut self, bytes: u64) {
        self.end = bytes;
    }

    fn file(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        let file = match &self.place {
            Place::Opened(file) => return Ok(file.clone()),
            Place::Content(disk, id) => disk.open(&content::name(*id))?,
        };
        self.place = Place::Opened(file.clone());
        Ok(file)
    }
}

impl Fill for LargeContent {
    type Piece = Vec<u8>;
    type Error = io::Error;

    fn fill(&mut self, piece: &mut Vec<u8>) -> io::Result<bool> {
        if self.offset == self.end {
            return Ok(false);
        }
        let file = self.file()?;
        let left = usize::try_from(self.end - self.offset).unwrap_or(STEP);
        piece.resize(left.min(STEP), 0);
        fill(&*file, piece, self.offset)?;
        self.offset += piece.len() as u64;
        if let Some(proof) = &mut self.proof {
            proof.read = checksum::append(proof.read, piece);
            if self.offset == self.end && proof.read != proof.crc32c {
                return Err(io::Error::other("its content is damaged in the journal"));
            }
        }
        Ok(true)
    }

    fn ready(piece: &Vec<u8>) -> Option<&[u8]> {
        Some(piece)
    }
}

fn fill(file: &dyn DiskFile, piece: &mut [u8], offset: u64) -> io::Result<()> {
    match read_full_at(file, piece, offset)? {
        read if read < piece.len() => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::Next;
    use crate::queue::RealDisk;

    async fn collect(mut content: ReadAhead<LargeContent>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = content.next().await {
            let Next { piece, sent } = piece?;
            assert_eq!(sent, 0);
            all.extend_from_slice(&piece);
            content.reuse(piece);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn content_comes_whole_and_damage_ends_before_the_last_piece() {
        let dir = tempfile::tempdir().unwrap();
        let disk = || Arc::new(RealDisk::open(dir.path()).unwrap());
        for size in [1, STEP - 1, STEP, STEP * 11 + 5] {
            let bytes: Vec<u8> = (0..size)
                .map(|byte| u8::try_from(byte % 251).unwrap())
                .collect();
            std::fs::write(dir.path().join(content::name(1)), &bytes).unwrap();
            let (len, crc) = (bytes.len() as u64, crc32c::crc32c(&bytes));
            assert!(
                collect(LargeContent::open(disk(), 1, len, crc))
                    .await
                    .unwrap()
                    == bytes
            );
            let damaged = collect(LargeContent::open(disk(), 1, len, !crc))
                .await
                .unwrap_err();
            assert!(damaged.to_string().contains("damaged"));
            let short = collect(LargeContent::open(disk(), 1, len + 1, crc))
                .await
                .unwrap_err();
            assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        }
        let missing = collect(LargeContent::open(disk(), 2, 1, 0))
            .await
            .unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
