//! The messages of the native protocol and their JSON headers.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::error::{ProtocolError, Refusal, RefusalCode};
use super::header::{Reader, Writer, field};
use super::limits::{MAX_KEY, MAX_TITLE};
use super::object;
use super::status::Memory;

/// What a peer is, as it says in its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Hands files over.
    Client,
    /// Queues files and sends them on.
    Balancer,
    /// Stores files.
    Server,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Balancer => "balancer",
            Self::Server => "server",
        }
    }
}

/// A native message. Content, where there is some, follows the message's header as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The first message of each side.
    Hello {
        /// What the sender is.
        role: Role,
        /// The sender's overload byte, from a server.
        overloaded: Option<bool>,
        /// What stays the same when the sender restarts or moves: a balancer's journal, as it tells
        /// servers, or a server's directory. 32 hex digits; peers of other makes may have none.
        identity: Option<Arc<str>>,
        /// The sender's memory, from a server.
        memory: Option<Memory>,
        /// Which process of all that ever had this identity: 32 hex digits, drawn anew at each
        /// start. Two servers that have one identity at the same time work on a directory and a
        /// copy of it.
        instance: Option<Arc<str>>,
        /// From a balancer that shares its journal with others, to a server: which epoch of that
        /// journal it belongs to. The journal counts its epochs, and begins a new one whenever a
        /// balancer joins or is given up; links of older epochs then end. `None` from a balancer
        /// that has its journal for itself: its newest link ends all others.
        epoch: Option<u64>,
    },
    /// A file on its way from a client; its content follows.
    Put {
        /// The client's name for the file on this connection, repeated in its receipts.
        id: u64,
        /// The file's title.
        title: String,
        /// The client's lasting name for the file: the same on each resend, on any connection.
        key: Option<Arc<str>>,
        /// The beginning of the content, if the balancer has it already from an earlier connection.
        resumed: Option<Prefix>,
    },
    /// A client has a file under this key, and asks whether the balancer wants its content. The
    /// answer is `wanted`, or the receipts of the file that the key already names.
    Offer {
        /// The client's name for the file on this connection.
        id: u64,
        /// The client's lasting name for it.
        key: Arc<str>,
        /// The size of its content in bytes.
        size: u64,
        /// The CRC32C of its content, by which a file that is known is told from another one of the
        /// same size. A file that cannot have been accepted under its key needs none; any other is
        /// `wanted` without it, so that its content can be compared.
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
        /// Its request number.
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
        /// Why.
        refusal: Refusal,
    },
    /// Receipt: no server can take the file; it is kept among the dead letters.
    Dead {
        /// The client's name for the file.
        id: u64,
        /// Its request number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// What a server has stored for this balancer's journal without hearing that it was confirmed,
    /// as JSON content: see [`super::lists`]. Its first message after the balancer's hello, in as
    /// many parts as it takes.
    Holding {
        /// Whether this is the last part.
        last: bool,
        /// The highest request number of this journal that the server has ever stored, whatever
        /// became of the file since; `None` if it keeps no account of that.
        seen: Option<u64>,
    },
    /// The numbers in the JSON content are recorded as delivered by this server: it will not be
    /// asked for them again.
    Confirmed,
    /// Another server has the file: this one must remove its copy.
    Drop {
        /// Its request number.
        number: u64,
        /// What the copy must be to be removed; from a balancer that does not say, its number alone
        /// counts.
        expected: Option<Expected>,
    },
    /// A server has removed its copy of the file, or has none.
    Dropped {
        /// Its request number.
        number: u64,
    },
    /// A server has stored the file.
    Stored {
        /// Its request number.
        number: u64,
    },
    /// A server does not take the file.
    NotStored {
        /// Its request number.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The queue is full: nothing more is read from this connection for now.
    Waiting {
        /// What it waits for.
        reason: String,
    },
    /// The queue has room again.
    Resumed,
    /// Asks a balancer for its status; the answer bears the report as JSON content.
    Status,
    /// Asks a balancer about files, or tells it what to do with them: the JSON content is a
    /// [`super::query::Query`], that of the answer a [`super::query::Answer`].
    Query,
    /// The sender ends this connection, and says why.
    Bye(Refusal),
}

/// The content that belongs to a request number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its size in bytes.
    pub size: u64,
    /// Its CRC32C.
    pub crc32c: u32,
}

/// The beginning of a file's content that the receiver has from an earlier connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its length in bytes; only what comes after it follows.
    pub offset: u64,
    /// Its CRC32C, so that a beginning that is not the same is noticed.
    pub crc32c: u32,
}

/// The JSON header as it stands on the wire. Fields that a receiver does not know are ignored, so
/// that later versions can add some.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Default, Serialize))]
struct Header<'a> {
    #[serde(borrow)]
    request_type: Text<'a>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    id: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    request_number: Option<u64>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    title: Option<Text<'a>>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    key: Option<Text<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    size: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    offset: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    crc32c: Option<u32>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    role: Option<Role>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    overloaded: Option<bool>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    identity: Option<Text<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    memory: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    memory_limit: Option<u64>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    server: Option<Text<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    confirmed: Option<bool>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    code: Option<RefusalCode>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    reason: Option<Text<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    last: Option<bool>,
    #[serde(borrow)]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    instance: Option<Text<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    seen: Option<u64>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    epoch: Option<u64>,
}

/// A string borrowed from the header where it has no escapes; `Option<Cow<str>>` itself would
/// always be copied.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Message {
    /// Reads a message from its JSON header.
    pub fn decode(header: &[u8]) -> Result<Self, ProtocolError> {
        match Self::decode_canonical(header) {
            Some(message) => Ok(message),
            None => Self::decode_any(header),
        }
    }

    /// Appends the message's JSON header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = Writer::new(out);
        let header = match self {
            Self::Hello {
                role,
                overloaded,
                identity,
                memory,
                instance,
                epoch,
            } => header
                .of("hello")
                .text(field::ROLE, role.name())
                .flag(field::OVERLOADED, *overloaded)
                .text(field::IDENTITY, identity.as_deref())
                .number(field::MEMORY, memory.map(|memory| memory.used))
                .number(field::MEMORY_LIMIT, memory.map(|memory| memory.limit))
                .text(field::INSTANCE, instance.as_deref())
                .number(field::EPOCH, *epoch),
            Self::Put {
                id,
                title,
                key,
                resumed,
            } => header
                .of("put")
                .number(field::ID, *id)
                .text(field::TITLE, title.as_str())
                .text(field::KEY, key.as_deref())
                .number(field::OFFSET, resumed.map(|prefix| prefix.offset))
                .number(field::CRC32C, resumed.map(|prefix| prefix.crc32c.into())),
            Self::Offer {
                id,
                key,
                size,
                crc32c,
            } => header
                .of("offer")
                .number(field::ID, *id)
                .text(field::KEY, &**key)
                .number(field::SIZE, *size)
                .number(field::CRC32C, crc32c.map(u64::from)),
            Self::Wanted { id, offset } => header
                .of("wanted")
                .number(field::ID, *id)
                .number(field::OFFSET, *offset),
            Self::Store { number, title } => header
                .of("store")
                .number(field::REQUEST_NUMBER, *number)
                .text(field::TITLE, &**title),
            Self::Accepted { id, number } => header
                .of("accepted")
                .number(field::ID, *id)
                .number(field::REQUEST_NUMBER, *number),
            Self::Delivered {
                id,
                number,
                server,
                confirmed,
            } => header
                .of("delivered")
                .number(field::ID, *id)
                .number(field::REQUEST_NUMBER, *number)
                .text(field::SERVER, &**server)
                .flag(field::CONFIRMED, *confirmed),
            Self::Refused { id, refusal } => header
                .of("refused")
                .number(field::ID, *id)
                .text(field::CODE, &*refusal.code.to_string())
                .text(field::REASON, refusal.reason.as_str()),
            Self::Dead { id, number, reason } => header
                .of("dead")
                .number(field::ID, *id)
                .number(field::REQUEST_NUMBER, *number)
                .text(field::REASON, reason.as_str()),
            Self::Holding { last, seen } => header
                .of("holding")
                .flag(field::LAST, *last)
                .number(field::SEEN, *seen),
            Self::Confirmed => header.of("confirmed"),
            Self::Drop { number, expected } => header
                .of("drop")
                .number(field::REQUEST_NUMBER, *number)
                .number(field::SIZE, expected.map(|expected| expected.size))
                .number(
                    field::CRC32C,
                    expected.map(|expected| expected.crc32c.into()),
                ),
            Self::Dropped { number } => header.of("dropped").number(field::REQUEST_NUMBER, *number),
            Self::Stored { number } => header.of("stored").number(field::REQUEST_NUMBER, *number),
            Self::NotStored { number, refusal } => header
                .of("not_stored")
                .number(field::REQUEST_NUMBER, *number)
                .text(field::CODE, &*refusal.code.to_string())
                .text(field::REASON, refusal.reason.as_str()),
            Self::Waiting { reason } => header.of("waiting").text(field::REASON, reason.as_str()),
            Self::Resumed => header.of("resumed"),
            Self::Status => header.of("status"),
            Self::Query => header.of("query"),
            Self::Bye(refusal) => header
                .of("bye")
                .text(field::CODE, &*refusal.code.to_string())
                .text(field::REASON, refusal.reason.as_str()),
        };
        header.end();
    }

    /// Whether content may follow this message.
    pub fn takes_content(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Store { .. }
                | Self::Status
                | Self::Query
                | Self::Holding { .. }
                | Self::Confirmed
        )
    }

    /// The message, if its header is spelled as [`Self::encode`] spells it and the message is one
    /// of those that each file costs.
    fn decode_canonical(header: &[u8]) -> Option<Self> {
        let (request_type, mut fields) = Reader::new(header)?;
        let message = match request_type {
            b"put" => Self::Put {
                id: fields.number(field::ID)?,
                title: title(Some(fields.text(field::TITLE)?.into()))
                    .ok()?
                    .into_owned(),
                key: if fields.is_next(field::KEY) {
                    Some(key(fields.text(field::KEY)?.into()).ok()?)
                } else {
                    None
                },
                resumed: None,
            },
            b"accepted" => Self::Accepted {
                id: fields.number(field::ID)?,
                number: fields.number(field::REQUEST_NUMBER)?,
            },
            b"delivered" => Self::Delivered {
                id: fields.number(field::ID)?,
                number: fields.number(field::REQUEST_NUMBER)?,
                server: fields.text(field::SERVER)?.into(),
                confirmed: fields.flag(field::CONFIRMED)?,
            },
            b"store" => Self::Store {
                number: fields.number(field::REQUEST_NUMBER)?,
                title: title(Some(fields.text(field::TITLE)?.into())).ok()?.into(),
            },
            b"stored" => Self::Stored {
                number: fields.number(field::REQUEST_NUMBER)?,
            },
            _ => return None,
        };
        fields.is_at_end().then_some(message)
    }

    /// Reads any spelling that JSON has.
    fn decode_any(header: &[u8]) -> Result<Self, ProtocolError> {
        let header: Header<'_> = object::flat_from_slice(header)
            .map_err(|error| ProtocolError::Header(error.to_string()))?;
        header.into_message()
    }
}

impl Header<'_> {
    fn into_message(self) -> Result<Message, ProtocolError> {
        let id = || self.id.ok_or(ProtocolError::Missing("id"));
        let number = || {
            self.request_number
                .ok_or(ProtocolError::Missing("request_number"))
        };
        Ok(match &*self.request_type.0 {
            "hello" => {
                let role = self.role.ok_or(ProtocolError::Missing("role"))?;
                let memory = self
                    .memory
                    .zip(self.memory_limit)
                    .map(|(used, limit)| Memory { used, limit });
                let (identity, instance) = (identity(self.identity)?, identity(self.instance)?);
                Message::Hello {
                    role,
                    overloaded: self.overloaded,
                    identity,
                    memory,
                    instance,
                    epoch: self.epoch,
                }
            }
            "put" => Message::Put {
                id: id()?,
                title: title(self.title)?.into_owned(),
                key: self.key.map(key).transpose()?,
                resumed: match (self.offset, self.crc32c) {
                    (None | Some(0), _) => None,
                    (Some(offset), Some(crc32c)) => Some(Prefix { offset, crc32c }),
                    (Some(_), None) => return Err(ProtocolError::Missing("crc32c")),
                },
            },
            "offer" => Message::Offer {
                id: id()?,
                key: key(self.key.ok_or(ProtocolError::Missing("key"))?)?,
                size: self.size.ok_or(ProtocolError::Missing("size"))?,
                crc32c: self.crc32c,
            },
            "wanted" => Message::Wanted {
                id: id()?,
                offset: self.offset.ok_or(ProtocolError::Missing("offset"))?,
            },
            "store" => Message::Store {
                number: number()?,
                title: title(self.title)?.into(),
            },
            "accepted" => Message::Accepted {
                id: id()?,
                number: number()?,
            },
            "delivered" => Message::Delivered {
                id: id()?,
                number: number()?,
                server: self
                    .server
                    .ok_or(ProtocolError::Missing("server"))?
                    .0
                    .into(),
                confirmed: self.confirmed.unwrap_or(true),
            },
            "refused" => Message::Refused {
                id: id()?,
                refusal: refusal(self.code, self.reason)?,
            },
            "dead" => {
                let reason = self.reason.unwrap_or_default().0.into_owned();
                Message::Dead {
                    id: id()?,
                    number: number()?,
                    reason,
                }
            }
            "holding" => Message::Holding {
                last: self.last.unwrap_or(true),
                seen: self.seen,
            },
            "confirmed" => Message::Confirmed,
            "drop" => Message::Drop {
                number: number()?,
                expected: self
                    .size
                    .zip(self.crc32c)
                    .map(|(size, crc32c)| Expected { size, crc32c }),
            },
            "dropped" => Message::Dropped { number: number()? },
            "stored" => Message::Stored { number: number()? },
            "not_stored" => Message::NotStored {
                number: number()?,
                refusal: refusal(self.code, self.reason)?,
            },
            "waiting" => Message::Waiting {
                reason: self.reason.unwrap_or_default().0.into_owned(),
            },
            "resumed" => Message::Resumed,
            "status" => Message::Status,
            "query" => Message::Query,
            "bye" => Message::Bye(refusal(self.code, self.reason)?),
            other => return Err(ProtocolError::UnknownRequest(other.to_owned())),
        })
    }
}

fn title(title: Option<Text<'_>>) -> Result<Cow<'_, str>, ProtocolError> {
    let title = title.ok_or(ProtocolError::Missing("title"))?.0;
    if title.len() > MAX_TITLE {
        Err(ProtocolError::TitleTooLong(title.len()))
    } else {
        Ok(title)
    }
}

fn key(key: Text<'_>) -> Result<Arc<str>, ProtocolError> {
    if (1..=MAX_KEY).contains(&key.0.len()) {
        Ok(key.0.into())
    } else {
        Err(ProtocolError::KeyLength(key.0.len()))
    }
}

fn identity(identity: Option<Text<'_>>) -> Result<Option<Arc<str>>, ProtocolError> {
    match identity {
        Some(text)
            if text.0.len() != 32 || !text.0.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Err(ProtocolError::Identity)
        }
        other => Ok(other.map(|text| text.0.into())),
    }
}

fn refusal(code: Option<RefusalCode>, reason: Option<Text<'_>>) -> Result<Refusal, ProtocolError> {
    let code = code.ok_or(ProtocolError::Missing("code"))?;
    Ok(Refusal::new(code, reason.unwrap_or_default().0))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
