//! The native doorway: files in, receipts out, any number of either under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::balancer::event::{Admission, Outgoing, Reply, Room};
use crate::protocol::limits::{LINGER, MAX_UNREAD_RECEIPTS};
use crate::protocol::{Frame, Message, ProtocolError, Refusal, RefusalCode, Role, frame};
use crate::transport::{ReadError, Reader, WriteError, send_content, write_all};

/// How many receipts are written together at most.
const BATCH: usize = 256;

/// What the two halves of a connection tell each other.
#[derive(Default)]
struct Ledger {
    /// Messages that the client has not been sent yet.
    unread: AtomicUsize,
    /// Files whose last receipt has not been sent yet.
    open: AtomicUsize,
    /// The writer has caught up, or ended.
    caught_up: Notify,
    writer_ended: CancellationToken,
}

struct Session<'a, R> {
    reader: Reader<R>,
    to_client: mpsc::UnboundedSender<Outgoing>,
    ledger: Arc<Ledger>,
    peer: SocketAddr,
    door: &'a Door,
}

/// Serves a native client to the end of its connection.
pub(super) async fn serve<R, W>(reader: Reader<R>, write: W, peer: SocketAddr, door: &Door) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (to_client, outgoing) = mpsc::unbounded_channel();
    let ledger = Arc::new(Ledger::default());
    let ended = ledger.writer_ended.clone();
    let mut session = Session { reader, to_client, ledger: ledger.clone(), peer, door };
    let writer = write_receipts(write, outgoing, ledger, door.deadlines.stall);
    let (read, ()) = tokio::join!(
        async {
            let result = tokio::select! {
                () = ended.cancelled() => Ok(()),
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
    async fn run(&mut self) -> Result<(), ReadError> {
        self.reader.preface().await?;
        match self.next().await?.map(|frame| frame.message) {
            Some(Message::Hello { role: Role::Client, .. }) => {
                self.say(Message::Hello { role: Role::Balancer, overloaded: None, identity: None });
            }
            Some(Message::Hello { .. }) => {
                return Err(ProtocolError::Unexpected("a balancer takes files from a client only").into());
            }
            Some(_) => return Err(ProtocolError::Unexpected("a connection begins with a hello").into()),
            None => return Ok(()),
        }
        loop {
            let next = tokio::select! {
                biased;
                () = self.door.stop.cancelled() => None,
                next = Self::next_of(&mut self.reader, &self.ledger) => Some(next?),
            };
            match next {
                None => {
                    self.say(Message::Bye(Refusal::new(RefusalCode::Stopping, "the balancer is stopping")));
                    return Ok(());
                }
                Some(None) => return Ok(()),
                Some(Some(frame)) => self.handle(frame).await?,
            }
            self.wait_for_the_reader().await;
        }
    }

    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        Self::next_of(&mut self.reader, &self.ledger).await
    }

    /// The next frame. A client whose files are still under way may be silent for as long as they are.
    async fn next_of(reader: &mut Reader<R>, ledger: &Ledger) -> Result<Option<Frame>, ReadError> {
        loop {
            match reader.frame().await {
                Err(ReadError::Idle(_)) if ledger.open.load(Ordering::Relaxed) > 0 => {}
                other => return other,
            }
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), ReadError> {
        match frame.message {
            Message::Put { id, title, .. } => self.take(id, title, frame.content_len).await,
            Message::Status if frame.content_len == 0 => {
                self.ledger.unread.fetch_add(1, Ordering::Relaxed);
                self.door.gate.ask_status(self.to_client.clone());
                Ok(())
            }
            _ => Err(ProtocolError::Unexpected("a balancer takes `put` and `status` from a client").into()),
        }
    }

    /// Takes one file: room first, then its content.
    async fn take(&mut self, id: u64, title: String, size: u64) -> Result<(), ReadError> {
        // The title waits in memory, too.
        let takes = size.saturating_add(title.len() as u64);
        if let Err(refusal) = self.door.gate.check(takes) {
            self.say(Message::Refused { id, refusal });
            return self.reader.skip_content(size).await;
        }
        let Some((room, incoming)) = self.reserve(takes).await else { return Ok(()) };
        let content = match self.reader.content(size).await {
            Ok(content) => content,
            Err(error) => {
                self.say(Message::Refused { id, refusal: error.refusal() });
                return Err(error);
            }
        };
        drop(incoming);
        // One for `accepted`, one for `delivered`.
        self.ledger.unread.fetch_add(2, Ordering::Relaxed);
        self.ledger.open.fetch_add(1, Ordering::Relaxed);
        let reply = Some(Reply { to: self.to_client.clone(), id });
        self.door.gate.admit(Admission { title: title.into(), content, room, peer: self.peer, reply });
        Ok(())
    }

    /// Room for a file; a client that has to wait for it learns why.
    async fn reserve(&self, size: u64) -> Option<(Room, Option<OwnedSemaphorePermit>)> {
        if let Some(reserved) = self.door.gate.try_reserve(size) {
            return Some(reserved);
        }
        self.say(Message::Waiting { reason: self.door.gate.full_reason() });
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
            let unread = self.ledger.unread.load(Ordering::Relaxed);
            // A receipt that is still to come, for a file under way, is not an unread one.
            if unread.saturating_sub(self.ledger.open.load(Ordering::Relaxed)) <= MAX_UNREAD_RECEIPTS {
                return;
            }
            caught_up.await;
        }
    }

    fn say(&self, message: Message) {
        self.ledger.unread.fetch_add(1, Ordering::Relaxed);
        let _ = self.to_client.send(Outgoing::Message(message));
    }

    /// Says why the connection ends, and keeps it for the receipts that are still to come.
    async fn leave(mut self, result: Result<(), ReadError>) -> Result<(), ReadError> {
        if let Err(error) = &result {
            self.say(Message::Bye(error.refusal()));
        }
        drop(self.to_client);
        tokio::select! {
            () = self.ledger.writer_ended.cancelled() => {}
            () = self.door.finished.cancelled() => {}
        }
        self.reader.linger(LINGER).await;
        result
    }
}

/// Writes what is for the client until no one has anything more to say to it, or the connection is broken off.
async fn write_receipts(
    mut write: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    ledger: Arc<Ledger>,
    stall: Duration,
) -> Result<(), WriteError> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    while outgoing.recv_many(&mut batch, BATCH).await > 0 {
        let (count, mut last, mut broken_off) = (batch.len(), 0, false);
        for item in batch.drain(..) {
            match item {
                Outgoing::Message(message) => {
                    last += usize::from(matches!(message, Message::Delivered { .. }));
                    broken_off |= matches!(&message, Message::Bye(refusal) if refusal.code != RefusalCode::Stopping);
                    frame::encode(&message, 0, &mut out);
                }
                Outgoing::Status(report) => {
                    let content = serde_json::to_vec(&report).unwrap_or_default();
                    frame::encode(&Message::Status, content.len() as u64, &mut out);
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
