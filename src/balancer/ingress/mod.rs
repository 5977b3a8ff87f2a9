//! The doorways: how files come in from clients.
//!
//! The first byte of a connection says which doorway it wants. Both read with deadlines and reserve room before they
//! read a file, and both end in [`Gate::admit`](super::gate::Gate::admit); only their languages differ.

mod json;
mod native;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use crate::protocol::frame::MAGIC;
use crate::transport::{BoxStream, Deadlines, Reader, log_end};

/// What every doorway needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) gate: Arc<Gate>,
    pub(super) deadlines: Deadlines,
    /// The largest object at the JSON doorway, in bytes.
    pub(super) max_json: u64,
    /// No new files are taken once this is cancelled.
    pub(super) stop: CancellationToken,
    /// No receipts will come any more once this is cancelled.
    pub(super) finished: CancellationToken,
}

/// Serves one connection from its first byte to its end.
pub(super) async fn serve(stream: BoxStream, peer: SocketAddr, door: Door) {
    let (read, write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, door.deadlines);
    let first = tokio::select! {
        () = door.stop.cancelled() => return,
        first = reader.peek() => first,
    };
    let ended = match first {
        Ok(None) => Ok(()),
        Ok(Some(byte)) if byte == MAGIC[0] => native::serve(reader, write, peer, &door).await,
        Ok(Some(_)) => json::serve(&mut reader, peer, &door).await,
        Err(error) => Err(error),
    };
    log_end(peer, ended);
}
