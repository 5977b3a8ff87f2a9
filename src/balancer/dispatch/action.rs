//! What the dispatcher decides, for the hub to carry out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::event::LinkId;
use super::pending::Queued;
use crate::file::{Attempt, Meta};
use crate::protocol::json::NotOldStyle;
use crate::protocol::lists;
use crate::protocol::status::Dialect;
use crate::schedule::{Flip, Slot};

/// What the hub has to do. The order of actions is that of the decisions.
#[derive(Debug)]
pub enum Action<T> {
    /// Send the file over the server's link. It is in the dispatcher's queue.
    Send {
        /// The server.
        slot: Slot,
        /// The file's request number.
        number: u64,
    },
    /// The file is delivered: tell its client.
    Delivered {
        /// The file's request number.
        number: u64,
        /// The server that has stored it.
        slot: Slot,
        /// The server's name.
        server: Arc<str>,
        /// False from an old-style server, which acknowledges nothing.
        confirmed: bool,
        /// When it was sent, on the hub's clock.
        sent: Duration,
        /// The file, out of the queue.
        file: Queued<T>,
    },
    /// The file came back from a server: record the attempt.
    CameBack {
        /// The file's request number.
        number: u64,
        /// The file, for the log.
        meta: Arc<Meta>,
        /// Where it came back from, and why.
        attempt: Attempt,
        /// How many attempts there were so far, this one included.
        attempts: u32,
        /// Whether the refusal was the file's own fault.
        is_failure: bool,
        /// Whether the attempt is among the first ones, which are kept with their reasons.
        is_kept: bool,
    },
    /// No server can take the file: it is a dead letter.
    Dead {
        /// The file's request number.
        number: u64,
        /// Why.
        reason: String,
        /// The file, out of the queue.
        file: Queued<T>,
    },
    /// A server has a file that is not in the queue: find out whether another server has it, too.
    UnexpectedCopy {
        /// The server.
        slot: Slot,
        /// The file's request number.
        number: u64,
        /// What the server says of the file, if it listed it.
        held: Option<lists::StoredFile>,
    },
    /// Open this link.
    OpenLink {
        /// The link, which speaks of itself by this name.
        link: LinkId,
        /// What the server speaks.
        dialect: Dialect,
        /// Where the server has answered a probe.
        at: Option<SocketAddr>,
    },
    /// Close the server's link, whatever is in it.
    CloseLink {
        /// The server.
        slot: Slot,
    },
    /// A fact about the server changed.
    Flipped {
        /// The server's name.
        server: Arc<str>,
        /// The fact, and the reason.
        flip: Flip,
    },
    /// Probe the server now.
    Probe {
        /// The server.
        slot: Slot,
    },
    /// Log this; nothing else is to be done.
    Log(Note),
}

/// A decision that changes nothing for the hub, and that operators look for in the log.
#[derive(Debug)]
pub enum Note {
    /// The file is nothing for an old-style server, and goes to others.
    Unfit {
        /// The file's request number.
        number: u64,
        /// The server that it was meant for.
        server: Arc<str>,
        /// Why such a server cannot read it.
        why: NotOldStyle,
    },
    /// The file waits, because no eligible server can take it now. Comes once a file.
    Waits {
        /// The file's request number.
        number: u64,
        /// The file, for the log.
        meta: Arc<Meta>,
        /// How many attempts there were so far.
        attempts: u32,
        /// Why.
        reason: String,
    },
    /// A server has another file than ours under this number, which is left alone.
    OtherContent {
        /// The file's request number.
        number: u64,
        /// The server's name.
        server: Arc<str>,
    },
    /// A probe's answer said for the first time what the server speaks, or something else than
    /// before.
    Recognised {
        /// The server's name.
        server: Arc<str>,
        /// What it speaks.
        dialect: Dialect,
    },
}

/// What became of the order not to deliver a file.
#[derive(Debug)]
pub enum Cancel<T> {
    /// The file is out of the queue. A server may have it, and must then remove it.
    Taken(Box<Queued<Delivery<T>>>),
    /// The file is with this server, which cannot remove it.
    StaysWith(Arc<str>),
    /// No such file waits.
    Unknown,
}
