//! What the parts of the balancer tell each other: events for the hub, and receipts for clients.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::dispatch::Probed;
use crate::protocol::status::StatusReport;
use crate::protocol::{Message, Refusal};
use crate::schedule::Slot;

/// Something that the hub must know.
#[derive(Debug)]
pub enum Event {
    /// A file is at the door.
    Admit(Admission),
    /// A client asks for the status.
    Status(mpsc::UnboundedSender<Outgoing>),
    /// A probe ended.
    Probed {
        /// The server.
        slot: Slot,
        /// What the probe found.
        probed: Probed,
    },
    /// Something happened on a link.
    Link {
        /// The server.
        slot: Slot,
        /// The link's epoch.
        epoch: u64,
        /// What happened.
        event: LinkEvent,
    },
}

/// Something that happened on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// It can carry files.
    Opened,
    /// The server has the file.
    Stored {
        /// The file's request number.
        number: u64,
        /// False from an old-style server.
        confirmed: bool,
    },
    /// The server does not take the file.
    NotStored {
        /// The file's request number.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The file's own connection failed.
    Lost {
        /// The file's request number.
        number: u64,
        /// How it failed.
        reason: String,
    },
    /// It failed or was closed by the server.
    Closed(String),
}

/// Room in the queue for one file; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    pub(super) _file: OwnedSemaphorePermit,
    pub(super) _bytes: OwnedSemaphorePermit,
}

/// Where the receipts of a file go.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The client's connection.
    pub to: mpsc::UnboundedSender<Outgoing>,
    /// The client's name for the file.
    pub id: u64,
}

/// A file at the door, read whole and with room reserved for it.
#[derive(Debug)]
pub struct Admission {
    /// The file's title.
    pub title: Arc<str>,
    /// The file's content.
    pub content: Bytes,
    /// The room reserved for it.
    pub room: Room,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Where its receipts go; an old-style client reads none.
    pub reply: Option<Reply>,
}

/// Something to be written to a native client.
#[derive(Debug)]
pub enum Outgoing {
    /// A message without content.
    Message(Message),
    /// The answer to a status request.
    Status(Box<StatusReport>),
}
