//! The messages of the native protocol and their JSON headers.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{ProtocolError, Refusal, RefusalCode};
use super::limits::{MAX_KEY, MAX_TITLE};

/// What a peer is, as it says in its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Hands files over.
    Client,
    /// Queues files and sends them on.
    Balancer,
    /// Stores files.
    Server,
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
        /// What stays the same when the sender restarts or moves: a balancer's journal, as it tells servers, or a
        /// server's directory. 32 hex digits; peers of other makes may have none.
        identity: Option<Arc<str>>,
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
    /// A client has a file under this key, and asks whether the balancer wants its content. The answer is `wanted`, or
    /// the receipts of the file that the key already names.
    Offer {
        /// The client's name for the file on this connection.
        id: u64,
        /// The client's lasting name for it.
        key: Arc<str>,
        /// The size of its content in bytes.
        size: u64,
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
    /// What a server has stored for this balancer's journal without hearing that it was confirmed, as JSON content: see
    /// [`super::lists`]. Its first message after the balancer's hello, in as many parts as it takes.
    Holding {
        /// Whether this is the last part.
        last: bool,
    },
    /// The numbers in the JSON content are recorded as delivered by this server: it will not be asked for them again.
    Confirmed,
    /// Another server has the file: this one must remove its copy.
    Drop {
        /// Its request number.
        number: u64,
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
    /// Asks a balancer about files, or tells it what to do with them: the JSON content is a [`super::query::Query`], that
    /// of the answer a [`super::query::Answer`].
    Query,
    /// The sender ends this connection, and says why.
    Bye(Refusal),
}

/// The beginning of a file's content that the receiver has from an earlier connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its length in bytes; only what comes after it follows.
    pub offset: u64,
    /// Its CRC32C, so that a beginning that is not the same is noticed.
    pub crc32c: u32,
}

/// The JSON header as it stands on the wire. Fields that a receiver does not know are ignored, so that later
/// versions can add some.
#[derive(Default, Serialize, Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    request_type: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_number: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    title: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32c: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overloaded: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    identity: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    server: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<RefusalCode>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<bool>,
}

/// A string borrowed from the header where it has no escapes; `Option<Cow<str>>` itself would always be copied.
#[derive(Default, Serialize, Deserialize)]
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
        let header: Header<'_> =
            serde_json::from_slice(header).map_err(|error| ProtocolError::Header(error.to_string()))?;
        header.into_message()
    }

    /// Appends the message's JSON header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let written = serde_json::to_writer(out, &self.to_header());
        debug_assert!(written.is_ok(), "a header holds only strings, numbers and booleans");
    }

    /// Whether content may follow this message.
    pub fn takes_content(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Store { .. } | Self::Status | Self::Query | Self::Holding { .. } | Self::Confirmed
        )
    }

    fn to_header(&self) -> Header<'_> {
        let header = |request_type: &'static str| Header { request_type: request_type.into(), ..Header::default() };
        match self {
            Self::Hello { role, overloaded, identity } => Header {
                role: Some(*role),
                overloaded: *overloaded,
                identity: identity.as_deref().map(Text::from),
                ..header("hello")
            },
            Self::Put { id, title, key, resumed } => Header {
                id: Some(*id),
                title: Some(title.as_str().into()),
                key: key.as_deref().map(Text::from),
                offset: resumed.map(|prefix| prefix.offset),
                crc32c: resumed.map(|prefix| prefix.crc32c),
                ..header("put")
            },
            Self::Offer { id, key, size } => {
                Header { id: Some(*id), key: Some((&**key).into()), size: Some(*size), ..header("offer") }
            }
            Self::Wanted { id, offset } => Header { id: Some(*id), offset: Some(*offset), ..header("wanted") },
            Self::Store { number, title } => {
                Header { request_number: Some(*number), title: Some((&**title).into()), ..header("store") }
            }
            Self::Accepted { id, number } => {
                Header { id: Some(*id), request_number: Some(*number), ..header("accepted") }
            }
            Self::Delivered { id, number, server, confirmed } => Header {
                id: Some(*id),
                request_number: Some(*number),
                server: Some((&**server).into()),
                confirmed: Some(*confirmed),
                ..header("delivered")
            },
            Self::Refused { id, refusal } => Header { id: Some(*id), ..header("refused") }.with(refusal),
            Self::Dead { id, number, reason } => Header {
                id: Some(*id),
                request_number: Some(*number),
                reason: Some(reason.as_str().into()),
                ..header("dead")
            },
            Self::Holding { last } => Header { last: Some(*last), ..header("holding") },
            Self::Confirmed => header("confirmed"),
            Self::Drop { number } => Header { request_number: Some(*number), ..header("drop") },
            Self::Dropped { number } => Header { request_number: Some(*number), ..header("dropped") },
            Self::Stored { number } => Header { request_number: Some(*number), ..header("stored") },
            Self::NotStored { number, refusal } => {
                Header { request_number: Some(*number), ..header("not_stored") }.with(refusal)
            }
            Self::Waiting { reason } => Header { reason: Some(reason.as_str().into()), ..header("waiting") },
            Self::Resumed => header("resumed"),
            Self::Status => header("status"),
            Self::Query => header("query"),
            Self::Bye(refusal) => header("bye").with(refusal),
        }
    }
}

impl<'a> Header<'a> {
    fn with(mut self, refusal: &'a Refusal) -> Self {
        self.code = Some(refusal.code);
        self.reason = Some(refusal.reason.as_str().into());
        self
    }

    fn into_message(self) -> Result<Message, ProtocolError> {
        let id = || self.id.ok_or(ProtocolError::Missing("id"));
        let number = || self.request_number.ok_or(ProtocolError::Missing("request_number"));
        Ok(match &*self.request_type.0 {
            "hello" => {
                let role = self.role.ok_or(ProtocolError::Missing("role"))?;
                Message::Hello { role, overloaded: self.overloaded, identity: identity(self.identity)? }
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
            },
            "wanted" => Message::Wanted { id: id()?, offset: self.offset.ok_or(ProtocolError::Missing("offset"))? },
            "store" => Message::Store { number: number()?, title: title(self.title)?.into() },
            "accepted" => Message::Accepted { id: id()?, number: number()? },
            "delivered" => Message::Delivered {
                id: id()?,
                number: number()?,
                server: self.server.ok_or(ProtocolError::Missing("server"))?.0.into(),
                confirmed: self.confirmed.unwrap_or(true),
            },
            "refused" => Message::Refused { id: id()?, refusal: refusal(self.code, self.reason)? },
            "dead" => {
                let reason = self.reason.unwrap_or_default().0.into_owned();
                Message::Dead { id: id()?, number: number()?, reason }
            }
            "holding" => Message::Holding { last: self.last.unwrap_or(true) },
            "confirmed" => Message::Confirmed,
            "drop" => Message::Drop { number: number()? },
            "dropped" => Message::Dropped { number: number()? },
            "stored" => Message::Stored { number: number()? },
            "not_stored" => Message::NotStored { number: number()?, refusal: refusal(self.code, self.reason)? },
            "waiting" => Message::Waiting { reason: self.reason.unwrap_or_default().0.into_owned() },
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
    if title.len() > MAX_TITLE { Err(ProtocolError::TitleTooLong(title.len())) } else { Ok(title) }
}

fn key(key: Text<'_>) -> Result<Arc<str>, ProtocolError> {
    if (1..=MAX_KEY).contains(&key.0.len()) { Ok(key.0.into()) } else { Err(ProtocolError::KeyLength(key.0.len())) }
}

fn identity(identity: Option<Text<'_>>) -> Result<Option<Arc<str>>, ProtocolError> {
    match identity {
        Some(text) if text.0.len() != 32 || !text.0.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
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
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let refusal = || Refusal::new(RefusalCode::Storage, "disk \"full\"\n");
        vec![
            Message::Hello { role: Role::Client, overloaded: None, identity: None },
            Message::Hello { role: Role::Server, overloaded: Some(true), identity: Some("0f".repeat(16).into()) },
            Message::Put { id: 0, title: "a \u{202e}\u{0} \"b\".json".into(), key: None, resumed: None },
            Message::Put {
                id: 0,
                title: "t".into(),
                key: Some("k \"1\"".into()),
                resumed: Some(Prefix { offset: 1 << 40, crc32c: u32::MAX }),
            },
            Message::Offer { id: 3, key: "è".into(), size: u64::MAX },
            Message::Wanted { id: 3, offset: 0 },
            Message::Dead { id: 3, number: 9, reason: "too large".into() },
            Message::Holding { last: false },
            Message::Confirmed,
            Message::Drop { number: 1 },
            Message::Dropped { number: 1 },
            Message::Query,
            Message::Store { number: u64::MAX, title: "è".into() },
            Message::Accepted { id: 1, number: 2 },
            Message::Delivered { id: 1, number: 2, server: "127.0.0.1:5001".into(), confirmed: false },
            Message::Refused { id: 9, refusal: refusal() },
            Message::Stored { number: 3 },
            Message::NotStored { number: 3, refusal: refusal() },
            Message::Waiting { reason: "the queue is full".into() },
            Message::Resumed,
            Message::Status,
            Message::Bye(refusal()),
        ]
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in samples() {
            let mut wire = Vec::new();
            message.encode(&mut wire);
            assert_eq!(Message::decode(&wire).unwrap(), message, "{}", String::from_utf8_lossy(&wire));
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_requests_named() {
        let wire = br#"{"request_type":"stored","request_number":7,"since":[1,{"x":null}]}"#;
        assert_eq!(Message::decode(wire).unwrap(), Message::Stored { number: 7 });
        let error = Message::decode(br#"{"request_type":"dance"}"#).unwrap_err();
        assert!(matches!(error, ProtocolError::UnknownRequest(name) if name == "dance"));
    }

    #[test]
    fn headers_at_their_extremes_are_errors() {
        let long = format!(r#"{{"request_type":"put","id":1,"title":"{}"}}"#, "x".repeat(MAX_TITLE + 1));
        let long_key = format!(r#"{{"request_type":"offer","id":1,"size":1,"key":"{}"}}"#, "x".repeat(MAX_KEY + 1));
        for wire in [
            "",
            "null",
            "[]",
            "{",
            "{}",
            r#"{"request_type":5}"#,
            r#"{"request_type":"put","id":1}"#,
            r#"{"request_type":"put","id":-1,"title":"x"}"#,
            r#"{"request_type":"put","id":18446744073709551616,"title":"x"}"#,
            r#"{"request_type":"put","id":1.5,"title":"x"}"#,
            r#"{"request_type":"put","id":1,"id":2,"title":"x"}"#,
            r#"{"request_type":"put","id":1,"title":"\ud800"}"#,
            r#"{"request_type":"put","id":1,"title":"x","key":""}"#,
            r#"{"request_type":"put","id":1,"title":"x","offset":5}"#,
            r#"{"request_type":"put","id":1,"title":"x","offset":5,"crc32c":4294967296}"#,
            r#"{"request_type":"offer","id":1,"size":5}"#,
            r#"{"request_type":"offer","id":1,"key":"k"}"#,
            r#"{"request_type":"hello","role":"king"}"#,
            r#"{"request_type":"hello","role":"server","identity":"../../x"}"#,
            r#"{"request_type":"refused","id":1,"code":"mood"}"#,
            &long,
            &long_key,
        ] {
            assert!(Message::decode(wire.as_bytes()).is_err(), "{wire}");
        }
    }
}
