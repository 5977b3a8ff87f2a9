//! What is written to a native client, and the account that keeps it from growing without end.
//!
//! Two halves of a connection share a [`Backpressure`]. The reading half counts each message before
//! it can be written: two receipts for a file (accepted and delivered, or one that stands for both)
//! and one for anything else. The writing half, [`write_receipts`], takes the messages off once
//! they are written. `unread` counts all of them and `open` the files that still have a last
//! receipt to come, so `unread - open` is what could be written now and is not: above a bound the
//! reading half stops, until the writing half has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::balancer::messages::ToClient;
use crate::protocol::{Message, RefusalCode, frame};
use crate::transport::{WriteError, send_content, write_all};

/// The most messages that are written together.
const BATCH: usize = 256;

/// What the two halves of a connection tell each other.
#[derive(Default)]
pub(super) struct Backpressure {
    /// Messages that are not written to the client yet.
    unread: AtomicUsize,
    /// Files whose last receipt is not written yet.
    open: AtomicUsize,
    /// Signalled when the writing half has written something.
    caught_up: Notify,
    pub(super) writer_ended: CancellationToken,
    /// The client has gone: what is waiting to be written now is the last.
    pub(super) gone: CancellationToken,
}

impl Backpressure {
    /// Counts the receipts of a file.
    pub(super) fn count_file(&self) {
        self.unread.fetch_add(2, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that is no receipt.
    pub(super) fn count_answer(&self) {
        self.unread.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that the connection writes by itself.
    pub(super) fn count(&self, message: &Message) {
        self.unread.fetch_add(weight(message), Ordering::Relaxed);
        self.open
            .fetch_add(usize::from(is_last(message)), Ordering::Relaxed);
    }

    fn written(&self, batch: &Written) {
        self.open.fetch_sub(batch.last, Ordering::Relaxed);
        self.unread.fetch_sub(batch.count, Ordering::Relaxed);
        self.caught_up.notify_one();
    }

    /// Whether the client has files under way.
    pub(super) fn has_open_files(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether the client will hear anything more without asking.
    pub(super) fn owes(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > 0 || self.has_open_files()
    }

    /// Waits until at most `most` messages could be written and are not.
    pub(super) async fn wait_below(&self, most: usize) {
        loop {
            let caught_up = self.caught_up.notified();
            let unread = self.unread.load(Ordering::Relaxed);
            if unread.saturating_sub(self.open.load(Ordering::Relaxed)) <= most {
                return;
            }
            caught_up.await;
        }
    }
}

/// The receipts that a message counts for: a file gets two, or one that stands for both.
fn weight(message: &Message) -> usize {
    1 + usize::from(matches!(
        message,
        Message::Refused { .. } | Message::Wanted { .. }
    ))
}

/// Whether this is a file's last receipt.
fn is_last(message: &Message) -> bool {
    use Message::{Dead, Delivered, Refused, Wanted};
    matches!(
        message,
        Delivered { .. } | Dead { .. } | Refused { .. } | Wanted { .. }
    )
}

/// What a batch of messages takes off the account.
#[derive(Default)]
struct Written {
    /// Receipts and answers.
    count: usize,
    /// Files that had their last receipt.
    last: usize,
    /// A message said that the connection is broken off.
    is_broken_off: bool,
}

impl Written {
    fn add(&mut self, message: &Message) {
        self.count += weight(message);
        self.last += usize::from(is_last(message));
        self.is_broken_off |= matches!(
            message,
            Message::Bye(refusal) if refusal.code != RefusalCode::Stopping
        );
    }
}

/// Writes messages to the client until nobody can send it any more, or the connection is broken
/// off.
pub(super) async fn write_receipts(
    mut write: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<ToClient>,
    backpressure: Arc<Backpressure>,
    stall: Duration,
) -> Result<(), WriteError> {
    let mut batch = Vec::new();
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    while next_batch(&mut outgoing, &mut batch, &backpressure).await > 0 {
        let mut written = Written::default();
        for item in batch.drain(..) {
            match item {
                ToClient::Message(message) => {
                    written.add(&message);
                    frame::encode(&message, 0, &mut out);
                }
                ToClient::Status(report) => {
                    written.count += 1;
                    let content = serde_json::to_vec(&report).unwrap_or_default();
                    frame::encode(&Message::Status, content.len() as u64, &mut out);
                    send_content(&mut write, &mut out, &content, stall).await?;
                }
            }
        }
        write_all(&mut write, &out, stall).await?;
        out.clear();
        backpressure.written(&written);
        if written.is_broken_off {
            break;
        }
    }
    Ok(write.shutdown().await?)
}

/// Takes the next messages; 0 once all is written to a client that has gone.
async fn next_batch(
    outgoing: &mut mpsc::UnboundedReceiver<ToClient>,
    batch: &mut Vec<ToClient>,
    backpressure: &Backpressure,
) -> usize {
    tokio::select! {
        biased;
        count = outgoing.recv_many(batch, BATCH) => count,
        () = backpressure.gone.cancelled() => 0,
    }
}
