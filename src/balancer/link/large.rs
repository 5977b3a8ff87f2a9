//! Large content on its way out: read ahead of what is sent, by a thread that may wait for the
//! disk.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::queue::content;
use crate::queue::disk::{Disk, DiskFile, read_full_at};

/// How much is read and sent at once, in bytes.
const STEP: usize = 256 * 1024;

/// How many pieces are read ahead at the most.
const AHEAD: usize = 4;

/// Content of a file of its own, piece by piece.
pub(super) struct LargeContent {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    used: mpsc::UnboundedSender<Vec<u8>>,
}

impl LargeContent {
    /// Begins to read `size` bytes. Content that does not have this CRC32C ends in an error before
    /// its last piece.
    pub(super) fn open(disk: Arc<dyn Disk>, id: u64, size: u64, crc32c: u32) -> Self {
        let (filled, pieces) = mpsc::channel(AHEAD);
        let (used, free) = mpsc::unbounded_channel();
        spawn_blocking(move || {
            if let Err(error) = read(&*disk, id, size, crc32c, &filled, free) {
                let _ = filled.blocking_send(Err(error));
            }
        });
        Self { pieces, used }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.pieces.recv().await
    }

    /// Gives the memory of a piece back, to be used again.
    pub(super) fn reuse(&self, piece: Vec<u8>) {
        let _ = self.used.send(piece);
    }
}

fn read(
    disk: &dyn Disk,
    id: u64,
    size: u64,
    crc32c: u32,
    filled: &mpsc::Sender<io::Result<Vec<u8>>>,
    mut free: mpsc::UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    let file = disk.open(&content::name(id))?;
    let (mut offset, mut crc) = (0, 0);
    while offset < size {
        let mut piece = free.try_recv().unwrap_or_default();
        piece.resize(usize::try_from(size - offset).unwrap_or(STEP).min(STEP), 0);
        fill(&*file, &mut piece, offset)?;
        crc = crc32c::crc32c_append(crc, &piece);
        offset += piece.len() as u64;
        if offset == size && crc != crc32c {
            return Err(io::Error::other("its content is damaged in the journal"));
        }
        if filled.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
    Ok(())
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
    use crate::queue::RealDisk;

    async fn collect(mut content: LargeContent) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = content.next().await {
            let piece = piece?;
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
        // Nobody who listens: the thread ends, or the runtime would wait for it here.
        drop(LargeContent::open(disk(), 1, (STEP * 11 + 5) as u64, 0));
    }
}
