//! The writing half of a balancer's link: the greeting, the list of what is stored, and
//! acknowledgements.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::store::Inventory;
use crate::protocol::limits::MAX_LIST;
use crate::protocol::lists::encode_holding;
use crate::protocol::{Message, Refusal, frame};
use crate::transport::{WriteError, send_content, write_all};

/// The most messages that are written together.
const BATCH: usize = 256;

/// What is written to a balancer.
pub(super) enum Outgoing {
    Message(Message),
    /// What is stored for its journal, in as many messages as it takes.
    Inventory(Inventory),
}

/// Writes `greeting`, then what comes from `outgoing` until all its senders are gone, and returns
/// the connection.
pub(super) async fn write_acks<W: AsyncWrite + Unpin>(
    mut write: W,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    greeting: Vec<u8>,
    stall: Duration,
) -> Result<W, WriteError> {
    let mut out = greeting;
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
                Outgoing::Inventory(inventory) => {
                    write_inventory(&mut write, &mut out, &inventory, stall).await?;
                }
            }
        }
    }
}

/// Writes the list of what is stored, one part at a time. The caller writes the bytes that are left
/// in `out`.
async fn write_inventory(
    write: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
    Inventory { files, seen }: &Inventory,
    stall: Duration,
) -> Result<(), WriteError> {
    let holding = |last| Message::Holding { last, seen: *seen };
    if files.is_empty() {
        frame::encode(&holding(true), 0, out);
    }
    let mut parts = files.chunks(MAX_LIST).peekable();
    while let Some(part) = parts.next() {
        let content = encode_holding(part);
        let last = parts.peek().is_none();
        frame::encode(&holding(last), content.len() as u64, out);
        send_content(write, out, &content, stall).await?;
    }
    Ok(())
}

/// Writes the last message of a link and closes the writing half.
pub(super) async fn say_bye(
    mut write: impl AsyncWrite + Unpin,
    last: Refusal,
    stall: Duration,
) -> Result<(), WriteError> {
    let mut out = Vec::new();
    frame::encode(&Message::Bye(last), 0, &mut out);
    write_all(&mut write, &out, stall).await?;
    Ok(write.shutdown().await?)
}
