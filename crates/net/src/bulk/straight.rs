//! The part of a job that moves content between a connection and the disk: the thread that has the
//! bytes in its cache also reads, sums and writes them, and decrypts or encrypts them where TLS is
//! spoken; nobody is woken in between.
//!
//! A job goes on only as long as the peer keeps up. It waits for a peer that has been fast, and not
//! for long; all other waiting is left to the task.

use std::io;
use std::time::Duration;

use crate::Direct;
use bilico_core::checksum;

/// How much a job moves at once, in bytes.
pub(super) const STEP: usize = 256 * 1024;

/// The most that a job moves before others get its thread, in bytes.
pub(super) const TURN: u64 = 16 * 1024 * 1024;

/// A peer is fast that has kept a job busy with so many bytes.
const FAST: u64 = 128 * 1024;

/// How long a job waits for a fast peer.
const MOMENT: Duration = Duration::from_millis(2);

/// What a job has received.
#[derive(Debug)]
pub struct Received {
    /// How many bytes.
    pub bytes: u64,
    /// The CRC32C of all content until now.
    pub crc32c: u32,
    /// The connection has failed behind them.
    pub error: Option<io::Error>,
}

impl Received {
    /// Nothing yet, behind content with this CRC32C.
    pub(super) fn nothing(crc32c: u32) -> Self {
        Self {
            bytes: 0,
            crc32c,
            error: None,
        }
    }
}

/// Receives up to `most` bytes as long as they come fast, behind content with this CRC32C, and hands
/// them to `take` until that fails. The end of the connection is left to be found by the next read.
pub(super) fn receive(
    direct: &Direct,
    (most, crc32c): (u64, u32),
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> (Received, io::Result<()>) {
    let mut received = Received::nothing(crc32c);
    buffer.resize(STEP, 0);
    let most = most.min(TURN);
    while received.bytes < most {
        let left = usize::try_from(most - received.bytes).unwrap_or(STEP);
        let room = buffer.get_mut(..left.min(STEP)).unwrap_or_default();
        match direct.read_now(room) {
            Ok(0) => break,
            Ok(read) => {
                let came = buffer.get(..read).unwrap_or_default();
                received.bytes += read as u64;
                received.crc32c = checksum::append(received.crc32c, came);
                if let Err(error) = take(came) {
                    return (received, Err(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if received.bytes < FAST || !direct.wait_to_read(MOMENT) {
                    break;
                }
            }
            Err(error) => {
                received.error = Some(error);
                break;
            }
        }
    }
    (received, Ok(()))
}

/// Sends `bytes` for as long as the peer takes them, behind `before` that it took in this turn, and
/// gives how many it took. That the connection has failed is left to be found by the next write.
pub(super) fn send(direct: &Direct, bytes: &[u8], before: u64) -> usize {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match direct.write_now(rest) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if before + (sent as u64) < FAST || !direct.wait_to_write(MOMENT) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    sent
}

#[cfg(test)]
mod tests;
