//! Why a link ends.

use std::io;
use std::time::Duration;

use crate::protocol::limits::MAX_LIST_BYTES;
use crate::protocol::{Message, ProtocolError, Refusal};
use crate::text::excerpt;
use crate::transport::{ReadError, WriteError, plain};

/// The most files that a server may list: more than can ever be in flight to it.
pub(super) const MAX_INVENTORY: usize = 1_000_000;

/// Why a link, or the connection of one file, ended before its time. The dispatcher opens a new
/// link later, whatever the reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("no greeting within {0:?}")]
    GreetingTimeout(Duration),
    #[error("the server closed the connection before it sent a greeting")]
    ClosedBeforeGreeting,
    #[error("not a Bilico server: the greeting names another role")]
    NotAServer,
    #[error("the server did not list its files within {0:?}")]
    InventoryTimeout(Duration),
    #[error("the server closed the connection before it had listed its files")]
    ClosedBeforeInventory,
    #[error(
        "the server's list of its files is too long: expected at most {MAX_INVENTORY} files, in \
         parts of at most {MAX_LIST_BYTES} bytes"
    )]
    InventoryTooLong,
    #[error("bad list of the server's files: {0}")]
    BadInventory(ProtocolError),
    #[error("{}", .0.reason)]
    Bye(Refusal),
    /// Connections of one link must lead to one process: its list tells of the files of both.
    #[error("another server answers at its address now")]
    OtherServer,
    #[error("the server closed the connection of a file before it had acknowledged the file")]
    ClosedBeforeAnswer,
    /// The server answers for what it was not asked to do.
    #[error("the server answers for file {0}, which it was not sent, or a second time")]
    NotSent(u64),
    #[error("unexpected message from the server: {}", excerpt(&format!("{:?}", .0)))]
    Unexpected(Message),
    /// Half of a large file was sent when the rest turned out to be unreadable or damaged: only the
    /// end of the connection can tell the server so.
    #[error("file {number}: {reason}")]
    Content { number: u64, reason: String },
    /// An old-style server answers only what is no file to it.
    #[error("the server answered a file, which an old-style server does not do with one it saves")]
    AnsweredAFile,
    /// An old-style server closes a file's connection once it has saved the file.
    #[error(
        "the server did not close the file's connection within {0:?}: it has not saved the file"
    )]
    NotClosed(Duration),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The server has not answered for the oldest file that it was sent.
    #[error("acknowledged nothing for {0:?}")]
    Silent(Duration),
}

impl LinkError {
    /// Whether the server takes nothing: it neither reads nor acknowledges.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Silent(_) | Self::NotClosed(_) | Self::Write(WriteError::Stalled(_))
        )
    }

    /// The error for people, without the system's number for it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Io(error)
            | Self::Read(ReadError::Io(error))
            | Self::Write(WriteError::Io(error)) => plain(error),
            other => other.to_string(),
        }
    }
}
