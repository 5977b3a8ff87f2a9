//! Reads preface, frames and content from a connection, with a deadline on every wait.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::bulk::{More, Received, Sink, WriteBehind};
use super::{Deadlines, Direct, ProgressDeadline, ReadError};
use bilico_core::checksum;
use bilico_core::protocol::Frame;
use bilico_core::protocol::frame::{self, CHECKSUM_LEN};
use bilico_core::protocol::limits::{MAX_HEADER, MAX_HELLO};

/// Initial capacity of a read buffer, and what it shrinks to while the connection is idle: most
/// connections are.
const RESTING: usize = 512;

/// How long a connection is idle before its read buffer shrinks.
const REST: Duration = Duration::from_secs(1);

/// The most that is read ahead in one call while many small messages may come. A reader begins with
/// [`RESTING`], and reads more as long as the peer fills it.
const AHEAD: usize = 64 * 1024;

/// The most that is read in one call of large content.
const READ_AHEAD: usize = 256 * 1024;

/// The reading half of a connection.
pub struct Reader<R> {
    io: R,
    /// The direct way to what `io` reads from, by which large content may be read.
    direct: Option<Direct>,
    pub(super) buffer: BytesMut,
    /// How much the next call reads ahead, in bytes.
    ahead: usize,
    deadlines: Deadlines,
    /// The deadline of content that is read piece by piece.
    pieces: Option<ProgressDeadline>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader over `io`.
    pub fn new(io: R, deadlines: Deadlines) -> Self {
        Self {
            io,
            direct: None,
            buffer: BytesMut::new(),
            ahead: RESTING,
            deadlines,
            pieces: None,
        }
    }

    /// The same, where large content may be read by the direct way to what `io` reads from.
    pub fn over(io: R, direct: Option<Direct>, deadlines: Deadlines) -> Self {
        Self {
            direct,
            ..Self::new(io, deadlines)
        }
    }

    /// The underlying stream, and the bytes that were read from it and not taken yet.
    pub fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }

    /// Waits for the next byte and returns it without taking it; `None` at the end of the
    /// connection.
    pub async fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        self.peek_within(self.deadlines.idle).await
    }

    /// The same, where the peer may be silent for so long.
    pub async fn peek_within(&mut self, idle: Duration) -> Result<Option<u8>, ReadError> {
        let ends = Instant::now() + idle;
        if self.buffer.is_empty() && self.wait_for_more(ends, idle).await? == 0 {
            return Ok(None);
        }
        Ok(self.buffer.first().copied())
    }

    /// Reads the native preface.
    pub async fn preface(&mut self) -> Result<(), ReadError> {
        let mut deadline = ProgressDeadline::default();
        loop {
            if frame::decode_preface(&mut self.buffer)?.is_some() {
                return Ok(());
            }
            self.fill(&mut deadline, 1).await?;
        }
    }

    /// Reads the next frame up to its content; `None` when the peer closed between two frames.
    /// Cancel safe.
    pub async fn frame(&mut self) -> Result<Option<Frame>, ReadError> {
        self.frame_within(MAX_HEADER).await
    }

    /// Reads a peer's first frame up to its content; `None` when the peer closed before it. Its
    /// header is bounded more tightly than others: nobody knows the peer yet.
    pub async fn hello(&mut self) -> Result<Option<Frame>, ReadError> {
        self.frame_within(MAX_HELLO).await
    }

    async fn frame_within(&mut self, most: u32) -> Result<Option<Frame>, ReadError> {
        if self.peek().await?.is_none() {
            return Ok(None);
        }
        let mut deadline = ProgressDeadline::default();
        loop {
            if let Some(frame) = frame::decode_within(&mut self.buffer, most)? {
                return Ok(Some(frame));
            }
            self.fill(&mut deadline, 1).await?;
        }
    }

    /// Whether the next frame is buffered: then [`Self::frame`] does not wait.
    pub fn has_frame(&self) -> bool {
        frame::is_whole(&self.buffer)
    }

    /// Reads the content behind a frame whole and verifies its checksum. The caller has bounded
    /// `len`.
    pub async fn content(&mut self, len: u64) -> Result<Bytes, ReadError> {
        Ok(self.summed_content(len).await?.0)
    }

    /// Like [`Self::content`], and returns the content's CRC32C, too.
    pub async fn summed_content(&mut self, len: u64) -> Result<(Bytes, u32), ReadError> {
        if len == 0 {
            return Ok((Bytes::new(), 0));
        }
        let size = usize::try_from(len).map_err(|_| ReadError::Memory(len))?;
        let mut content = Vec::new();
        content
            .try_reserve_exact(size)
            .map_err(|_| ReadError::Memory(len))?;
        let buffered = self.buffer.split_to(size.min(self.buffer.len()));
        content.extend_from_slice(&buffered);
        drop(buffered);
        let mut crc = checksum::crc32c(&content);
        let mut deadline = ProgressDeadline::default();
        while content.len() < size {
            let missing = size - content.len();
            let before = content.len();
            let mut rest = (&mut self.io).take(missing as u64);
            let read = deadline
                .bound(self.deadlines.stall, rest.read_buf(&mut content))
                .await?;
            deadline.count(read, missing as u64 + CHECKSUM_LEN as u64)?;
            crc = checksum::append(crc, content.get(before..).unwrap_or_default());
        }
        self.verify(crc).await?;
        Ok((content.into(), crc))
    }

    /// Reads the next piece of content of which `left` bytes are still to come: at least one byte,
    /// and never more than `left`. The caller computes the checksum and ends with [`Self::verify`].
    pub async fn piece(&mut self, left: u64) -> Result<Bytes, ReadError> {
        if self.buffer.is_empty() {
            let mut deadline = self.pieces.take().unwrap_or_default();
            self.buffer.reserve(READ_AHEAD);
            self.fill(&mut deadline, left).await?;
            self.pieces = Some(deadline);
        }
        let take = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        if take as u64 == left {
            self.pieces = None;
        }
        Ok(self.buffer.split_to(take).freeze())
    }

    /// Hands the next piece of content of which `left` bytes are still to come to `writer`, and what
    /// follows it fast, about `most` bytes in all. Gives what came; `crc32c` is that of the content
    /// before it. Once the disk of `writer` has failed, what comes is read past.
    pub async fn pass<S: Sink>(
        &mut self,
        left: u64,
        most: u64,
        crc32c: u32,
        writer: &mut WriteBehind<S>,
    ) -> Result<Received, ReadError> {
        let piece = writer.beside(self.piece(left)).await?;
        let (first, crc32c) = (piece.len() as u64, checksum::append(crc32c, &piece));
        let most = most.min(left).saturating_sub(first);
        let mut came = Received {
            bytes: first,
            crc32c,
            error: None,
        };
        match self.direct.clone().filter(|_| self.buffer.is_empty()) {
            Some(direct) if most > 0 => {
                let began = Instant::now();
                let more = More {
                    direct,
                    most,
                    crc32c,
                };
                let more = writer.write_and_receive(piece, more).await;
                self.count(more.bytes, left - first, began.elapsed())?;
                came.crc32c = more.crc32c;
                came.bytes += more.bytes;
                if let Some(error) = more.error {
                    return Err(error.into());
                }
            }
            _ => {
                writer.write(piece).await;
            }
        }
        Ok(came)
    }

    /// Counts bytes of content that a job has read in so much time, which is not the peer's: the job
    /// may have waited for the disk.
    fn count(&mut self, bytes: u64, left: u64, time: Duration) -> Result<(), ReadError> {
        if bytes == left {
            self.pieces = None;
        } else if let Some(deadline) = &mut self.pieces {
            deadline.put_off(time);
            if bytes > 0 {
                deadline.count(usize::try_from(bytes).unwrap_or(usize::MAX), left)?;
            }
        }
        Ok(())
    }

    /// Gives the peer the full time again for the next piece of content: it was not read from.
    pub fn begin_anew(&mut self) {
        self.pieces = None;
    }

    /// The deadlines of its waits.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// Waits, while nothing is to be taken, until the peer has gone before `missing` bytes of
    /// content came and their checksum; never returns otherwise. What comes meanwhile is kept, up
    /// to a bound: behind more than that the end cannot be seen. Cancel safe.
    pub async fn cut_off(&mut self, missing: u64) {
        let missing = match missing {
            0 => 0,
            content => content.saturating_add(CHECKSUM_LEN as u64),
        };
        while (self.buffer.len() as u64) < missing && self.buffer.len() < AHEAD {
            self.buffer.reserve(self.ahead);
            let mut bounded = (&mut self.io).take((AHEAD - self.buffer.len()) as u64);
            if !matches!(bounded.read_buf(&mut self.buffer).await, Ok(1..)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Reads the checksum behind content and compares it with `crc`, that of the content that came.
    pub async fn verify(&mut self, crc: u32) -> Result<(), ReadError> {
        let mut deadline = ProgressDeadline::default();
        while self.buffer.len() < CHECKSUM_LEN {
            self.fill(&mut deadline, CHECKSUM_LEN as u64).await?;
        }
        let mut declared = [0; CHECKSUM_LEN];
        declared.copy_from_slice(&self.buffer.split_to(CHECKSUM_LEN));
        Ok(frame::verify(crc, declared)?)
    }

    /// Reads content and its checksum, and discards both.
    pub async fn skip_content(&mut self, len: u64) -> Result<(), ReadError> {
        let mut left = if len == 0 {
            0
        } else {
            len.saturating_add(CHECKSUM_LEN as u64)
        };
        while left > 0 {
            left -= self.piece(left).await?.len() as u64;
        }
        Ok(())
    }

    /// Reads `len` bytes of content, verifies and returns their CRC32C, and discards them.
    pub async fn sum_content(&mut self, len: u64) -> Result<u32, ReadError> {
        let (mut left, mut crc32c) = (len, 0);
        while left > 0 {
            let piece = self.piece(left).await?;
            left -= piece.len() as u64;
            crc32c = checksum::append(crc32c, &piece);
        }
        if len > 0 {
            self.verify(crc32c).await?;
        }
        Ok(crc32c)
    }

    /// Reads for a short while and discards what comes. A socket that is closed with unread bytes
    /// resets the connection, and the peer might lose the message that was sent last.
    pub async fn linger(&mut self, limit: Duration) {
        let ends = Instant::now() + limit;
        loop {
            self.buffer.clear();
            match timeout_at(ends, self.io.read_buf(&mut self.buffer)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return,
            }
        }
    }

    /// Waits for bytes between two messages until `ends`, when the peer has been silent for `idle`.
    pub(super) async fn wait_for_more(
        &mut self,
        ends: Instant,
        idle: Duration,
    ) -> Result<usize, ReadError> {
        self.buffer.reserve(self.ahead);
        // What is left of a longer buffer counts, too.
        if self.buffer.capacity() > RESTING {
            let rests = ends.min(Instant::now() + REST);
            if let Ok(read) = timeout_at(
                rests,
                Self::read(&mut self.io, &mut self.buffer, &mut self.ahead),
            )
            .await
            {
                return Ok(read?);
            }
            (self.buffer, self.ahead) = (BytesMut::with_capacity(RESTING), RESTING);
        }
        match timeout_at(
            ends,
            Self::read(&mut self.io, &mut self.buffer, &mut self.ahead),
        )
        .await
        {
            Ok(read) => Ok(read?),
            Err(_) => Err(ReadError::Idle(idle)),
        }
    }

    /// Reads what the buffer has room for. When the peer fills it, the next call reads more.
    async fn read(io: &mut R, buffer: &mut BytesMut, ahead: &mut usize) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let read = io.read_buf(buffer).await?;
        if read == room {
            *ahead = (*ahead * 4).min(AHEAD);
        }
        Ok(read)
    }

    /// Waits for more of the message that the peer has begun, of which at least `missing` bytes are
    /// still to come.
    pub(super) async fn fill(
        &mut self,
        deadline: &mut ProgressDeadline,
        missing: u64,
    ) -> Result<(), ReadError> {
        self.buffer.reserve(if self.buffer.len() >= AHEAD {
            READ_AHEAD
        } else {
            self.ahead
        });
        let reading = Self::read(&mut self.io, &mut self.buffer, &mut self.ahead);
        let read = deadline.bound(self.deadlines.stall, reading).await?;
        deadline.count(read, missing)
    }
}

#[cfg(test)]
mod tests;
