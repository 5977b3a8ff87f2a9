//! The JSON doorway of a file server, which answers as a server of the first system would.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::super::store::{IncomingBody, Store};
use super::super::work::{Hold, count_letters};
use super::incoming::{IncomingFile, submit};
use super::shared::{Shared, silent};
use crate::pool::Share;
use crate::protocol::Refusal;
use crate::protocol::json::{JsonError, Request, parse};
use crate::transport::{ObjectReader, ReadError, Reader, Rest, Seat};

/// Who asks.
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// The store, if they may store.
    pub(super) store: Result<Store, Refusal>,
    /// Whether the connection stays open behind an answer: a balancer of the cluster asks again
    /// and again how the server is, and a new connection takes a handshake.
    pub(super) stays: bool,
}

/// Serves requests until the peer closes or one of them is answered, which ends the connection unless
/// the caller stays.
pub(super) async fn serve<R, W>(
    mut reader: Reader<R>,
    mut write: W,
    caller: Caller,
    shared: &Shared,
    seat: &Seat,
    greeting_ends: Instant,
) -> Result<(), ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = ObjectReader::new(&mut reader);
    let first = timeout_at(greeting_ends, reader.skip_space()).await;
    let mut has_more = first.unwrap_or_else(|_| silent())?;
    while has_more {
        let Some(answer) = serve_one(&mut reader, &caller, shared, seat).await? else {
            return Ok(());
        };
        if !answer.is_empty() {
            write.write_all(&answer).await?;
            if !caller.stays {
                return Ok(write.shutdown().await?);
            }
            write.flush().await?;
            seat.rest(Rest::Idle);
            has_more = tokio::select! {
                () = shared.stop.cancelled() => return Ok(write.shutdown().await?),
                more = reader.skip_space() => more?,
            };
            continue;
        }
        seat.rest(Rest::Deaf);
        has_more = reader.skip_space().await?;
    }
    Ok(())
}

/// Serves one request and returns the answer, which is empty for a file; `None` if the peer closed.
async fn serve_one<R: AsyncRead + Unpin>(
    reader: &mut ObjectReader<'_, R>,
    caller: &Caller,
    shared: &Shared,
    seat: &Seat,
) -> Result<Option<Vec<u8>>, ReadError> {
    seat.know();
    seat.work();
    let mut share = Share::default();
    let object = reader.object_in(&shared.large, &mut share, shared.max_json);
    let Some(object) = object.await? else {
        return Ok(None);
    };
    let answer = match parse(&object)? {
        Request::File {
            title,
            content,
            number,
        } => {
            let number = number.ok_or(JsonError::Missing("numero_richiesta"))?;
            let refused = |refusal: &Refusal| ReadError::Refused(refusal.clone());
            let its_store = caller.store.as_ref().map_err(refused)?;
            store(number, title, content, caller.peer, (shared, its_store)).await;
            Vec::new()
        }
        Request::Discovery => shared.greeting(),
        // A server of the first system answers any other request with its overload byte.
        Request::Status | Request::Other(_) => vec![shared.overload.byte()],
    };
    drop(share);
    Ok(Some(answer))
}

/// Stores a file. Its sender gets no answer, so the log says what became of it.
async fn store(
    number: u64,
    title: String,
    content: Bytes,
    peer: SocketAddr,
    (shared, store): (&Shared, &Store),
) {
    let size = content.len() as u64;
    let letters = count_letters(&content);
    let for_work = shared.work.copy_of(&content);
    let hold = shared.work.hold(size).unwrap_or_else(Hold::none);
    let room = store.room(size).await;
    let file = IncomingFile {
        number,
        title,
        size,
        letters,
        // Only files of a journal are compared by their checksum.
        crc32c: 0,
        body: IncomingBody::Whole(content),
        room,
        for_work,
        hold,
    };
    submit(file, None, (shared, store), move |stored| {
        if stored.is_err() {
            tracing::error!(
                number,
                from = %peer,
                "file lost: an old-style balancer cannot be told that it was not stored"
            );
        }
    });
}
