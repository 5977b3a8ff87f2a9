//! What the parts of the balancer tell each other: events for the hub, and receipts for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::dispatch::{LinkEvent, LinkId, Probed};
use super::orders::Command;
use super::room::{DiskReservation, Room};
use crate::protocol::query::{Answer, Query};
use crate::protocol::status::StatusReport;
use crate::protocol::{Expected, Message, Refusal};
use crate::queue::backlog_entry::ReadBack;
use crate::queue::record::Meta;
use crate::queue::{FileBody, Progress};
use crate::schedule::Slot;

/// Something that the hub must know.
#[derive(Debug)]
pub enum ToHub {
    /// A file is at the door, read whole at this time.
    Admit(Box<Admission>, Instant),
    /// A client asks whether a file is wanted.
    Offer(Offer),
    /// A file cannot be taken now. One that came before under its key is answered for all the same.
    Refuse(Declined),
    /// A client asks for the status.
    Status(mpsc::UnboundedSender<ToClient>),
    /// A client asks about files, or says what to do with them.
    Query(Query, mpsc::UnboundedSender<ToClient>),
    /// The journal's writer got on.
    Journal(Progress),
    /// Files whose turn comes soon were read back from the journal.
    ReadBack(Vec<(u64, ReadBack)>),
    /// Files that somebody asks about were read back from the journal.
    Looked(Query, mpsc::UnboundedSender<ToClient>, Vec<(u64, ReadBack)>),
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
    /// An operator asks for something, or wants it done.
    Control(Command),
    /// Something happened on a link.
    Link {
        /// The link.
        link: LinkId,
        /// What happened.
        event: LinkEvent,
    },
}

/// A number for a connection that no other one has.
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
}

/// Something that is to go over a link.
#[derive(Debug)]
pub enum ToServer {
    /// A file.
    Parcel(Parcel),
    /// The server need not remember these any longer.
    Confirm(Vec<u64>),
    /// The server must remove its copy of the file, if it is this.
    Drop(u64, Expected),
}

/// Where the receipts of a file go.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Which connection that is: no other one ever has its number.
    pub connection: u64,
    /// The client's connection.
    pub to: mpsc::UnboundedSender<ToClient>,
    /// The client's name for the file.
    pub id: u64,
}

impl Reply {
    /// Sends a receipt. The client may have gone; its file stays.
    pub fn send(&self, receipt: impl FnOnce(u64) -> Message) {
        let _ = self.to.send(ToClient::Message(receipt(self.id)));
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

/// A file at the door, read whole and with room reserved for it.
#[derive(Debug)]
pub struct Admission {
    /// The file's title.
    pub title: Box<str>,
    /// The client's lasting name for it.
    pub key: Option<Arc<str>>,
    /// The file's content.
    pub content: Arrived,
    /// The size of the content in bytes.
    pub size: u64,
    /// The CRC32C of the content.
    pub crc32c: u32,
    /// The room reserved for it in the queue.
    pub room: Room,
    /// The bytes of the disk reserved for it.
    pub disk: DiskReservation,
    /// Who sent it.
    pub from: Arc<str>,
    /// Where its receipts go; an old-style client reads none.
    pub reply: Option<Reply>,
}

/// A file that a client would send.
#[derive(Debug)]
pub struct Offer {
    /// The client's lasting name for it.
    pub key: Arc<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content, if the client says it: without it a file is never taken for one
    /// that came before.
    pub crc32c: Option<u32>,
    /// How many bytes of it are there from an upload that broke off.
    pub offset: u64,
    /// Where the answer and the receipts go.
    pub reply: Reply,
}

/// A file with a key that cannot be taken.
#[derive(Debug)]
pub struct Declined {
    /// The client's lasting name for it.
    pub key: Arc<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// What its content is told by from that of a file which came before under its key.
    pub sum: Sum,
    /// Why it cannot be taken.
    pub refusal: Refusal,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The CRC32C of content that is not kept.
#[derive(Debug)]
pub enum Sum {
    /// All of the content came.
    Known(u32),
    /// None of it was read yet. Only if a file came before under the key it has to be: then nothing
    /// is answered, and the refusal and the reply come back this way.
    Unread(oneshot::Sender<(Refusal, Reply)>),
}

/// Something to be written to a native client.
#[derive(Debug)]
pub enum ToClient {
    /// A message without content.
    Message(Message),
    /// The answer to a status request.
    Status(Box<StatusReport>),
    /// The answer to a query.
    Answer(Box<Answer>),
}
