//! One connection to a file server, in whichever language it speaks.
//!
//! A balancer's native link brings many files and gets an acknowledgement for each; an old-style balancer brings one
//! file a connection and gets none; either asks for the overload byte over a connection of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::overload::Overload;
use super::store::{Body, Done, Staged, Store};
use super::work::{Hold, Work, count_letters};
use crate::protocol::frame::MAGIC;
use crate::protocol::json::{JsonError, Request, parse};
use crate::protocol::limits::{LINGER, SMALL_CONTENT};
use crate::protocol::{Message, ProtocolError, Refusal, RefusalCode, Role, frame};
use crate::transport::{BoxStream, Deadlines, Object, ReadError, Reader, WriteError, log_end, write_all};

/// Content up to this many bytes is held in memory while it waits for the store; larger content is written as it
/// comes.
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
}

/// A file whose bytes are in hand.
struct Received {
    number: u64,
    title: String,
    size: u64,
    letters: u64,
    body: Body,
    /// The room that its content takes until it is stored.
    room: Option<OwnedSemaphorePermit>,
    /// What the work needs, with room for it.
    for_work: (Bytes, Hold),
}

/// How many old-style documents of unknown size, larger than small, are read at once.
pub(super) const LARGE_DOCUMENTS: usize = 4;

/// Serves one connection from its first byte to its end.
pub(super) async fn serve(stream: BoxStream, peer: SocketAddr, shared: Shared) {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, shared.deadlines);
    let first = tokio::select! {
        () = shared.stop.cancelled() => return,
        first = reader.peek() => first,
    };
    let ended = match first {
        Ok(None) => Ok(()),
        Ok(Some(byte)) if byte == MAGIC[0] => native(reader, write, &shared).await,
        Ok(Some(_)) => old_style(&mut reader, &mut write, peer, &shared).await,
        Err(error) => Err(error),
    };
    log_end(peer, ended);
}

/// Serves requests at the JSON doorway as a server of the first system would.
async fn old_style<R, W>(
    reader: &mut Reader<R>,
    write: &mut W,
    peer: SocketAddr,
    shared: &Shared,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let mut large = None;
        let object = loop {
            match reader.object(SMALL_CONTENT, shared.max_json).await? {
                None => return Ok(()),
                Some(Object::Whole(object)) => break object,
                Some(Object::Large) => large = shared.large.acquire().await.ok(),
            }
        };
        match parse(&object)? {
            Request::File { title, content, number } => {
                let number = number.ok_or(JsonError::Missing("numero_richiesta"))?;
                store_old_style(number, title, content, peer, shared).await;
                drop(large);
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
async fn store_old_style(number: u64, title: String, content: Bytes, peer: SocketAddr, shared: &Shared) {
    let (size, letters) = (content.len() as u64, count_letters(&content));
    let for_work = (shared.work.copy_of(&content), shared.work.hold(size).unwrap_or_else(Hold::none));
    let room = shared.store.room(size).await;
    let file = Received { number, title, size, letters, body: Body::Whole(content), room, for_work };
    submit(file, shared, move |stored| {
        if stored.is_err() {
            tracing::error!(number, from = %peer, "a file from an old-style balancer is lost: it cannot be told");
        }
    });
}

/// Hands a file to the store, and logs and tells what became of it.
fn submit(file: Received, shared: &Shared, tell: impl FnOnce(io::Result<()>) + Send + 'static) {
    let Received { number, title, size, letters, body, room, for_work: (content, hold) } = file;
    let work = shared.work.clone();
    let name = title.clone();
    let done: Done = Box::new(move |stored| {
        drop(room);
        match &stored {
            Ok(()) => {
                tracing::info!(number, title = name, bytes = size, letters_a = letters, "stored");
                work.start(number, letters, content, hold);
            }
            Err(error) => tracing::error!(number, title = name, bytes = size, error = %error, "cannot store"),
        }
        tell(stored);
    });
    shared.store.submit(number, title, body, done);
}

fn greeting(shared: &Shared) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let hello = Message::Hello { role: Role::Server, overloaded: Some(shared.overload.is_set()), identity: None };
    frame::encode(&hello, 0, &mut out);
    out
}

/// Serves a balancer's link.
async fn native<R, W>(mut reader: Reader<R>, write: W, shared: &Shared) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (acks, outgoing) = mpsc::unbounded_channel();
    let written = CancellationToken::new();
    let writer = async {
        let result = write_acks(write, outgoing, greeting(shared), shared.deadlines.stall).await;
        written.cancel();
        result
    };
    let reading = async {
        let result = tokio::select! {
            () = written.cancelled() => Ok(()),
            result = read_files(&mut reader, &acks, shared) => result,
        };
        // What is with the store is still acknowledged: the writer ends when the store has dropped its senders.
        drop(acks);
        result
    };
    let (ended, acknowledged) = tokio::join!(reading, writer);
    // Only now, for the balancer sends elsewhere whatever is not acknowledged when we take our leave.
    let last = match &ended {
        Ok(()) => Refusal::new(RefusalCode::Stopping, "the server is stopping"),
        Err(error) => error.refusal(),
    };
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

async fn take_leave(mut write: impl AsyncWrite + Unpin, last: Refusal, stall: Duration) -> Result<(), WriteError> {
    let mut out = Vec::new();
    frame::encode(&Message::Bye(last), 0, &mut out);
    write_all(&mut write, &out, stall).await?;
    Ok(write.shutdown().await?)
}

async fn read_files<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    acks: &mpsc::UnboundedSender<Message>,
    shared: &Shared,
) -> Result<(), ReadError> {
    reader.preface().await?;
    match reader.frame().await?.map(|frame| frame.message) {
        Some(Message::Hello { role: Role::Balancer, .. }) => {}
        Some(Message::Hello { .. }) => return Err(unexpected("a file server takes files from a balancer only")),
        Some(_) => return Err(unexpected("a connection begins with a hello")),
        None => return Ok(()),
    }
    loop {
        let frame = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Ok(()),
            frame = reader.frame() => frame,
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            // A balancer with nothing to send is silent; its probes come over connections of their own, and the
            // kernel notices a machine that has gone.
            Err(ReadError::Idle(_)) => continue,
            Err(error) => return Err(error),
        };
        let Message::Store { number, title } = frame.message else {
            return Err(unexpected("a file server takes `store` from a balancer"));
        };
        let refused = match receive(reader, number, &title, frame.content_len, shared).await? {
            Ok(file) => {
                let acks = acks.clone();
                submit(file, shared, move |stored| {
                    let _ = acks.send(match stored {
                        Ok(()) => Message::Stored { number },
                        Err(error) => Message::NotStored { number, refusal: cannot_store(&error) },
                    });
                });
                continue;
            }
            Err(refused) => refused,
        };
        tracing::error!(number, title = &*title, reason = refused.reason, "refused");
        let _ = acks.send(Message::NotStored { number, refusal: refused });
    }
}

fn unexpected(what: &'static str) -> ReadError {
    ProtocolError::Unexpected(what).into()
}

fn cannot_store(error: &io::Error) -> Refusal {
    Refusal::new(RefusalCode::Storage, format!("cannot store: {error}"))
}

/// Reads one file's content: into memory if it is small or to be worked on, to disk as it comes otherwise. The inner
/// error refuses this file alone.
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
        return Ok(Err(Refusal::new(RefusalCode::Busy, "as much is being worked on as may be")));
    };
    if size <= HELD || shared.work.holds() {
        let room = shared.store.room(size).await;
        let content = reader.content(size).await?;
        let letters = count_letters(&content);
        let for_work = (shared.work.copy_of(&content), hold);
        return Ok(Ok(Received { number, title, size, letters, body: Body::Whole(content), room, for_work }));
    }
    match receive_to_disk(reader, number, size, shared).await? {
        Ok((staged, letters)) => {
            let (body, for_work) = (Body::Staged(staged), (Bytes::new(), hold));
            Ok(Ok(Received { number, title, size, letters, body, room: None, for_work }))
        }
        Err(error) => Ok(Err(cannot_store(&error))),
    }
}

/// Writes content to a temporary file as it comes. The inner error is the disk's; the content is then read past.
async fn receive_to_disk<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    number: u64,
    size: u64,
    shared: &Shared,
) -> Result<io::Result<(Staged, u64)>, ReadError> {
    let store = shared.store.clone();
    let (pieces, mut to_write) = mpsc::channel::<Bytes>(PIECES);
    let writing = tokio::task::spawn_blocking(move || {
        let mut staged = store.stage(number)?;
        let mut letters = 0;
        while let Some(piece) = to_write.blocking_recv() {
            staged.write(&piece)?;
            letters += count_letters(&piece);
        }
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
    Ok(writing.await.unwrap_or_else(|error| Err(io::Error::other(error))))
}

/// How many pieces of a large file wait for the disk at most.
const PIECES: usize = 8;

/// Writes the greeting, then acknowledgements until no one has any more.
async fn write_acks<W: AsyncWrite + Unpin>(
    mut write: W,
    mut outgoing: mpsc::UnboundedReceiver<Message>,
    mut out: Vec<u8>,
    stall: Duration,
) -> Result<W, WriteError> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        write_all(&mut write, &out, stall).await?;
        out.clear();
        if outgoing.recv_many(&mut batch, BATCH).await == 0 {
            return Ok(write);
        }
        for message in batch.drain(..) {
            frame::encode(&message, 0, &mut out);
        }
    }
}
