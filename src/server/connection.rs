//! One connection to a file server, in whichever language it speaks.
//!
//! A balancer's native link brings many files and gets an acknowledgement for each; an old-style
//! balancer brings one file a connection and gets none; either asks for the overload byte over a
//! connection of its own.
//!
//! A balancer whose hello bears its journal's identity is told first what is held for that journal,
//! in the order of the store's queue and after its older links have fallen silent, so that no file
//! can be stored behind its back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::links::{Entered, Leave, Links};
use super::overload::Overload;
use super::store::{
    Done, Incoming, IncomingBody, Origin, Outcome, Staged, Store, StoreError, Told,
};
use super::work::{Hold, Work, count_letters};
use crate::protocol::frame::MAGIC;
use crate::protocol::json::{JsonError, Request, parse};
use crate::protocol::limits::{GREETING_TIMEOUT, LINGER, MAX_LIST, MAX_LIST_BYTES, SMALL_CONTENT};
use crate::protocol::lists::{decode_confirmed, encode_holding};
use crate::protocol::{Expected, Frame, Message, ProtocolError, Refusal, RefusalCode, Role, frame};
use crate::rolling_sync::RollingSync;
use crate::transport::{
    BoxStream, Deadlines, Object, ReadError, Reader, Rest, Seat, WriteError, log_end, send_content,
    write_all,
};

/// Content up to this many bytes is held in memory while it waits for the store; larger content is
/// written as it comes.
const HELD: u64 = 256 * 1024;

/// How many acknowledgements are written together at most.
const BATCH: usize = 256;

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) work: Work,
    pub(super) overload: Arc<Overload>,
    pub(super) deadlines: Deadlines,
    /// Leave to read a large old-style document.
    pub(super) large: Arc<Semaphore>,
    /// The largest object at the JSON doorway, in bytes.
    pub(super) max_json: u64,
    /// No new files are taken once this is cancelled.
    pub(super) stop: CancellationToken,
    /// The links of balancers that reconcile.
    pub(super) links: Arc<Links>,
}

/// A file whose bytes are in hand.
struct Received {
    number: u64,
    title: String,
    size: u64,
    letters: u64,
    crc32c: u32,
    body: IncomingBody,
    /// The room that its content takes until it is stored.
    room: Option<OwnedSemaphorePermit>,
    /// What the work needs, with room for it.
    for_work: (Bytes, Hold),
}

/// How many old-style documents of unknown size, larger than small, are read at once.
pub(super) const LARGE_DOCUMENTS: usize = 4;

/// Serves one connection from its first byte to its end.
pub(super) async fn serve(stream: BoxStream, peer: SocketAddr, shared: Shared, seat: Arc<Seat>) {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, shared.deadlines);
    let greeting_ends = Instant::now() + GREETING_TIMEOUT;
    let first = tokio::select! {
        () = shared.stop.cancelled() => return,
        () = seat.asked_to_leave() => Err(ReadError::Crowded),
        first = timeout_at(greeting_ends, reader.peek()) => first.unwrap_or_else(|_| silent()),
    };
    let ended = match first {
        Ok(None) => Ok(()),
        Ok(Some(byte)) if byte == MAGIC[0] => {
            native(reader, write, &shared, &seat, greeting_ends).await
        }
        Ok(Some(_)) => tokio::select! {
            () = seat.asked_to_leave() => Err(ReadError::Crowded),
            ended = old_style(&mut reader, &mut write, peer, &shared, &seat, greeting_ends) => ended,
        },
        Err(error) => Err(error),
    };
    log_end(peer, ended);
}

fn silent<T>() -> Result<T, ReadError> {
    Err(ReadError::Idle(GREETING_TIMEOUT))
}

/// Serves requests at the JSON doorway as a server of the first system would.
async fn old_style<R, W>(
    reader: &mut Reader<R>,
    write: &mut W,
    peer: SocketAddr,
    shared: &Shared,
    seat: &Seat,
    greeting_ends: Instant,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut is_known = false;
    loop {
        if is_known {
            if !reader.skip_space().await? {
                return Ok(());
            }
            seat.work();
        } else if !timeout_at(greeting_ends, reader.skip_space())
            .await
            .unwrap_or_else(|_| silent())?
        {
            return Ok(());
        }
        let mut large = None;
        let object = loop {
            match reader.object(SMALL_CONTENT, shared.max_json).await? {
                None => return Ok(()),
                Some(Object::Whole(object)) => break object,
                Some(Object::Large) => {
                    seat.work();
                    large = shared.large.acquire().await.ok();
                }
            }
        };
        seat.work();
        match parse(&object)? {
            Request::File {
                title,
                content,
                number,
            } => {
                let number = number.ok_or(JsonError::Missing("numero_richiesta"))?;
                store_old_style(number, title, content, peer, shared).await;
                drop(large);
                seat.rest(Rest::Deaf);
                is_known = true;
            }
            Request::Discovery => {
                write.write_all(&greeting(shared)).await?;
                return Ok(write.shutdown().await?);
            }
            // Such a server answers every request that is no file with its overload byte.
            Request::Status | Request::Other(_) => {
                write.write_all(&[shared.overload.byte()]).await?;
                return Ok(write.shutdown().await?);
            }
        }
    }
}

/// Stores a file whose sender hears nothing of it: the log tells what became of it.
async fn store_old_style(
    number: u64,
    title: String,
    content: Bytes,
    peer: SocketAddr,
    shared: &Shared,
) {
    let (size, letters) = (content.len() as u64, count_letters(&content));
    let for_work = (
        shared.work.copy_of(&content),
        shared.work.hold(size).unwrap_or_else(Hold::none),
    );
    let room = shared.store.room(size).await;
    // Nobody asks for the checksum of a file without a journal.
    let file = Received {
        number,
        title,
        size,
        letters,
        crc32c: 0,
        body: IncomingBody::Whole(content),
        room,
        for_work,
    };
    submit(file, None, shared, move |stored| {
        if stored.is_err() {
            tracing::error!(number, from = %peer, "a file from an old-style balancer is lost: it cannot be told");
        }
    });
}

/// Hands a file to the store, and logs and tells what became of it.
fn submit(
    file: Received,
    journal: Option<Arc<str>>,
    shared: &Shared,
    tell: impl FnOnce(Result<Outcome, StoreError>) + Send + 'static,
) {
    let Received {
        number,
        title,
        size,
        letters,
        crc32c,
        body,
        room,
        for_work: (content, hold),
    } = file;
    let work = shared.work.clone();
    let name = title.clone();
    let done: Done = Box::new(move |stored| {
        drop(room);
        match &stored {
            Ok(Outcome::Stored) => {
                tracing::info!(
                    number,
                    title = name,
                    bytes = size,
                    letters_a = letters,
                    "stored"
                );
                work.start(number, letters, content, hold);
            }
            Ok(Outcome::Known) => {
                tracing::info!(number, title = name, bytes = size, "stored already")
            }
            Err(error) => {
                tracing::error!(number, title = name, bytes = size, error = %error, "cannot store")
            }
        }
        tell(stored);
    });
    let claim = journal.map(|journal| Origin { journal, crc32c });
    shared.store.submit(
        Incoming {
            number,
            title,
            body,
            claim,
        },
        done,
    );
}

fn greeting(shared: &Shared) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let (overloaded, memory) = (Some(shared.overload.is_set()), shared.overload.memory());
    let (identity, instance) = (shared.store.identity(), Some(shared.store.instance()));
    frame::encode(
        &Message::Hello {
            role: Role::Server,
            overloaded,
            identity,
            memory,
            instance,
        },
        0,
        &mut out,
    );
    out
}

/// What is written to a balancer.
enum Outgoing {
    Message(Message),
    /// All that is held for its journal, in as many messages as it takes.
    Holding(Told),
}

/// A balancer's link, as its reader sees it.
struct Link<'a, R> {
    reader: Reader<R>,
    acks: mpsc::UnboundedSender<Outgoing>,
    leave: Arc<Leave>,
    shared: &'a Shared,
}

/// Serves a balancer's link.
async fn native<R, W>(
    reader: Reader<R>,
    write: W,
    shared: &Shared,
    seat: &Seat,
    greeting_ends: Instant,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (acks, outgoing) = mpsc::unbounded_channel();
    let (written, leave) = (CancellationToken::new(), Arc::new(Leave::default()));
    let mut link = Link {
        reader,
        acks,
        leave: leave.clone(),
        shared,
    };
    let writer = async {
        let result = write_acks(write, outgoing, greeting(shared), shared.deadlines.stall).await;
        written.cancel();
        result
    };
    let reading = async {
        let result = tokio::select! {
            () = written.cancelled() => Ok(()),
            () = leave.told() => Ok(()),
            result = link.read(seat, greeting_ends) => result,
        };
        // What is with the store is still acknowledged: the writer ends when the store has dropped
        // its senders.
        let Link { reader, acks, .. } = link;
        drop(acks);
        (reader, result)
    };
    let ((mut reader, ended), acknowledged) = tokio::join!(reading, writer);
    // Only now, for the balancer sends elsewhere whatever is not acknowledged when we take our
    // leave.
    let last = leave.reason().unwrap_or_else(|| match &ended {
        Ok(()) => Refusal::new(RefusalCode::Stopping, "the server is stopping"),
        Err(error) => error.refusal(),
    });
    let left = match acknowledged {
        Ok(write) => take_leave(write, last, shared.deadlines.stall).await,
        Err(error) => Err(error),
    };
    if let Err(error) = left {
        tracing::info!(reason = %error, "cannot acknowledge");
    }
    reader.linger(LINGER).await;
    ended
}

async fn take_leave(
    mut write: impl AsyncWrite + Unpin,
    last: Refusal,
    stall: Duration,
) -> Result<(), WriteError> {
    let mut out = Vec::new();
    frame::encode(&Message::Bye(last), 0, &mut out);
    write_all(&mut write, &out, stall).await?;
    Ok(write.shutdown().await?)
}

impl<R: AsyncRead + Unpin> Link<'_, R> {
    /// Reads what the balancer sends, until it ends or the server stops.
    async fn read(&mut self, seat: &Seat, greeting_ends: Instant) -> Result<(), ReadError> {
        let hello = tokio::select! {
            () = seat.asked_to_leave() => return Err(ReadError::Crowded),
            hello = timeout_at(greeting_ends, self.hello()) => hello.unwrap_or_else(|_| silent())?,
        };
        seat.work();
        let journal = match hello {
            Some(Message::Hello {
                role: Role::Balancer,
                identity,
                ..
            }) => identity,
            Some(Message::Hello { .. }) => {
                return Err(unexpected("a file server takes files from a balancer only"));
            }
            Some(_) => return Err(unexpected("a connection begins with a hello")),
            None => return Ok(()),
        };
        let journal: Option<Arc<str>> = journal.map(|journal| journal.to_ascii_lowercase().into());
        // Kept for as long as files are submitted, however this ends.
        let _entered = match &journal {
            Some(journal) => match self.enter(journal).await {
                Some(entered) => Some(entered),
                None => return Ok(()),
            },
            None => None,
        };
        while let Some(frame) = self.next_frame().await? {
            self.take(frame, journal.as_ref()).await?;
        }
        Ok(())
    }

    /// The balancer's first message; `None` if it closed.
    async fn hello(&mut self) -> Result<Option<Message>, ReadError> {
        self.reader.preface().await?;
        Ok(self.reader.frame().await?.map(|frame| frame.message))
    }

    /// Takes over from older links of the same balancer, and tells it what is held for it; `None`
    /// if this link cannot be used and was told to end.
    async fn enter(&self, journal: &Arc<str>) -> Option<Entered> {
        let Some(entered) = self
            .shared
            .links
            .take_over(journal.clone(), self.leave.clone())
            .await
        else {
            let reason = "an older connection of the same balancer has not ended yet";
            self.leave.because(Refusal::new(RefusalCode::Busy, reason));
            return None;
        };
        match self.shared.store.holding(journal.clone()).await {
            Ok(told) => {
                let _ = self.acks.send(Outgoing::Holding(told));
                Some(entered)
            }
            // An empty list would say that nothing is here.
            Err(error) => {
                tracing::error!(error = %error, "cannot say what is stored: a balancer's connection is closed");
                let reason = format!("cannot say what is stored: {error}");
                self.leave
                    .because(Refusal::new(RefusalCode::Storage, reason));
                None
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Ok(None),
                frame = self.reader.frame() => frame,
            };
            // A balancer with nothing to send is silent; its probes come over connections of their
            // own, and the kernel notices a machine that has gone.
            if !matches!(frame, Err(ReadError::Idle(_))) {
                return frame;
            }
        }
    }

    async fn take(&mut self, frame: Frame, journal: Option<&Arc<str>>) -> Result<(), ReadError> {
        match (frame.message, journal) {
            (Message::Store { number, title }, journal) => {
                self.store(number, &title, frame.content_len, journal).await
            }
            (Message::Confirmed, Some(journal)) => self.confirm(frame.content_len, journal).await,
            (Message::Drop { number, expected }, Some(journal)) => {
                self.remove(number, expected, journal).await;
                Ok(())
            }
            (Message::Confirmed | Message::Drop { .. }, None) => Err(unexpected(
                "`confirmed` and `drop` need an identity in the balancer's hello",
            )),
            _ => Err(unexpected(
                "a file server takes `store`, `confirmed` and `drop` from a balancer",
            )),
        }
    }

    async fn store(
        &mut self,
        number: u64,
        title: &str,
        size: u64,
        journal: Option<&Arc<str>>,
    ) -> Result<(), ReadError> {
        let acks = self.acks.clone();
        match receive(&mut self.reader, number, title, size, self.shared).await? {
            Ok(file) => submit(file, journal.cloned(), self.shared, move |stored| {
                let _ = acks.send(Outgoing::Message(match stored {
                    Ok(_) => Message::Stored { number },
                    Err(error) => Message::NotStored {
                        number,
                        refusal: cannot_store(&error),
                    },
                }));
            }),
            Err(refusal) => {
                tracing::error!(number, title, reason = refusal.reason, "refused");
                let _ = acks.send(Outgoing::Message(Message::NotStored { number, refusal }));
            }
        }
        Ok(())
    }

    async fn confirm(&mut self, size: u64, journal: &Arc<str>) -> Result<(), ReadError> {
        if size > MAX_LIST_BYTES {
            return Err(ProtocolError::TooLarge {
                size,
                limit: MAX_LIST_BYTES,
            }
            .into());
        }
        let room = self.shared.store.room(size).await;
        let numbers = decode_confirmed(&self.reader.content(size).await?)?;
        if numbers.len() > MAX_LIST {
            return Err(ProtocolError::BadContent(
                "confirmed",
                format!("more than {MAX_LIST} numbers"),
            )
            .into());
        }
        self.shared.store.confirm(journal.clone(), numbers, room);
        Ok(())
    }

    async fn remove(&self, number: u64, expected: Option<Expected>, journal: &Arc<str>) {
        let room = self.shared.store.room(0).await;
        let (acks, leave) = (self.acks.clone(), self.leave.clone());
        let done = move |removed: io::Result<()>| {
            drop(room);
            match removed {
                Ok(()) => drop(acks.send(Outgoing::Message(Message::Dropped { number }))),
                // The balancer will find it held when it connects again, and ask once more.
                Err(error) => {
                    tracing::error!(number, error = %error, "cannot drop a file that another server has");
                    leave.because(Refusal::new(
                        RefusalCode::Storage,
                        format!("cannot drop file {number}: {error}"),
                    ));
                }
            }
        };
        self.shared
            .store
            .remove(journal.clone(), number, expected, Box::new(done));
    }
}

fn unexpected(what: &'static str) -> ReadError {
    ProtocolError::Unexpected(what).into()
}

fn cannot_store(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::Io(_) => RefusalCode::Storage,
        StoreError::Conflict { .. } => RefusalCode::Conflict,
    };
    Refusal::new(code, error.to_string())
}

/// Reads one file's content: into memory if it is small or to be worked on, to disk as it comes
/// otherwise. The inner error refuses this file alone.
async fn receive<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    number: u64,
    title: &str,
    size: u64,
    shared: &Shared,
) -> Result<Result<Received, Refusal>, ReadError> {
    let title = title.to_owned();
    let Some(hold) = shared.work.hold(size) else {
        reader.skip_content(size).await?;
        return Ok(Err(Refusal::new(
            RefusalCode::Busy,
            "as much is being worked on as may be",
        )));
    };
    if size <= HELD || shared.work.holds() {
        let room = shared.store.room(size).await;
        let (content, crc32c) = reader.summed_content(size).await?;
        let letters = count_letters(&content);
        let for_work = (shared.work.copy_of(&content), hold);
        return Ok(Ok(Received {
            number,
            title,
            size,
            letters,
            crc32c,
            body: IncomingBody::Whole(content),
            room,
            for_work,
        }));
    }
    match receive_to_disk(reader, number, size, shared).await? {
        Ok((staged, letters, crc32c)) => {
            let (body, for_work) = (IncomingBody::Staged(staged), (Bytes::new(), hold));
            Ok(Ok(Received {
                number,
                title,
                size,
                letters,
                crc32c,
                body,
                room: None,
                for_work,
            }))
        }
        Err(error) => Ok(Err(cannot_store(&error.into()))),
    }
}

/// Writes content to a temporary file as it comes. The inner error is the disk's; the content is
/// then read past.
async fn receive_to_disk<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    number: u64,
    size: u64,
    shared: &Shared,
) -> Result<io::Result<(Staged, u64, u32)>, ReadError> {
    let store = shared.store.clone();
    let (pieces, mut to_write) = mpsc::channel::<Bytes>(PIECES);
    let writing = tokio::task::spawn_blocking(move || {
        let mut staged = store.stage(number)?;
        let (mut letters, mut behind) = (0, RollingSync::default());
        while let Some(piece) = to_write.blocking_recv() {
            staged.write(&piece)?;
            store.sync_behind(&staged, piece.len(), &mut behind)?;
            letters += count_letters(&piece);
        }
        behind.end()?;
        Ok((staged, letters))
    });
    let (mut crc, mut left) = (0, size);
    while left > 0 {
        let piece = reader.piece(left).await?;
        left -= piece.len() as u64;
        crc = crc32c::crc32c_append(crc, &piece);
        // A disk that failed has dropped its end; the rest is read past.
        let _ = pieces.send(piece).await;
    }
    drop(pieces);
    reader.verify(crc).await?;
    let written: io::Result<(Staged, u64)> = writing
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    Ok(written.map(|(staged, letters)| (staged, letters, crc)))
}

/// How many pieces of a large file wait for the disk at most.
const PIECES: usize = 8;

/// Writes the greeting, then acknowledgements until no one has any more.
async fn write_acks<W: AsyncWrite + Unpin>(
    mut write: W,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    mut out: Vec<u8>,
    stall: Duration,
) -> Result<W, WriteError> {
    let mut batch = Vec::new();
    loop {
        write_all(&mut write, &out, stall).await?;
        out.clear();
        if outgoing.recv_many(&mut batch, BATCH).await == 0 {
            return Ok(write);
        }
        for outgoing in batch.drain(..) {
            match outgoing {
                Outgoing::Message(message) => frame::encode(&message, 0, &mut out),
                Outgoing::Holding(told) => {
                    write_holding(&mut write, &mut out, &told, stall).await?
                }
            }
        }
    }
}

/// Writes what is held in parts, one at a time. Bytes left in `out` are the caller's to write.
async fn write_holding(
    write: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
    Told { held, seen }: &Told,
    stall: Duration,
) -> Result<(), WriteError> {
    if held.is_empty() {
        frame::encode(
            &Message::Holding {
                last: true,
                seen: *seen,
            },
            0,
            out,
        );
    }
    let mut parts = held.chunks(MAX_LIST).peekable();
    while let Some(part) = parts.next() {
        let content = encode_holding(part);
        frame::encode(
            &Message::Holding {
                last: parts.peek().is_none(),
                seen: *seen,
            },
            content.len() as u64,
            out,
        );
        send_content(write, out, &content, stall).await?;
    }
    Ok(())
}
