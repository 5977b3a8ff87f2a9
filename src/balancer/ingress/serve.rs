//! Serves a connection of the balancer's port: its first byte says which doorway it wants.

use std::net::SocketAddr;
use std::sync::Arc;

use super::secure::{Arrived, secure};
use super::{Door, json, native};
use crate::access::At;
use crate::protocol::frame::MAGIC;
use crate::transport::{BoxStream, ReadError, Reader, Seat, tls};

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
    let (read, write) = tokio::io::split(stream);
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
        Ok(Some(tls::FIRST_BYTE)) if door.tls.is_none() => Err(ReadError::TlsIsOff),
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
        Err(error) => Err(error),
    };
    seat.log_end(ended);
}
