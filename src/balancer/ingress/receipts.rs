//! What is written to a native client, and the account that keeps it from growing without end.
//!
//! Two halves of a connection share a [`Backpressure`]. The reading half counts each message before
//! it can be written: two receipts for a file (accepted and delivered, or one that stands for both)
//! and one for anything else. The writing half, [`write_receipts`], takes the messages off once
//! they are written. `unread` counts all of them and `open` the files that still have a last
//! receipt to come, so `unread - open` is what could be written now and is not: above a bound the
//! reading half stops, until the writing half has caught up. It also stops while `bytes` of
//! messages are too many, and while an answer with content is not written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::balancer::messages::{ClientAnswer, ToClient, size_of_message};
use crate::protocol::limits::{MAX_UNREAD_BYTES, MAX_UNREAD_RECEIPTS};
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
    /// Bytes of messages that are not written to the client yet; its [`Outlet`] counts them.
    ///
    /// [`Outlet`]: crate::balancer::messages::Outlet
    pub(super) bytes: Arc<AtomicUsize>,
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
        self.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
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

    /// Waits until few enough messages, and bytes of them, could be written and are not.
    pub(super) async fn wait_for_room(&self) {
        let has_room = || {
            self.late() <= MAX_UNREAD_RECEIPTS
                && self.bytes.load(Ordering::Relaxed) <= MAX_UNREAD_BYTES
        };
        self.wait_for(has_room).await;
    }

    /// Waits until everything is written that could be.
    pub(super) async fn wait_until_written(&self) {
        self.wait_for(|| self.late() == 0).await;
    }

    /// How many messages could be written and are not.
    fn late(&self) -> usize {
        let unread = self.unread.load(Ordering::Relaxed);
        unread.saturating_sub(self.open.load(Ordering::Relaxed))
    }

    async fn wait_for(&self, is_so: impl Fn() -> bool) {
        loop {
            let caught_up = self.caught_up.notified();
            if is_so() {
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
    /// Their bytes, as they were counted.
    bytes: usize,
    /// Who waits for an answer with content to be written.
    asked: Option<oneshot::Sender<()>>,
    /// Files that had their last receipt.
    last: usize,
    /// A message said that the connection is broken off.
    is_broken_off: bool,
}

impl Written {
    fn add(&mut self, message: &Message) {
        self.count += weight(message);
        self.bytes += size_of_message(message);
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
                ToClient::Answer(answer, asked) => {
                    written.count += 1;
                    written.asked = Some(asked);
                    let (message, content) = match answer {
                        ClientAnswer::Status(report) => {
                            (Message::Status, serde_json::to_vec(&report))
                        }
                        ClientAnswer::Account(answer) => {
                            (Message::Account, serde_json::to_vec(&answer))
                        }
                    };
                    let content = content.unwrap_or_default();
                    frame::encode(&message, content.len() as u64, &mut out);
                    send_content(&mut write, &mut out, &content, stall).await?;
                }
            }
        }
        write_all(&mut write, &out, stall).await?;
        out.clear();
        backpressure.written(&written);
        if let Some(asked) = written.asked {
            // The reading half may have ended meanwhile.
            let _ = asked.send(());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::messages::Outlet;
    use tokio::io::AsyncReadExt;

    /// Few messages with long reasons fill as much memory as many with short ones.
    #[tokio::test]
    async fn long_messages_that_are_not_read_keep_the_next_from_being_read() {
        let backpressure = Arc::new(Backpressure::default());
        let (to, outgoing) = mpsc::unbounded_channel();
        let outlet = Outlet::new(to, backpressure.bytes.clone());
        for id in 0..1000 {
            backpressure.count_file();
            let reason = "x".repeat(4096);
            outlet.send(Message::Accepted { id, number: id });
            outlet.send(Message::Dead {
                id,
                number: id,
                reason,
            });
        }
        let room = backpressure.wait_for_room();
        let waited = tokio::time::timeout(Duration::from_millis(20), room).await;
        assert!(waited.is_err(), "more is read while 4 MB wait");
        drop(outlet);
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let stall = Duration::from_mins(1);
        let writing = write_receipts(ours, outgoing, backpressure.clone(), stall);
        let mut read = Vec::new();
        let (written, count) = tokio::join!(writing, theirs.read_to_end(&mut read));
        written.unwrap();
        assert!(count.unwrap() > 4_000_000);
        backpressure.wait_for_room().await;
        assert_eq!(backpressure.bytes.load(Ordering::Relaxed), 0);
        assert!(!backpressure.owes());
    }
}
