//! Uploads whose pieces are damaged between the comparison at the doorway and the disk.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Coming, Source, Upload, Uploaded, Uploads};
use crate::bulk::WriteBehind;
use crate::protocol::{Prefix, Refusal, RefusalCode};
use crate::queue::RealDisk;
use crate::queue::disk::Disk;
use crate::queue::{Durability, content};
use crate::transport::ReadError;

/// Pieces, and the CRC32C of what the client sent.
struct Pieces {
    left: Vec<Bytes>,
    sum: u32,
}

impl Source for Pieces {
    const READ_PAST: bool = false;

    async fn pass(&mut self, writer: &mut WriteBehind<Upload>) -> Result<bool, ReadError> {
        let Some(piece) = self.left.pop() else {
            return Ok(false);
        };
        Ok(writer.write(piece).await)
    }

    fn proven_sum(&self) -> Option<u32> {
        Some(self.sum)
    }
}

async fn receive(
    uploads: &Uploads,
    piece: &[u8],
    sent: &[u8],
    resumed: Option<Prefix>,
) -> Result<Uploaded, Refusal> {
    let source = Pieces {
        left: vec![Bytes::copy_from_slice(piece)],
        sum: crc32c::crc32c(sent),
    };
    let coming = Coming {
        mark: Some(1),
        resumed,
        size: None,
    };
    uploads.receive(source, coming).await.unwrap()
}

/// The sum of the bytes that were written became the client's.
#[tokio::test]
async fn a_piece_that_is_damaged_on_its_way_to_the_disk_is_refused_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (hub, _events) = mpsc::unbounded_channel();
    let uploads = Uploads::new(disk.clone(), Durability::Disk, 1, hub);
    let beginning = Prefix {
        offset: 5,
        crc32c: crc32c::crc32c(b"begin"),
    };
    for resumed in [None, Some(beginning)] {
        for (piece, is_good) in [(b"sent", true), (b"lent", false)] {
            if resumed.is_some() {
                let part = disk.create(&content::part_name(1)).unwrap();
                part.write_at(b"begin", 0).unwrap();
            }
            let received = receive(&uploads, piece, b"sent", resumed).await;
            match received {
                Ok(uploaded) => {
                    assert!(is_good, "{resumed:?}");
                    let whole = match resumed {
                        Some(_) => &b"beginsent"[..],
                        None => b"sent",
                    };
                    assert_eq!(uploaded.crc32c, crc32c::crc32c(whole));
                }
                Err(refusal) => {
                    assert!(!is_good, "{refusal:?}");
                    assert_eq!(refusal.code, RefusalCode::Checksum);
                    assert!(refusal.reason.contains("damaged in memory"), "{refusal:?}");
                }
            }
            assert_eq!(disk.list().unwrap(), [], "nothing is left behind");
        }
    }
}
