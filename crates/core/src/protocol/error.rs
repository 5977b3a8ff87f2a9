//! Errors of the native protocol, and the refusals that tell the peer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::{MAX_ADDRESS, MAX_KEY, MAX_MEMBER_NAME, MAX_TITLE, MAX_TOKEN, MAX_USER};
use super::versions::{Versions, nothing_in_common};

/// A breach of the native protocol by the peer. Trying the same bytes again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The connection began like a native one, but not with the magic bytes.
    #[error("wrong magic: a native connection begins with B1 49 4C 49 43 4F")]
    Magic,
    /// The peer speaks no version that this side speaks.
    #[error("{}", nothing_in_common(Versions::SPOKEN, *.0))]
    Versions(Versions),
    /// The versions that the peer names are no range.
    #[error("bad header: `version_min` and `version_max` must be two versions from 1, in order")]
    NoVersions,
    /// The header's length is zero or past the limit.
    #[error("a header of {length} bytes: it must have 1 to {most} here")]
    HeaderLength {
        /// The declared length in bytes.
        length: u32,
        /// The limit in bytes.
        most: u32,
    },
    /// The header is not a JSON object with fields of the right types.
    #[error("bad header: {0}")]
    Header(String),
    /// The header lacks a field.
    #[error("bad header: no `{0}`")]
    Missing(&'static str),
    /// This version does not have the request type.
    #[error("unknown request type {0:?}")]
    UnknownRequest(String),
    /// The message is known, but this peer may not send it now.
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
    /// The title is longer than the limit.
    #[error("a title of {0} bytes: at most {MAX_TITLE} are taken")]
    TitleTooLong(usize),
    /// The key is empty or longer than the limit.
    #[error("a key of {0} bytes: it must have 1 to {MAX_KEY}")]
    KeyLength(usize),
    /// The token is longer than the limit.
    #[error("a token of {0} bytes: at most {MAX_TOKEN} are taken")]
    TokenLength(usize),
    /// The user's name is longer than the limit.
    #[error("the name of a user of {0} bytes: at most {MAX_USER} are taken")]
    UserLength(usize),
    /// A field that names something by 32 hex digits has something else.
    #[error("bad header: `{0}` must be 32 hex digits")]
    Identity(&'static str),
    /// The address of a member is none that can be kept.
    #[error(
        "bad header: `address` must be HOST:PORT in 1 to {MAX_ADDRESS} bytes without control \
         characters"
    )]
    Address,
    /// The name or the ticket of a member is none that can be shown.
    #[error("bad header: `{0}` must have 1 to {MAX_MEMBER_NAME} bytes without control characters")]
    MemberName(&'static str),
    /// The proof is not 64 hex digits.
    #[error("bad header: `proof` must be 64 hex digits")]
    Proof,
    /// The content behind a message is not the JSON that the message announces.
    #[error("bad content behind `{0}`: {1}")]
    BadContent(&'static str, String),
    /// Content behind a message that may have no content.
    #[error("{0} bytes of content behind a message that takes none")]
    Content(u64),
    /// The content is larger than the receiver takes.
    #[error("content of {size} bytes: at most {limit} are taken here")]
    TooLarge {
        /// The declared size in bytes.
        size: u64,
        /// The receiver's limit in bytes.
        limit: u64,
    },
    /// The connection ended in the middle of a frame.
    #[error(
        "the connection ended in the middle of a frame: \
         {missing} bytes short of the size it declared"
    )]
    Truncated {
        /// How many declared bytes never came, at least.
        missing: u64,
    },
    /// The content differs from its checksum.
    #[error("checksum wrong: the content has {actual:08x}, the frame says {declared:08x}")]
    Checksum {
        /// CRC32C of the content that came.
        actual: u32,
        /// CRC32C that the frame declared.
        declared: u32,
    },
}

/// The version to speak with a peer that speaks `theirs`.
pub(super) fn agree(theirs: Versions) -> Result<u16, ProtocolError> {
    Versions::SPOKEN
        .common(theirs)
        .ok_or(ProtocolError::Versions(theirs))
}

impl ProtocolError {
    /// The refusal to send to the peer.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Versions(_) => RefusalCode::Version,
            Self::Checksum { .. } => RefusalCode::Checksum,
            Self::TooLarge { .. } => RefusalCode::TooLarge,
            _ => RefusalCode::Malformed,
        };
        Refusal::new(code, self.to_string())
    }
}

/// Why a file, or a whole connection, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The bytes do not follow the protocol.
    Malformed,
    /// The peer speaks no version that the sender speaks.
    Version,
    /// The content does not match its checksum.
    Checksum,
    /// The file is larger than the receiver ever takes.
    TooLarge,
    /// The key, or on a server the number, belongs to another file.
    Conflict,
    /// The balancer's disk is full.
    Full,
    /// The receiver is stopping.
    Stopping,
    /// The server cannot write: its directory is missing, not writable or full.
    Storage,
    /// The server has no room in memory at the moment.
    Busy,
    /// The peer has not said who it is, or its token or password is wrong.
    Unauthorized,
    /// The peer may not do this.
    Forbidden,
    /// The balancer speaks for an epoch of its journal that is over.
    Stale,
}

impl RefusalCode {
    /// Whether the cause lies with the whole server rather than with this one file.
    pub fn is_server_wide(self) -> bool {
        matches!(self, Self::Stopping | Self::Storage | Self::Busy)
    }

    /// Whether the same receiver would refuse the same file again.
    pub fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::Version
                | Self::TooLarge
                | Self::Conflict
                | Self::Unauthorized
                | Self::Forbidden
                | Self::Stale
        )
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Checksum => "checksum",
            Self::TooLarge => "too_large",
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Stopping => "stopping",
            Self::Storage => "storage",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Stale => "stale",
        })
    }
}

/// A refusal: a code for programs and a reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// What happened, in words that a person can act on.
    pub reason: String,
}

impl Refusal {
    /// A refusal of this kind for this reason.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}
