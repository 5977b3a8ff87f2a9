//! Serves a connection of the balancer's port: its first byte says which doorway it wants.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::secure::{Arrived, secure};
use super::{Door, json, native};
use crate::access::At;
use crate::protocol::frame::MAGIC;
use crate::transport::{BoxStream, ReadError, Reader, Seat, Words, tls, write_all};

/// Serves one connection from its first byte to its end.
pub(in crate::balancer) async fn serve(
    stream: BoxStream,
    peer: SocketAddr,
    door: Door,
    seat: Arc<Seat>,
) {
    let is_required = door.tls.as_ref().is_some_and(|tls| tls.is_required());
    if !is_required && door.knows(At::plain(peer)) {
        seat.know();
    }
    let arrived = match &door.tls {
        None => Arrived::plain(stream, peer),
        // Boxed, as the doorways are.
        Some(tls) => match Box::pin(secure(stream, peer, tls, &door, &seat)).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return,
            Err(error) => return seat.log_end(Err(error)),
        },
    };
    let Arrived { stream, at, barred } = arrived;
    let direct = stream.direct();
    let (read, mut write) = tokio::io::split(stream);
    let pass = door.lock().by_place(at);
    if barred.is_none() && door.knows(at) {
        seat.know();
    }
    let bounds = door.bounds();
    let mut reader = Reader::over(read, direct, bounds.deadlines);
    let first = tokio::select! {
        () = door.shutdown.draining.cancelled() => return,
        () = seat.asked_to_leave() => Err(ReadError::Crowded),
        first = reader.peek_within(door.patience(&seat)) => first,
    };
    // Boxed: inlined futures make every connection task as large as the largest of them, and
    // 10,000 may be idle.
    let ended = match first {
        Ok(None) => Ok(()),
        Ok(Some(byte)) if byte == MAGIC[0] => {
            let stall = bounds.deadlines.stall;
            Box::pin(native::serve(
                reader,
                write,
                (at, pass),
                &door,
                stall,
                seat.clone(),
                barred,
            ))
            .await
        }
        // No object begins with a letter, and this is the way of TLS only where there is none.
        Ok(Some(b'A'..=b'Z' | tls::FIRST_BYTE))
            if let Some(error) = Box::pin(turn_away(&mut reader, &mut write, &door)).await =>
        {
            Err(error)
        }
        Ok(Some(_)) if let Some(refusal) = barred => Err(ReadError::Refused(refusal)),
        Ok(Some(_)) => {
            let pass = door.lock().by_network(at).unwrap_or(pass);
            match pass.allow() {
                Ok(allowed) => {
                    let inside = door.enter(allowed);
                    let serving = json::serve(&mut reader, &inside, bounds.max_json, &seat);
                    tokio::select! {
                        ended = Box::pin(serving) => ended,
                        denied = pass.ended() => Err(ReadError::Refused(denied.refusal())),
                    }
                }
                Err(denied) => Err(ReadError::Refused(denied.refusal())),
            }
        }
        Err(error @ ReadError::Idle(_)) => {
            // Clients of FTP wait for a word like this. An old-style client, which says nothing for
            // long either, reads nothing; its connection ends now.
            let line = format!("421 {HERE}, and nothing was said; {}\r\n", door.elsewhere());
            let _ = write_all(&mut write, line.as_bytes(), bounds.deadlines.stall).await;
            Err(error)
        }
        Err(error) => Err(error),
    };
    seat.log_end(ended);
}

/// What the balancer's port is for, as others are told.
const HERE: &str = "this port takes files in Bilico's own protocol";

/// Tells somebody who speaks a protocol of others where to go; `None` if it is not known.
async fn turn_away<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    write: impl AsyncWrite + Unpin,
    door: &Door,
) -> Option<ReadError> {
    let hint = door.elsewhere();
    let words = Words {
        here: HERE,
        hint: &hint,
    };
    reader.refuse_foreign(write, &words).await
}
