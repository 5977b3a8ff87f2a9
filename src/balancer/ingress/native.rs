//! The native doorway: files in, receipts out, any number of either under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::upload::Framed;
use super::{Door, InMemory};
use crate::balancer::messages::{
    Admission, Arrived, Declined, Offer, Reply, Room, Share, Sum, ToClient, next_connection,
};
use crate::protocol::limits::{GREETING_TIMEOUT, LINGER, MAX_LIST_BYTES, MAX_UNREAD_RECEIPTS};
use crate::protocol::object;
use crate::protocol::{Frame, Message, Prefix, ProtocolError, Refusal, RefusalCode, Role, frame};
use crate::queue::{INLINE, key_hash};
use crate::transport::{ReadError, Reader, Rest, Seat, WriteError, send_content, write_all};

/// How many receipts are written together at most.
const BATCH: usize = 256;

/// What the two halves of a connection tell each other.
#[derive(Default)]
struct Backpressure {
    /// Messages that the client has not been sent yet.
    unread: AtomicUsize,
    /// Files whose last receipt has not been sent yet.
    open: AtomicUsize,
    /// The writer has caught up, or ended.
    caught_up: Notify,
    writer_ended: CancellationToken,
    /// The client has gone: what is there to be written is the last.
    gone: CancellationToken,
}

/// Why a session ends that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// The client sends nothing more, so nobody may be there any more.
    Gone,
    /// The balancer stops, or nothing can be written any more.
    Stopped,
}

struct Session<'a, R> {
    reader: Reader<R>,
    /// A number that no other connection has.
    connection: u64,
    to_client: mpsc::UnboundedSender<ToClient>,
    ledger: Arc<Backpressure>,
    /// The client's address, as it is recorded.
    from: Arc<str>,
    door: &'a Door,
    seat: Arc<Seat>,
}

/// Serves a native client to the end of its connection.
pub(super) async fn serve<R, W>(
    reader: Reader<R>,
    write: W,
    peer: SocketAddr,
    door: &Door,
    stall: Duration,
    seat: Arc<Seat>,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (to_client, outgoing) = mpsc::unbounded_channel();
    let ledger = Arc::new(Backpressure::default());
    let ended = ledger.writer_ended.clone();
    let connection = next_connection();
    let of_seat = ledger.clone();
    seat.ask_before(move || of_seat.owes());
    let mut session = Session {
        reader,
        connection,
        to_client,
        ledger: ledger.clone(),
        from: peer.to_string().into(),
        door,
        seat,
    };
    let writer = write_receipts(write, outgoing, ledger, stall);
    let (read, ()) = tokio::join!(
        async {
            let result = tokio::select! {
                () = ended.cancelled() => Ok(Parting::Stopped),
                result = session.run() => result,
            };
            session.leave(result).await
        },
        async {
            if let Err(error) = writer.await {
                tracing::info!(peer = %peer, reason = %error, "cannot send receipts");
            }
            ended.cancel();
        }
    );
    read
}

impl<R: AsyncRead + Unpin> Session<'_, R> {
    async fn run(&mut self) -> Result<Parting, ReadError> {
        let seat = self.seat.clone();
        let silent = |_| Err(ReadError::Idle(GREETING_TIMEOUT));
        let greeted = tokio::select! {
            () = seat.asked_to_leave() => Err(ReadError::Crowded),
            greeted = timeout(GREETING_TIMEOUT, self.greet()) => greeted.unwrap_or_else(silent),
        };
        if !greeted? {
            return Ok(Parting::Gone);
        }
        loop {
            // What has come already is not looked for, nor is the clock read.
            if !self.reader.has_frame() {
                self.seat.rest(Rest::Idle);
            }
            let next = tokio::select! {
                biased;
                () = self.door.stop.cancelled() => None,
                next = Self::next_of(&mut self.reader, &self.ledger) => Some(next?),
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
            self.wait_for_the_reader().await;
        }
    }

    /// Exchanges greetings; false if the client has gone instead.
    async fn greet(&mut self) -> Result<bool, ReadError> {
        self.reader.preface().await?;
        match self.reader.frame().await?.map(|frame| frame.message) {
            Some(Message::Hello {
                role: Role::Client, ..
            }) => {
                let role = Role::Balancer;
                self.say(Message::Hello {
                    role,
                    overloaded: None,
                    identity: None,
                    memory: None,
                    instance: None,
                });
                Ok(true)
            }
            Some(Message::Hello { .. }) => {
                Err(ProtocolError::Unexpected("a balancer takes files from a client only").into())
            }
            Some(_) => Err(ProtocolError::Unexpected("a connection begins with a hello").into()),
            None => Ok(false),
        }
    }

    /// The next frame. A client whose files are still under way may be silent for as long as they
    /// are.
    async fn next_of(
        reader: &mut Reader<R>,
        ledger: &Backpressure,
    ) -> Result<Option<Frame>, ReadError> {
        loop {
            match reader.frame().await {
                Err(ReadError::Idle(_)) if ledger.open.load(Ordering::Relaxed) > 0 => {}
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
                self.take(Put {
                    id,
                    title,
                    key,
                    resumed,
                    size: frame.content_len,
                })
                .await
            }
            Message::Offer {
                id,
                key,
                size,
                crc32c,
            } => {
                let offset = self.door.uploads.there(key_hash(&key)).await.min(size);
                self.door.gate.offer(Offer {
                    key,
                    size,
                    crc32c,
                    offset,
                    reply: self.reply(id),
                });
                Ok(())
            }
            Message::Status if frame.content_len == 0 => {
                self.ledger.unread.fetch_add(1, Ordering::Relaxed);
                self.door.gate.ask_status(self.to_client.clone());
                Ok(())
            }
            Message::Query => Box::pin(self.query(frame.content_len)).await,
            _ => Err(ProtocolError::Unexpected(
                "a balancer takes `put`, `offer`, `status` and `query` from a client",
            )
            .into()),
        }
    }

    async fn query(&mut self, size: u64) -> Result<(), ReadError> {
        if size > MAX_LIST_BYTES {
            return Err(ProtocolError::TooLarge {
                size,
                limit: MAX_LIST_BYTES,
            }
            .into());
        }
        let content = self.reader.content(size).await?;
        let query = object::from_slice(&content)
            .map_err(|error| ProtocolError::BadContent("query", error.to_string()))?;
        self.ledger.unread.fetch_add(1, Ordering::Relaxed);
        self.door.gate.ask(query, self.to_client.clone());
        Ok(())
    }

    /// Takes one file: room first, then its content.
    async fn take(&mut self, put: Put) -> Result<(), ReadError> {
        let there = put.resumed.map_or(0, |prefix| prefix.offset);
        let whole = put.size.saturating_add(there);
        // The title waits in memory, too.
        let takes = whole.saturating_add(put.title.len() as u64);
        let admitted = self.door.gate.check(takes);
        let share = match admitted {
            Ok(()) => self.door.share(whole, there).await,
            Err(refusal) => Err(refusal),
        };
        let share = match share {
            Ok(share) => share,
            Err(refusal) => return Box::pin(self.decline(put, whole, refusal)).await,
        };
        let Some((room, incoming)) = self.reserve(takes).await else {
            return Ok(());
        };
        let id = put.id;
        let received = if whole <= INLINE && there == 0 {
            self.take_small(put, room, share).await
        } else {
            // What few connections ever do takes no room in all of them.
            Box::pin(self.take_large(put, whole, room, share)).await
        };
        drop(incoming);
        // A file that comes over another connection is not refused.
        if let Err(error) = &received
            && !matches!(error, ReadError::TakenOver)
        {
            self.say(Message::Refused {
                id,
                refusal: error.refusal(),
            });
        }
        received
    }

    async fn take_small(&mut self, put: Put, room: Room, share: Share) -> Result<(), ReadError> {
        let (content, crc32c) = self.reader.summed_content(put.size).await?;
        let (reply, title) = (Some(self.reply(put.id)), put.title.into());
        let file = InMemory {
            title,
            key: put.key,
            content,
            crc32c,
            room,
            share,
            from: self.from.clone(),
            reply,
        };
        // Small content needs no file of its own, which is all that could fail.
        let _ = self.door.admit(file).await;
        Ok(())
    }

    async fn take_large(
        &mut self,
        put: Put,
        whole: u64,
        room: Room,
        share: Share,
    ) -> Result<(), ReadError> {
        let mark = put.key.as_deref().map(key_hash);
        let key = put.key.clone();
        let mut rest = 0;
        let source = Framed::new(&mut self.reader, put.size, &mut rest);
        match self.door.uploads.receive(source, mark, put.resumed).await? {
            Ok(uploaded) => {
                let admission = Admission {
                    title: put.title.into(),
                    key: put.key,
                    content: Arrived::Own(uploaded.id),
                    size: whole,
                    crc32c: uploaded.crc32c,
                    room,
                    share,
                    from: self.from.clone(),
                    reply: Some(self.reply(put.id)),
                };
                self.door.gate.admit(admission);
                uploaded.admitted();
            }
            Err(refusal) => match key {
                Some(key) => {
                    let (sum, reply) = (
                        Sum::Known(sum(put.resumed, rest, put.size)),
                        self.reply(put.id),
                    );
                    self.door.gate.refuse(Declined {
                        key,
                        size: whole,
                        sum,
                        refusal,
                        reply,
                    });
                }
                None => self.say(Message::Refused {
                    id: put.id,
                    refusal,
                }),
            },
        }
        Ok(())
    }

    /// Refuses a file whose content was not read, unless it came before under its key: then its
    /// content tells whether it is the same.
    async fn decline(&mut self, put: Put, whole: u64, refusal: Refusal) -> Result<(), ReadError> {
        let Some(key) = put.key else {
            self.say(Message::Refused {
                id: put.id,
                refusal,
            });
            return self.reader.skip_content(put.size).await;
        };
        let (back, came_before) = oneshot::channel();
        let reply = self.reply(put.id);
        self.door.gate.refuse(Declined {
            key: key.clone(),
            size: whole,
            sum: Sum::Unread(back),
            refusal,
            reply,
        });
        let Ok((refusal, reply)) = came_before.await else {
            return self.reader.skip_content(put.size).await;
        };
        match self.reader.sum_content(put.size).await {
            Ok(rest) => {
                let sum = Sum::Known(sum(put.resumed, rest, put.size));
                self.door.gate.refuse(Declined {
                    key,
                    size: whole,
                    sum,
                    refusal,
                    reply,
                });
                Ok(())
            }
            Err(error) => {
                reply.send(|id| Message::Refused {
                    id,
                    refusal: error.refusal(),
                });
                Err(error)
            }
        }
    }

    /// Where the receipts of a file go. There will be two, or one that counts for both.
    fn reply(&self, id: u64) -> Reply {
        self.ledger.unread.fetch_add(2, Ordering::Relaxed);
        self.ledger.open.fetch_add(1, Ordering::Relaxed);
        Reply {
            connection: self.connection,
            to: self.to_client.clone(),
            id,
        }
    }

    /// Room for a file; a client that has to wait for it learns why.
    async fn reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        if let Some(reserved) = self.door.gate.try_reserve(size) {
            return Some(reserved);
        }
        self.say(Message::Waiting {
            reason: self.door.gate.full_reason(),
        });
        let reserved = tokio::select! {
            reserved = self.door.gate.reserve(size) => reserved,
            () = self.door.stop.cancelled() => None,
        };
        self.say(Message::Resumed);
        reserved
    }

    /// Stops reading while the client leaves its receipts unread.
    async fn wait_for_the_reader(&self) {
        loop {
            let caught_up = self.ledger.caught_up.notified();
            if !self.ledger.is_behind(MAX_UNREAD_RECEIPTS) {
                return;
            }
            caught_up.await;
        }
    }

    fn say(&self, message: Message) {
        self.ledger
            .unread
            .fetch_add(weight(&message), Ordering::Relaxed);
        self.ledger
            .open
            .fetch_add(usize::from(is_last(&message)), Ordering::Relaxed);
        let _ = self.to_client.send(ToClient::Message(message));
    }

    /// Says why the connection ends, and keeps it for the receipts that are still to come. A client
    /// that has gone is kept for those only that say what became of what it sent: deliveries can
    /// take for ever, and a connection is dear.
    async fn leave(mut self, result: Result<Parting, ReadError>) -> Result<(), ReadError> {
        match &result {
            Err(error) => self.say(Message::Bye(error.refusal())),
            Ok(Parting::Gone) => self.wait_for_what_is_due().await,
            Ok(Parting::Stopped) => {}
        }
        drop(self.to_client);
        tokio::select! {
            () = self.ledger.writer_ended.cancelled() => {}
            () = self.door.finished.cancelled() => {}
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

    /// Waits until every file has its receipt that it is accepted or refused, and every question
    /// its answer.
    async fn wait_for_what_is_due(&self) {
        let due = async {
            while self.ledger.is_behind(0) {
                self.ledger.caught_up.notified().await;
            }
        };
        tokio::select! {
            () = due => self.ledger.gone.cancel(),
            () = self.ledger.writer_ended.cancelled() => {}
            () = self.door.finished.cancelled() => {}
        }
    }
}

impl Backpressure {
    /// Whether more than so many messages wait for the client to read them, or are still to be
    /// written for it. A receipt that is still to come, for a file under way, is not among them.
    fn is_behind(&self, most: usize) -> bool {
        self.unread
            .load(Ordering::Relaxed)
            .saturating_sub(self.open.load(Ordering::Relaxed))
            > most
    }

    /// Whether the client will hear anything more without asking.
    fn owes(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > 0 || self.open.load(Ordering::Relaxed) > 0
    }
}

/// A file on its way in.
struct Put {
    id: u64,
    title: String,
    key: Option<Arc<str>>,
    resumed: Option<Prefix>,
    /// How many bytes follow.
    size: u64,
}

/// The CRC32C of a whole file whose last `len` bytes came.
fn sum(resumed: Option<Prefix>, rest: u32, len: u64) -> u32 {
    let Some(prefix) = resumed else { return rest };
    crc32c::crc32c_combine(
        prefix.crc32c,
        rest,
        usize::try_from(len).unwrap_or(usize::MAX),
    )
}

/// For how many receipts a message counts: a file gets two, or one of those that stand for both.
fn weight(message: &Message) -> usize {
    1 + usize::from(matches!(
        message,
        Message::Refused { .. } | Message::Wanted { .. }
    ))
}

/// Whether no other receipt follows for the file.
fn is_last(message: &Message) -> bool {
    use Message::{Dead, Delivered, Refused, Wanted};
    matches!(
        message,
        Delivered { .. } | Dead { .. } | Refused { .. } | Wanted { .. }
    )
}

/// What is to be written next; nothing once all is written to a client that has gone.
async fn next_batch(
    outgoing: &mut mpsc::UnboundedReceiver<ToClient>,
    batch: &mut Vec<ToClient>,
    ledger: &Backpressure,
) -> usize {
    tokio::select! {
        biased;
        count = outgoing.recv_many(batch, BATCH) => count,
        () = ledger.gone.cancelled() => 0,
    }
}

/// Writes what is for the client until no one has anything more to say to it, or the connection is
/// broken off.
async fn write_receipts(
    mut write: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<ToClient>,
    ledger: Arc<Backpressure>,
    stall: Duration,
) -> Result<(), WriteError> {
    let mut batch = Vec::new();
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    while next_batch(&mut outgoing, &mut batch, &ledger).await > 0 {
        let (mut count, mut last, mut broken_off) = (0, 0, false);
        for item in batch.drain(..) {
            match item {
                ToClient::Message(message) => {
                    count += weight(&message);
                    last += usize::from(is_last(&message));
                    broken_off |= matches!(&message, Message::Bye(refusal) if refusal.code != RefusalCode::Stopping);
                    frame::encode(&message, 0, &mut out);
                }
                ToClient::Status(report) => {
                    count += 1;
                    let content = serde_json::to_vec(&report).unwrap_or_default();
                    frame::encode(&Message::Status, content.len() as u64, &mut out);
                    send_content(&mut write, &mut out, &content, stall).await?;
                }
                ToClient::Answer(answer) => {
                    count += 1;
                    let content = serde_json::to_vec(&answer).unwrap_or_default();
                    frame::encode(&Message::Query, content.len() as u64, &mut out);
                    send_content(&mut write, &mut out, &content, stall).await?;
                }
            }
        }
        write_all(&mut write, &out, stall).await?;
        out.clear();
        ledger.open.fetch_sub(last, Ordering::Relaxed);
        ledger.unread.fetch_sub(count, Ordering::Relaxed);
        ledger.caught_up.notify_one();
        if broken_off {
            break;
        }
    }
    Ok(write.shutdown().await?)
}
