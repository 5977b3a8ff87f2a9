//! The native doorway: files in, receipts out, any number of either under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::Door;
use super::introduction::Introduced;
use super::put::Put;
use super::receipts::{Backpressure, write_receipts};
use super::session::Session;
use crate::access::{Allowed, At, Pass, ToReadOwn};
use crate::balancer::messages::{ClientAnswer, Offer, Outlet, next_connection};
use crate::protocol::limits::LINGER;
use crate::protocol::{Frame, Message, ProtocolError, Refusal};
use crate::queue::key_hash;
use crate::transport::{ReadError, Reader, Rest, Seat};

/// How a session ends in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// The client has closed its half: it sends nothing more, and may be gone.
    Gone,
    /// The balancer stops, or nothing more can be written.
    Stopped,
}

/// Serves a native client to the end of its connection.
pub(super) async fn serve<R, W>(
    reader: Reader<R>,
    write: W,
    (at, pass): (At, Pass),
    door: &Door,
    stall: Duration,
    seat: Arc<Seat>,
    barred: Option<Refusal>,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (to_client, outgoing) = mpsc::unbounded_channel();
    let backpressure = Arc::new(Backpressure::default());
    let to_client = Outlet::new(to_client, backpressure.bytes.clone());
    let ended = backpressure.writer_ended.clone();
    let of_seat = backpressure.clone();
    seat.ask_before(move || of_seat.owes());
    let told = seat.clone();
    let peer = pass.from().clone();
    let mut session = Session {
        reader,
        connection: next_connection(),
        to_client,
        backpressure: backpressure.clone(),
        inside: pass.allow().map(|allowed| door.enter(allowed)),
        at,
        pass,
        of_user: None,
        door,
        seat,
    };
    let writer = write_receipts(write, outgoing, backpressure, stall);
    let writing = async {
        if let Err(error) = writer.await {
            told.complain(|left_out| {
                tracing::info!(peer = &*peer, reason = %error, left_out, "cannot send receipts");
            });
        }
        ended.cancel();
    };
    let reading = async {
        let result = tokio::select! {
            () = ended.cancelled() => Ok(Parting::Stopped),
            result = session.run(barred) => result,
        };
        session.leave(result).await
    };
    tokio::join!(reading, writing).0
}

impl<R: AsyncRead + Unpin> Session<'_, R> {
    /// Serves the client, unless it is barred for a reason that it is told.
    async fn run(&mut self, barred: Option<Refusal>) -> Result<Parting, ReadError> {
        if let Some(refusal) = barred {
            return Err(ReadError::Refused(refusal));
        }
        let seat = self.seat.clone();
        let is_there = tokio::select! {
            () = seat.asked_to_leave() => Err(ReadError::Crowded),
            is_there = self.introduce() => is_there,
        };
        match is_there? {
            Introduced::Gone => return Ok(Parting::Gone),
            // Boxed: few connections are of members.
            Introduced::Member(hello) => return Box::pin(self.be_member(*hello)).await,
            Introduced::Client => {}
        }
        seat.know();
        let pass = self.pass.clone();
        if pass.user().is_none() {
            return self.frames().await;
        }
        tokio::select! {
            result = self.frames() => result,
            denied = pass.ended() => Err(ReadError::Refused(denied.refusal())),
        }
    }

    /// Takes what the client sends.
    async fn frames(&mut self) -> Result<Parting, ReadError> {
        loop {
            // A frame that has come already needs neither the seat nor the clock.
            if !self.reader.has_frame() {
                self.seat.rest(Rest::Idle);
            }
            let next = tokio::select! {
                biased;
                () = self.door.shutdown.draining.cancelled() => None,
                next = Self::next_of(&mut self.reader, &self.backpressure) => Some(next?),
                () = self.seat.asked_to_leave() => return Err(ReadError::Crowded),
            };
            self.seat.work();
            match next {
                None => {
                    self.say(Message::Bye(self.door.farewell()));
                    return Ok(Parting::Stopped);
                }
                Some(None) => return Ok(Parting::Gone),
                Some(Some(frame)) => self.handle(frame).await?,
            }
            self.backpressure.wait_for_room().await;
        }
    }

    /// The next frame. A client may be silent for as long as it has files under way.
    async fn next_of(
        reader: &mut Reader<R>,
        backpressure: &Backpressure,
    ) -> Result<Option<Frame>, ReadError> {
        loop {
            match reader.frame().await {
                Err(ReadError::Idle(_)) if backpressure.has_open_files() => {}
                other => return other,
            }
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), ReadError> {
        match frame.message {
            Message::Put {
                id,
                title,
                key,
                resumed,
            } => {
                let size = frame.content_len;
                match self.inside.clone() {
                    Ok(inside) => {
                        let put = Put {
                            id,
                            title,
                            key: key.map(|key| inside.own_key(key)),
                            resumed,
                            size,
                        };
                        self.take(put, &inside).await
                    }
                    Err(denied) => {
                        let refusal = denied.refusal();
                        self.say(Message::Refused { id, refusal });
                        self.skip(size).await
                    }
                }
            }
            Message::Offer {
                id,
                key,
                size,
                crc32c,
            } => {
                let inside = match &self.inside {
                    Ok(inside) => inside.clone(),
                    Err(denied) => {
                        let refusal = denied.refusal();
                        self.say(Message::Refused { id, refusal });
                        return Ok(());
                    }
                };
                let key = inside.own_key(key);
                let offset = inside.uploads().there(key_hash(&key)).await.min(size);
                let reply = self.reply(id);
                let offer = Offer {
                    key,
                    size,
                    crc32c,
                    offset,
                    reply,
                };
                inside.offer(offer).await;
                Ok(())
            }
            Message::Status if frame.content_len == 0 => match self.pass.allow() {
                Ok(allowed) => {
                    self.answer_status(&allowed).await;
                    Ok(())
                }
                Err(denied) => Err(ReadError::Refused(denied.refusal())),
            },
            Message::Account => self.take_account(frame.content_len).await,
            _ => Err(ProtocolError::Unexpected(
                "a balancer takes `put`, `offer`, `status` and `account` from a client",
            )
            .into()),
        }
    }

    /// Answers a status request.
    async fn answer_status(&self, allowed: &Allowed<ToReadOwn>) {
        if let Ok(status) = self.door.ask_status(allowed).await {
            self.answer(ClientAnswer::Status(Box::new(status))).await;
        }
    }

    /// Says why the connection ends, and keeps it open for the receipts that are still to come. A
    /// client that has gone gets only those that say whether its files are accepted: deliveries can
    /// take for ever, and a connection is dear.
    async fn leave(mut self, result: Result<Parting, ReadError>) -> Result<(), ReadError> {
        match &result {
            Err(error) => self.say(Message::Bye(error.refusal())),
            Ok(Parting::Gone) => self.wait_for_what_is_due().await,
            Ok(Parting::Stopped) => {}
        }
        drop(self.to_client);
        tokio::select! {
            () = self.backpressure.writer_ended.cancelled() => {}
            () = self.door.shutdown.ended.cancelled() => {}
        }
        match result {
            // There is nothing more to read, or nothing had been sent.
            Ok(Parting::Gone) => Ok(()),
            Err(error @ ReadError::Crowded) => Err(error),
            other => {
                self.reader.linger(LINGER).await;
                other.map(drop)
            }
        }
    }

    /// Waits until every file is accepted or refused, and every question is answered.
    async fn wait_for_what_is_due(&self) {
        tokio::select! {
            () = self.backpressure.wait_until_written() => self.backpressure.gone.cancel(),
            () = self.backpressure.writer_ended.cancelled() => {}
            () = self.door.shutdown.ended.cancelled() => {}
        }
    }
}
