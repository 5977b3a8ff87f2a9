//! The content of a large file behind a native frame, which reserves more as it comes.

use tokio::io::AsyncRead;

use super::door::Inside;
use super::holding::Holding;
use super::session::Voice;
use super::upload::{Framed, Source, Upload};
use crate::bulk::WriteBehind;
use crate::protocol::{Message, ProtocolError};
use crate::transport::ReadError;

/// Content behind a native frame, and what its file holds.
pub(super) struct Growing<'a, R> {
    pub(super) framed: Framed<'a, R>,
    pub(super) door: &'a Inside,
    pub(super) voice: Voice,
    /// The file's reservations, for as long as its content is wanted.
    pub(super) holding: &'a mut Option<Holding>,
    /// Bytes of the file that came in all, with its title.
    pub(super) came: u64,
    /// Bytes that are still to come.
    pub(super) left: &'a mut u64,
}

impl<R: AsyncRead + Unpin> Growing<'_, R> {
    /// Reserves more if the bytes that came need it. A client that has to wait is told why.
    async fn grow(&mut self) -> Result<(), ReadError> {
        let Some(holding) = self.holding.as_mut() else {
            return Ok(());
        };
        let (gate, came, missing) = (self.door.gate(), self.came, *self.left);
        let reader = self.framed.reader();
        if holding.is_too_slow(gate, came, reader.deadlines().stall) {
            return Err(ReadError::GaveWay);
        }
        if holding.is_enough(came) {
            return Ok(());
        }
        if !holding.try_grow(gate, came) {
            let reason = gate.full_reason();
            self.voice.say(Message::Waiting { reason });
            let grown = tokio::select! {
                grown = holding.grow(gate, came) => grown.ok_or(ReadError::GaveWay),
                () = self.door.shutdown.draining.cancelled() => Err(ReadError::GaveWay),
                () = reader.cut_off(missing) => Err(ProtocolError::Truncated { missing }.into()),
            };
            self.voice.say(Message::Resumed);
            grown?;
        }
        let on_disk = holding.grow_disk(self.door, came).await;
        // The wait was ours, not the peer's.
        reader.begin_anew();
        on_disk.map_err(ReadError::Refused)
    }
}

impl<R: AsyncRead + Unpin> Source for Growing<'_, R> {
    /// The next frame comes behind it.
    const READ_PAST: bool = true;

    async fn pass(&mut self, writer: &mut WriteBehind<Upload>) -> Result<bool, ReadError> {
        let most = match self.holding {
            Some(holding) => holding.left(self.came),
            None => u64::MAX,
        };
        let came = self.framed.pass(most, writer).await?;
        if came > 0 {
            *self.left = self.left.saturating_sub(came);
            self.came = self.came.saturating_add(came);
            self.grow().await?;
        }
        Ok(came > 0)
    }

    fn proven_sum(&self) -> Option<u32> {
        Some(self.framed.sum())
    }

    fn not_wanted(&mut self) {
        *self.holding = None;
    }
}
