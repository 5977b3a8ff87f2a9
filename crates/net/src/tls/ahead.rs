//! Records that were read and are not decrypted yet.

use std::io::{self, Read};
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;

use crate::stream::{BoxStream, Socket};

/// How much a task reads in one call while much comes. rustls itself asks for 4 KiB at a time.
const AHEAD: usize = 64 * 1024;

/// How much a job reads in one call: the less often it waits for a fast peer, the fewer wake-ups. It
/// has the memory for as long as it runs.
const FAR_AHEAD: usize = 256 * 1024;

/// Records, and parts of them. It has no memory before it is filled, and none after
/// [`Self::release`].
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }

    fn clear(&mut self, room: usize) -> &mut Vec<u8> {
        self.taken = 0;
        self.bytes.clear();
        self.bytes.reserve(room);
        &mut self.bytes
    }

    /// Reads what comes once all is taken; 0 at the end of the connection.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut BoxStream,
    ) -> Poll<io::Result<usize>> {
        pin!(stream.read_buf(self.clear(AHEAD))).poll(cx)
    }

    /// The same without waiting.
    pub(super) fn fill_now(&mut self, socket: &Socket) -> io::Result<usize> {
        socket.read_more_now(self.clear(FAR_AHEAD))
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.taken..).unwrap_or_default();
        let read = Read::read(&mut rest, buffer)?;
        self.taken += read;
        Ok(read)
    }
}
