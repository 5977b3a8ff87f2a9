//! What the dispatcher is told of servers: what probes found, and what happened on links.

use super::names::{Speaker, Who};
use crate::protocol::json::NotOldStyle;
use crate::protocol::status::{Dialect, Memory};
use crate::protocol::{Refusal, lists};
use crate::schedule::Slot;

/// Names one of all links that were ever opened.
///
/// The dispatcher counts epochs up with each link that it has opened, whatever the server. An event
/// of a link that is not the server's present one is ignored: what was in flight over it has been
/// sent elsewhere since, and the slot may be another server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId {
    /// The server that the link leads to.
    pub slot: Slot,
    /// Which of its links.
    pub epoch: u64,
}

/// Names one of all head starts that there ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The server answered with its overload byte, and thereby said what it speaks.
    Answered {
        /// The overload byte.
        overloaded: bool,
        /// What the server speaks.
        dialect: Dialect,
        /// The memory of its process; `None` if it did not say.
        memory: Option<Memory>,
        /// Who answered, and where.
        who: Who,
    },
    /// The server did not answer, or not as a server does; with the reason.
    Failed(String),
}

/// Something that happened on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The link can carry files.
    Opened {
        /// Who the server says that it is.
        speaker: Speaker,
        /// The files that the server has and does not know to be confirmed. `None`: it cannot list
        /// them, because it is old-style or its directory has no identity, or is unusable now.
        holding: Option<Vec<lists::StoredFile>>,
        /// The highest number of this journal that the server has ever stored, if it remembers
        /// that.
        seen: Option<u64>,
    },
    /// The link, which has opened, takes files ahead.
    TakesAhead,
    /// A head start over the link is over, with its file or without.
    HeadStartOver(Ticket),
    /// The server has stored these files.
    Stored {
        /// The files' request numbers.
        numbers: Vec<u64>,
        /// False from an old-style server, which does not say what it has stored.
        confirmed: bool,
    },
    /// The server has refused the file.
    NotStored {
        /// The file's request number.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The server has removed the file, as it was told.
    Dropped {
        /// The file's request number.
        number: u64,
    },
    /// The file's own connection to an old-style server failed, or the server was not there after
    /// it closed the connection: whether the file is there is in doubt.
    Lost {
        /// The file's request number.
        number: u64,
        /// How the connection failed.
        reason: String,
    },
    /// No old-style server can read the file, and nothing was sent. Only a link to such a server
    /// says so, and the dispatcher asks nobody else.
    Unfit {
        /// The file's request number.
        number: u64,
        /// What keeps the file from being one JSON document of the bounded length.
        why: NotOldStyle,
    },
    /// The file's content is damaged or lost: nobody can send it any more.
    Unreadable {
        /// The file's request number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The file's content cannot be read just now, for want of descriptors or memory.
    NotNow {
        /// The file's request number.
        number: u64,
        /// What the system is short of.
        reason: String,
    },
    /// The link failed to open, failed, or was closed by the server; with the reason.
    Closed(String),
    /// The link was closed because the server acknowledges nothing; with the reason.
    Silent(String),
}
