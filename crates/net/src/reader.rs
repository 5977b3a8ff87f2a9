//! Reads preface, frames, content and JSON objects from a connection, with a deadline on every
//! wait.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use bilico_core::protocol::frame::{self, CHECKSUM_LEN};
use bilico_core::protocol::json::{self, JsonError, Splitter};
use bilico_core::protocol::limits::{IDLE_TIMEOUT, PROGRESS_BYTES, STALL_TIMEOUT};
use bilico_core::protocol::{Frame, ProtocolError, Refusal, RefusalCode};

/// What a read buffer starts with, and what is left of it when its connection rests: most
/// connections are idle.
const RESTING: usize = 512;

/// How long a connection brings nothing before its read buffer is given back.
const REST: Duration = Duration::from_secs(1);

/// How much is read ahead at most of what may be many small messages. It begins with a resting
/// buffer's length, and grows while the peer fills it.
const AHEAD: usize = 64 * 1024;

/// How much of large content is read at most in one call.
const READ_AHEAD: usize = 256 * 1024;

/// How long a connection may keep its reader waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// In the middle of a frame or an object, for [`PROGRESS_BYTES`] more or the rest of it.
    pub stall: Duration,
    /// Between two frames or objects.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
        }
    }
}

/// Why nothing more can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer stopped in the middle of something.
    #[error("stalled: no progress in the middle of a message for {0:?}")]
    Stalled(Duration),
    /// The peer said nothing for too long.
    #[error("silent for {0:?}")]
    Idle(Duration),
    /// The peer broke the native protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer broke the rules of the JSON doorway.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// There is no memory for content of this size.
    #[error("no memory for content of {0} bytes")]
    Memory(u64),
    /// A newer connection goes on with what came over this one.
    #[error("the file comes over another connection")]
    TakenOver,
    /// It was idle, and another connection needed its place.
    #[error("all places are taken, and this connection had nothing under way")]
    Crowded,
    /// What comes cannot be taken, as turned out while it came.
    #[error("{}", .0.reason)]
    Refused(Refusal),
}

impl ReadError {
    /// What to tell the peer, if it can still hear.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Protocol(error) => error.refusal(),
            Self::Memory(_) => Refusal::new(RefusalCode::Busy, self.to_string()),
            // Another connection will do.
            Self::TakenOver | Self::Crowded => {
                Refusal::new(RefusalCode::Stopping, self.to_string())
            }
            Self::Refused(refusal) => refusal.clone(),
            _ => Refusal::new(RefusalCode::Malformed, self.to_string()),
        }
    }
}

/// Logs how a connection ended: as it should, because the peer went away, or because the peer broke
/// a rule.
pub fn log_end(peer: SocketAddr, ended: Result<(), ReadError>) {
    match ended {
        Ok(()) => tracing::debug!(peer = %peer, "connection ended"),
        // Those who look for a place tell how many had to leave.
        Err(error @ ReadError::Crowded) => {
            tracing::debug!(peer = %peer, reason = %error, "connection closed")
        }
        Err(error @ (ReadError::Io(_) | ReadError::Idle(_) | ReadError::TakenOver)) => {
            tracing::info!(peer = %peer, reason = %error, "connection closed");
        }
        Err(error) => tracing::warn!(peer = %peer, reason = %error, "connection closed"),
    }
}

/// The reading half of a connection.
pub struct Reader<R> {
    io: R,
    buffer: BytesMut,
    /// How much is read ahead at present.
    ahead: usize,
    deadlines: Deadlines,
    splitter: Splitter,
    /// The time left for content that is read piece by piece.
    pieces: Option<ProgressDeadline>,
}

/// The time that the peer has left for what it is in the middle of.
#[derive(Debug, Default)]
pub struct ProgressDeadline {
    /// Set when it is first waited: what has come already needs no look at the clock.
    ends: Option<Instant>,
    came: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader over `io`.
    pub fn new(io: R, deadlines: Deadlines) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            ahead: RESTING,
            deadlines,
            splitter: Splitter::default(),
            pieces: None,
        }
    }

    /// What it reads from, and what it has read that nobody has taken.
    pub fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }

    /// Waits for the next byte and shows it; `None` at the end of the connection.
    pub async fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        if self.buffer.is_empty() && self.wait_for_more(self.idle_ends()).await? == 0 {
            return Ok(None);
        }
        Ok(self.buffer.first().copied())
    }

    /// Reads the native preface.
    pub async fn preface(&mut self) -> Result<(), ReadError> {
        let mut lap = ProgressDeadline::default();
        loop {
            if frame::decode_preface(&mut self.buffer)?.is_some() {
                return Ok(());
            }
            self.fill(&mut lap, 1).await?;
        }
    }

    /// Reads the next frame up to its content; `None` when the peer closed between two frames.
    pub async fn frame(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.peek().await?.is_none() {
            return Ok(None);
        }
        let mut lap = ProgressDeadline::default();
        loop {
            if let Some(frame) = frame::decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            self.fill(&mut lap, 1).await?;
        }
    }

    /// Whether the next frame is here already: then [`Self::frame`] does not wait.
    pub fn has_frame(&self) -> bool {
        frame::is_whole(&self.buffer)
    }

    /// Reads the content behind a frame whole and verifies its checksum. The caller has bounded
    /// `len`.
    pub async fn content(&mut self, len: u64) -> Result<Bytes, ReadError> {
        Ok(self.summed_content(len).await?.0)
    }

    /// The same, with the content's CRC32C.
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
        let mut crc = crc32c::crc32c(&content);
        let mut lap = ProgressDeadline::default();
        while content.len() < size {
            let missing = size - content.len();
            let before = content.len();
            let mut rest = (&mut self.io).take(missing as u64);
            let read = lap
                .bound(self.deadlines.stall, rest.read_buf(&mut content))
                .await?;
            lap.count(read, missing as u64 + CHECKSUM_LEN as u64)?;
            crc = crc32c::crc32c_append(crc, content.get(before..).unwrap_or_default());
        }
        self.verify(crc).await?;
        Ok((content.into(), crc))
    }

    /// Reads the next piece of content of which `left` bytes are still to come: at least one byte,
    /// and never more than `left`. The caller sums the checksum up and ends with [`Self::verify`].
    pub async fn piece(&mut self, left: u64) -> Result<Bytes, ReadError> {
        if self.buffer.is_empty() {
            let mut lap = self.pieces.take().unwrap_or_default();
            self.buffer.reserve(READ_AHEAD);
            self.fill(&mut lap, left).await?;
            self.pieces = Some(lap);
        }
        let take = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        if take as u64 == left {
            self.pieces = None;
        }
        Ok(self.buffer.split_to(take).freeze())
    }

    /// Reads the checksum behind content and compares it with that of the content that came.
    pub async fn verify(&mut self, crc: u32) -> Result<(), ReadError> {
        let mut lap = ProgressDeadline::default();
        while self.buffer.len() < CHECKSUM_LEN {
            self.fill(&mut lap, CHECKSUM_LEN as u64).await?;
        }
        let mut declared = [0; CHECKSUM_LEN];
        declared.copy_from_slice(&self.buffer.split_to(CHECKSUM_LEN));
        Ok(frame::verify(crc, declared)?)
    }

    /// Reads past content that is not wanted.
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

    /// Reads `len` bytes of content and their checksum, keeps nothing of them, and gives their
    /// CRC32C.
    pub async fn sum_content(&mut self, len: u64) -> Result<u32, ReadError> {
        let (mut left, mut crc32c) = (len, 0);
        while left > 0 {
            let piece = self.piece(left).await?;
            left -= piece.len() as u64;
            crc32c = crc32c::crc32c_append(crc32c, &piece);
        }
        if len > 0 {
            self.verify(crc32c).await?;
        }
        Ok(crc32c)
    }

    /// Reads at the JSON doorway until an object is whole and gives it; `None` when the peer closed
    /// between two objects. Gives [`Object::Large`] once, before more than `small` bytes of an
    /// object are held, so that the caller can make room for it; then it is called again.
    pub async fn object(&mut self, small: u64, limit: u64) -> Result<Option<Object>, ReadError> {
        if !self.splitter.is_inside() && !self.skip_space().await? {
            return Ok(None);
        }
        let mut lap = ProgressDeadline::default();
        let mut was_small = self.buffer.len() as u64 <= small;
        loop {
            if let Some(end) = self.splitter.find_end(&self.buffer)? {
                let object = self.buffer.split_to(end).freeze();
                return if end as u64 > limit {
                    Err(JsonError::TooLarge(limit))?
                } else {
                    Ok(Some(Object::Whole(object)))
                };
            }
            let held = self.buffer.len();
            if held as u64 > limit {
                return Err(JsonError::TooLarge(limit).into());
            }
            if was_small && held as u64 > small {
                return Ok(Some(Object::Large));
            }
            was_small = held as u64 <= small;
            self.fill(&mut lap, 1).await.map_err(|error| match error {
                ReadError::Protocol(ProtocolError::Truncated { .. }) => {
                    JsonError::Truncated(held).into()
                }
                other => other,
            })?;
        }
    }

    /// Reads on for a short while and throws it away, so that the peer gets to see what was sent
    /// last.
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

    /// Waits for the first byte of an object, past white space; false at the end of the connection.
    /// Nothing is lost when the wait is given up.
    pub async fn skip_space(&mut self) -> Result<bool, ReadError> {
        let ends = self.idle_ends();
        loop {
            let space = json::leading_space(&self.buffer);
            let _ = self.buffer.split_to(space);
            if !self.buffer.is_empty() {
                return Ok(true);
            }
            if self.wait_for_more(ends).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Waits between two messages, until then at the longest.
    async fn wait_for_more(&mut self, ends: Instant) -> Result<usize, ReadError> {
        self.buffer.reserve(self.ahead);
        // The rest of a longer buffer counts, too.
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
            Err(_) => Err(ReadError::Idle(self.deadlines.idle)),
        }
    }

    /// Reads what there is room for; a peer that fills it is read from in larger steps.
    async fn read(io: &mut R, buffer: &mut BytesMut, ahead: &mut usize) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let read = io.read_buf(buffer).await?;
        if read == room {
            *ahead = (*ahead * 4).min(AHEAD);
        }
        Ok(read)
    }

    fn idle_ends(&self) -> Instant {
        Instant::now() + self.deadlines.idle
    }

    /// Waits for more of what the peer is in the middle of; `missing` bytes of it are still to
    /// come, at least.
    async fn fill(&mut self, lap: &mut ProgressDeadline, missing: u64) -> Result<(), ReadError> {
        self.buffer.reserve(if self.buffer.len() >= AHEAD {
            READ_AHEAD
        } else {
            self.ahead
        });
        let reading = Self::read(&mut self.io, &mut self.buffer, &mut self.ahead);
        let read = lap.bound(self.deadlines.stall, reading).await?;
        lap.count(read, missing)
    }
}

/// What [`Reader::object`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Object {
    /// One whole object.
    Whole(Bytes),
    /// The beginning of an object that is larger than a small one.
    Large,
}

impl ProgressDeadline {
    /// Waits for more until the time is up.
    pub async fn bound<T>(
        &mut self,
        stall: Duration,
        read: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ReadError> {
        let ends = *self.ends.get_or_insert_with(|| Instant::now() + stall);
        timeout_at(ends, read)
            .await
            .map_err(|_| ReadError::Stalled(stall))?
            .map_err(ReadError::Io)
    }

    /// Gives the peer more time: for so long nothing was read from it.
    pub fn put_off(&mut self, by: Duration) {
        self.ends = self.ends.map(|ends| ends + by);
    }

    /// Counts what came: the end of the connection is an error here, and enough progress starts a
    /// new lap.
    pub fn count(&mut self, read: usize, missing: u64) -> Result<(), ReadError> {
        if read == 0 {
            return Err(ProtocolError::Truncated { missing }.into());
        }
        self.came += read;
        if self.came >= PROGRESS_BYTES {
            *self = Self::default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bilico_core::protocol::{Message, frame};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    const DEADLINES: Deadlines = Deadlines {
        stall: Duration::from_secs(30),
        idle: Duration::from_mins(10),
    };

    fn pair() -> (DuplexStream, Reader<DuplexStream>) {
        let (peer, ours) = duplex(1 << 20);
        (peer, Reader::new(ours, DEADLINES))
    }

    fn put(content: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        frame::encode(
            &Message::Put {
                id: 1,
                title: "t".into(),
                key: None,
                resumed: None,
            },
            content.len() as u64,
            &mut wire,
        );
        wire.extend_from_slice(content);
        wire.extend_from_slice(&frame::checksum(crc32c::crc32c(content)));
        wire
    }

    #[tokio::test]
    async fn content_comes_whole_however_it_is_cut() {
        for size in [1, 100, RESTING - 20, RESTING, AHEAD, 100_000] {
            let content: Vec<u8> = (0..size)
                .map(|byte| u8::try_from(byte % 251).unwrap())
                .collect();
            let (mut peer, mut reader) = pair();
            let wire = [put(&content), put(&content)].concat();
            for piece in wire.chunks(997) {
                peer.write_all(piece).await.unwrap();
            }
            for _ in 0..2 {
                let frame = reader.frame().await.unwrap().unwrap();
                assert_eq!(reader.content(frame.content_len).await.unwrap(), content);
            }
            drop(peer);
            assert!(reader.frame().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn pieces_and_skipped_content_leave_the_next_frame_in_place() {
        let content = vec![7; 600_000];
        let (mut peer, mut reader) = pair();
        let wire = [put(&content), put(&content), put(b"x")].concat();
        let writing = tokio::spawn(async move { peer.write_all(&wire).await });
        let len = reader.frame().await.unwrap().unwrap().content_len;
        let (mut left, mut crc) = (len, 0);
        while left > 0 {
            let piece = reader.piece(left).await.unwrap();
            left -= piece.len() as u64;
            crc = crc32c::crc32c_append(crc, &piece);
        }
        reader.verify(crc).await.unwrap();
        let len = reader.frame().await.unwrap().unwrap().content_len;
        reader.skip_content(len).await.unwrap();
        assert_eq!(reader.frame().await.unwrap().unwrap().content_len, 1);
        assert_eq!(reader.content(1).await.unwrap(), b"x".as_slice());
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_end_in_the_middle_tells_how_much_is_missing() {
        let (mut peer, mut reader) = pair();
        let wire = put(&[1; 100]);
        peer.write_all(&wire[..wire.len() - 34]).await.unwrap();
        drop(peer);
        let frame = reader.frame().await.unwrap().unwrap();
        let error = reader.content(frame.content_len).await.unwrap_err();
        assert!(
            matches!(
                error,
                ReadError::Protocol(ProtocolError::Truncated { missing: 34 })
            ),
            "30 of the content and 4 of the checksum: {error}"
        );
    }

    #[tokio::test]
    async fn a_declared_size_beyond_all_memory_is_an_error() {
        let (_peer, mut reader) = pair();
        assert!(matches!(
            reader.content(u64::MAX).await,
            Err(ReadError::Memory(u64::MAX))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_idle_between_frames_and_after_stall_in_one() {
        let (mut peer, mut reader) = pair();
        let started = Instant::now();
        assert!(matches!(reader.frame().await, Err(ReadError::Idle(_))));
        assert_eq!(started.elapsed().as_secs(), 600);
        peer.write_all(&[0, 0]).await.unwrap();
        let started = Instant::now();
        assert!(matches!(reader.frame().await, Err(ReadError::Stalled(_))));
        assert_eq!(started.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress_but_a_slow_line_is() {
        let (mut peer, mut reader) = pair();
        let trickle = tokio::spawn(async move {
            while peer.write_all(b"{").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let started = Instant::now();
        assert!(matches!(
            reader.object(1 << 20, 1 << 20).await,
            Err(ReadError::Stalled(_))
        ));
        assert_eq!(started.elapsed().as_secs(), 30);
        drop(reader);
        trickle.await.unwrap();

        let (mut peer, mut reader) = pair();
        let slow = tokio::spawn(async move {
            let wire = put(&vec![1; 20 * PROGRESS_BYTES]);
            for piece in wire.chunks(PROGRESS_BYTES) {
                tokio::time::sleep(Duration::from_secs(20)).await;
                peer.write_all(piece).await.unwrap();
            }
            peer
        });
        let len = reader.frame().await.unwrap().unwrap().content_len;
        assert_eq!(reader.content(len).await.unwrap().len() as u64, len);
        drop(slow.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress_for_content_in_pieces_either() {
        let (mut peer, mut reader) = pair();
        let trickle = tokio::spawn(async move {
            while peer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let started = Instant::now();
        assert!(matches!(
            reader.skip_content(u64::MAX).await,
            Err(ReadError::Stalled(_))
        ));
        assert_eq!(started.elapsed().as_secs(), 30);
        drop(reader);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn objects_are_found_announced_when_large_and_bounded() {
        let (mut peer, mut reader) = pair();
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(50_000));
        peer.write_all(format!(" {{}} {large}\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(
            reader.object(10_000, 60_000).await.unwrap(),
            Some(Object::Whole("{}".into()))
        );
        let mut found = reader.object(10_000, 60_000).await.unwrap();
        if found == Some(Object::Large) {
            found = reader.object(10_000, 60_000).await.unwrap();
        }
        assert_eq!(found, Some(Object::Whole(large.clone().into())));
        peer.write_all(large.as_bytes()).await.unwrap();
        drop(peer);
        let mut ended = reader.object(10_000, 40_000).await;
        if matches!(ended, Ok(Some(Object::Large))) {
            ended = reader.object(10_000, 40_000).await;
        }
        assert!(
            matches!(ended, Err(ReadError::Json(JsonError::TooLarge(40_000)))),
            "{ended:?}"
        );
    }
}
