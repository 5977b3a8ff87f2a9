//! The messages of the native protocol. `encode.rs` writes their JSON headers, and
//! `decode.rs` reads them.

use std::sync::Arc;

use super::error::Refusal;
use super::hello::Hello;
use super::join::Register;

/// The reason of [`Message::Dead`] for a file that an operator has cancelled while it waited: it is
/// no dead letter, and no server has it.
pub const CANCELLED: &str = "cancelled by an operator while it waited";

/// A native message. Its content, if any, follows the header as raw bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first message of each side.
    Hello(Box<Hello>),
    /// A file on its way from a client; its content follows.
    Put {
        /// The client's name for the file on this connection, repeated in its receipts.
        id: u64,
        /// The file's title.
        title: String,
        /// The client's durable name for the file: the same on each resend, on any connection.
        key: Option<Arc<str>>,
        /// The prefix of the content that the balancer has from an earlier connection, and that
        /// does not follow again.
        resumed: Option<Prefix>,
    },
    /// A client has a file under this key, and asks whether the balancer wants its content. The
    /// answer is `wanted`, or the receipts of the file that the key already names.
    Offer {
        /// The client's name for the file on this connection.
        id: u64,
        /// The client's durable name for it.
        key: Arc<str>,
        /// The size of its content in bytes.
        size: u64,
        /// The CRC32C of its content, which tells it from another file of the same size. Without
        /// it, the answer is always `wanted`, so that the content can be compared.
        crc32c: Option<u32>,
    },
    /// The balancer does not have the offered file, but may have its first `offset` bytes.
    Wanted {
        /// The client's name for the file.
        id: u64,
        /// How many bytes of content it has.
        offset: u64,
    },
    /// A file on its way to a server; its content follows.
    Store {
        /// The file's request number.
        number: u64,
        /// The file's title.
        title: Arc<str>,
    },
    /// The content of a file that its client is still sending, or that is not accepted yet, on its
    /// way to a server; it follows. The server holds it for this connection alone.
    Ahead,
    /// The content that came ahead over this connection is that of this file, which is accepted: the
    /// server stores it.
    Keep {
        /// The file's request number.
        number: u64,
        /// The file's title.
        title: Arc<str>,
    },
    /// Receipt: the balancer has the file.
    Accepted {
        /// The client's name for the file.
        id: u64,
        /// The request number given to it.
        number: u64,
    },
    /// Receipt: a server has the file.
    Delivered {
        /// The client's name for the file.
        id: u64,
        /// The file's request number.
        number: u64,
        /// The server that stored it.
        server: Arc<str>,
        /// False from an old-style server, which never acknowledges.
        confirmed: bool,
    },
    /// Receipt: the file `id` was not taken.
    Refused {
        /// The client's name for the file.
        id: u64,
        /// The kind of refusal, and the reason.
        refusal: Refusal,
    },
    /// Receipt: no server can take the file; it is kept among the dead letters. With the reason
    /// [`CANCELLED`], an operator does not want it.
    Dead {
        /// The client's name for the file.
        id: u64,
        /// The file's request number.
        number: u64,
        /// The reason, in words for people.
        reason: String,
    },
    /// The files of this balancer's journal that a server has stored and that were not confirmed to
    /// it, as JSON content: see [`super::lists`]. The server's first messages after the balancer's
    /// `hello`, as many parts as the list needs.
    Holding {
        /// Whether this is the last part.
        last: bool,
        /// The highest request number of this journal that the server ever stored, whatever became
        /// of the file since; `None` if the server does not keep it.
        seen: Option<u64>,
    },
    /// The numbers in the JSON content are recorded as delivered by this server: it will not be
    /// asked for them again.
    Confirmed,
    /// Another server has the file: this one must remove its copy.
    Drop {
        /// The file's request number.
        number: u64,
        /// The content that the copy must have to be removed. `None` from an older balancer: then
        /// the number alone counts.
        expected: Option<Expected>,
    },
    /// A server has removed its copy of the file, or has no copy that it may remove.
    Dropped {
        /// The file's request number.
        number: u64,
    },
    /// A server has stored the file.
    Stored {
        /// The file's request number.
        number: u64,
    },
    /// A server does not take the file.
    NotStored {
        /// The file's request number.
        number: u64,
        /// The kind of refusal, and the reason.
        refusal: Refusal,
    },
    /// The queue is full: nothing more is read from this connection for now.
    Waiting {
        /// What the balancer waits for, in words for people.
        reason: String,
    },
    /// The queue has room again.
    Resumed,
    /// Asks a balancer for its status; the answer bears the report as JSON content.
    Status,
    /// From a client: something about its account, as JSON content. From a balancer: the answer, as
    /// JSON content. `docs/protocol.md` has both.
    Account,
    /// A server or an agent wants to be a member of the balancer's fleet: its first message after the
    /// greetings.
    Register(Box<Register>),
    /// The member is registered for as long as it goes on to tell that it is there.
    Registered {
        /// Its name where people look.
        name: Arc<str>,
        /// How long it stays registered after its last word, in milliseconds.
        ttl_ms: u64,
        /// How often it is to send `beat`, in milliseconds.
        beat_ms: u64,
        /// From a balancer to a server: the address at which it will be looked for.
        address: Option<Arc<str>>,
    },
    /// The member is there. The facts about it and its host follow as JSON content, or nothing.
    Beat,
    /// How the balancer's own probes and links see the server, told at each change.
    Seen {
        /// Whether it gets files.
        good: bool,
        /// Why not, in words for people.
        reason: String,
    },
    /// The member goes, and is to get no more files. The answer is `bye`, once nothing is in flight to
    /// it.
    Leave {
        /// Why, in words for people.
        reason: String,
    },
    /// The sender ends this connection, for this reason.
    Bye(Refusal),
}

/// The content that a balancer has recorded for a request number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its size in bytes.
    pub size: u64,
    /// Its CRC32C.
    pub crc32c: u32,
}

/// The prefix of a file's content that the receiver has from an earlier connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its length in bytes; the content from here on follows.
    pub offset: u64,
    /// Its CRC32C, by which the receiver notices another prefix.
    pub crc32c: u32,
}

impl From<Hello> for Message {
    fn from(hello: Hello) -> Self {
        Self::Hello(Box::new(hello))
    }
}

impl Message {
    /// Whether content may follow this message.
    pub fn takes_content(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Store { .. }
                | Self::Ahead
                | Self::Status
                | Self::Account
                | Self::Holding { .. }
                | Self::Confirmed
                | Self::Beat
        )
    }
}
