//! The messages between the parts of the balancer: to the hub, over links, and to clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::dispatch::{LinkEvent, LinkId, Probed, Ticket};
use super::head_start::{Ahead, HeadStart};
use super::orders::{Command, Sample};
use super::query::{Answer, Query};
use super::room::{DiskReservation, Room};
use crate::access::{AccountAnswer, Allowed, ToSend};
use crate::protocol::status::StatusReport;
use crate::protocol::{Expected, Message, Refusal};
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::Meta;
use crate::queue::{FileBody, JournalError, Progress};
use crate::schedule::Slot;

/// A message to the hub.
#[derive(Debug)]
pub enum ToHub {
    /// A file is at the door. All of it had been read at this time.
    Admit(Box<Admission>, Instant),
    /// A large file comes in fast: it could go ahead to a server.
    HeadStart(Ahead),
    /// A client asks whether a file is wanted.
    Offer(Offer, Queued),
    /// A file cannot be taken now. If it was accepted before under its key, its client gets those
    /// receipts instead of the refusal.
    Refuse(Declined, Queued),
    /// A question.
    Ask(Ask),
    /// The journal's writer reports.
    Journal(Progress),
    /// Files of the backlog were read back from the journal.
    ReadBack(Vec<(u64, ReadBack)>),
    /// The records that the answer to a query needs were read from the journal.
    Looked(Query, oneshot::Sender<Answer>, Vec<(u64, ReadBack)>),
    /// The hub tells itself that an errand goes on.
    GoOn,
    /// The records of a slice of an order about many files were read.
    BulkRead(Vec<(u64, ReadBack)>),
    /// The directory of the content files cannot be synced: the journal must not name content that
    /// a power cut may take away.
    ContentStoreFailed(JournalError),
    /// A probe ended.
    Probed {
        /// The server.
        slot: Slot,
        /// Which server of all that ever had this slot.
        generation: u64,
        /// What the probe found.
        probed: Probed,
        /// How long it took.
        took: Duration,
    },
    /// An operator's order.
    Control(Command),
    /// The standing orders were written, and this is the file's text; or why they could not be.
    OrdersKept(Result<String, Arc<str>>),
    /// A link reports.
    Link {
        /// The link.
        link: LinkId,
        /// What happened.
        event: LinkEvent,
    },
}

/// The place of a message among those of its kind that the hub has not looked at yet, so that
/// clients cannot make their number grow without end. `None` from tests.
pub type Queued = Option<OwnedSemaphorePermit>;

/// A question to the hub, with where the answer goes. Who asked may have gone by then.
#[derive(Debug)]
pub enum Ask {
    /// How is everything?
    Status(oneshot::Sender<StatusReport>),
    /// How is everything, and how long did files take?
    Sample(oneshot::Sender<Sample>),
    /// A question about files, or an order about dead letters or waiting files. What was done is
    /// answered when it is durable.
    Files(Query, oneshot::Sender<Answer>),
}

/// A number that no other connection ever has.
pub(super) fn next_connection() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A file on its way to a server.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The file's request number.
    pub number: u64,
    /// Title, size and checksum.
    pub meta: Arc<Meta>,
    /// The file's content.
    pub content: FileBody,
    /// Its head start, if it had one, perhaps to another server.
    pub ahead: Option<Ticket>,
}

/// A message over a link to a server.
#[derive(Debug)]
pub enum ToServer {
    /// A file.
    Parcel(Parcel),
    /// The content of a file that still comes in.
    Ahead(Ahead),
    /// The balancer knows that these are delivered: the server may forget them.
    Confirm(Vec<u64>),
    /// The server must remove its copy of the file, if size and checksum are these.
    Drop(u64, Expected),
}

/// Where the receipts of a file go.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The connection, by a number that no other connection ever has.
    pub connection: u64,
    /// The task that writes to the connection.
    pub to: Outlet,
    /// The client's name for the file.
    pub id: u64,
}

impl Reply {
    /// Sends a receipt. The client may have gone; its file stays.
    pub fn send(&self, receipt: impl FnOnce(u64) -> Message) {
        self.to.send(receipt(self.id));
    }
}

/// The content of a file at the door.
#[derive(Debug)]
pub enum Arrived {
    /// In memory.
    Memory(Bytes),
    /// In a content file of its own, by its id.
    Own(u64),
}

/// A file at the door. All of it was read, and room is reserved for it.
#[derive(Debug)]
pub struct Admission {
    /// The file's title.
    pub title: Box<str>,
    /// The client's durable name for the file.
    pub key: Option<Arc<str>>,
    /// Whether the key was made of the title and the content, and not given by the client: then a
    /// file that is a dead letter, or was dropped, may come again as another one.
    pub is_key_of_content: bool,
    /// The file's content.
    pub content: Arrived,
    /// Its head start, if it has one.
    pub head_start: Option<HeadStart>,
    /// The size of the content in bytes.
    pub size: u64,
    /// The CRC32C of the content.
    pub crc32c: u32,
    /// Its room in the queue.
    pub room: Room,
    /// Its bytes of the disk.
    pub disk: DiskReservation,
    /// The proof that its sender may send it.
    pub allowed: Allowed<ToSend>,
    /// Where its receipts go; `None` for an old-style client, which reads no receipts.
    pub reply: Option<Reply>,
}

/// A client asks whether it should send a file.
#[derive(Debug)]
pub struct Offer {
    /// The client's durable name for the file.
    pub key: Arc<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content, if the client knows it. Without it only the content can tell
    /// whether the balancer has the file already.
    pub crc32c: Option<u32>,
    /// Bytes that an earlier upload has left before it broke off.
    pub offset: u64,
    /// Where the answer and the receipts go.
    pub reply: Reply,
}

/// A file with a key that is refused, unless it was accepted before under this key.
#[derive(Debug)]
pub struct Declined {
    /// The client's durable name for the file.
    pub key: Arc<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// Tells whether its content is that of the file which the key names already.
    pub sum: Sum,
    /// Why it is refused.
    pub refusal: Refusal,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The CRC32C of content that is not kept.
#[derive(Debug)]
pub enum Sum {
    /// All of the content was read.
    Known(u32),
    /// The content was not read. If the key names a file already, it has to be: then the hub gives
    /// no answer, and refusal and reply come back this way.
    Unread(oneshot::Sender<(Refusal, Reply)>),
}

/// A message to be written to a native client.
#[derive(Debug)]
pub enum ToClient {
    /// A message without content.
    Message(Message),
    /// An answer with content. The sender is told once it is written.
    Answer(ClientAnswer, oneshot::Sender<()>),
}

/// An answer with content.
#[derive(Debug)]
pub enum ClientAnswer {
    /// To a status request.
    Status(Box<StatusReport>),
    /// To what a client asked about its account.
    Account(Box<AccountAnswer>),
}

/// Where messages to a client go. It counts the bytes that wait there; whoever takes messages off
/// takes their [`size_of_message`] off the count.
#[derive(Debug, Clone)]
pub struct Outlet {
    to: mpsc::UnboundedSender<ToClient>,
    waiting: Arc<AtomicUsize>,
}

impl Outlet {
    /// Messages go to `to`, and their bytes are counted in `waiting`.
    pub fn new(to: mpsc::UnboundedSender<ToClient>, waiting: Arc<AtomicUsize>) -> Self {
        Self { to, waiting }
    }

    /// Sends a message. A client that has gone needs none.
    pub fn send(&self, message: Message) {
        // Before it can be taken off.
        let size = size_of_message(&message);
        self.waiting.fetch_add(size, Ordering::Relaxed);
        let _ = self.to.send(ToClient::Message(message));
    }

    /// Sends an answer with content, which is not counted: a connection has one at a time.
    pub fn answer(&self, answer: ClientAnswer, written: oneshot::Sender<()>) {
        let _ = self.to.send(ToClient::Answer(answer, written));
    }

    /// Whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
    }
}

/// About how many bytes a message to a client takes while it waits.
pub fn size_of_message(message: &Message) -> usize {
    let text = match message {
        Message::Refused { refusal, .. } | Message::Bye(refusal) => refusal.reason.len(),
        Message::Dead { reason, .. }
        | Message::Waiting { reason }
        | Message::Seen { reason, .. } => reason.len(),
        // All others have no text of their own.
        _ => 0,
    };
    size_of::<ToClient>() + text
}
