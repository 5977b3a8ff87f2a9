//! The messages of the native protocol and their JSON headers.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{ProtocolError, Refusal, RefusalCode};
use super::limits::MAX_TITLE;

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
    },
    /// A file on its way from a client; its content follows.
    Put {
        /// The client's name for the file on this connection, repeated in its receipts.
        id: u64,
        /// The file's title.
        title: String,
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
    /// The sender ends this connection, and says why.
    Bye(Refusal),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overloaded: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    server: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<RefusalCode>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
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
        matches!(self, Self::Put { .. } | Self::Store { .. } | Self::Status)
    }

    fn to_header(&self) -> Header<'_> {
        let header = |request_type: &'static str| Header { request_type: request_type.into(), ..Header::default() };
        match self {
            Self::Hello { role, overloaded } => {
                Header { role: Some(*role), overloaded: *overloaded, ..header("hello") }
            }
            Self::Put { id, title } => Header { id: Some(*id), title: Some(title.as_str().into()), ..header("put") },
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
            Self::Stored { number } => Header { request_number: Some(*number), ..header("stored") },
            Self::NotStored { number, refusal } => {
                Header { request_number: Some(*number), ..header("not_stored") }.with(refusal)
            }
            Self::Waiting { reason } => Header { reason: Some(reason.as_str().into()), ..header("waiting") },
            Self::Resumed => header("resumed"),
            Self::Status => header("status"),
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
                Message::Hello { role, overloaded: self.overloaded }
            }
            "put" => Message::Put { id: id()?, title: title(self.title)?.into_owned() },
            "store" => Message::Store { number: number()?, title: title(self.title)?.into() },
            "accepted" => Message::Accepted { id: id()?, number: number()? },
            "delivered" => Message::Delivered {
                id: id()?,
                number: number()?,
                server: self.server.ok_or(ProtocolError::Missing("server"))?.0.into(),
                confirmed: self.confirmed.unwrap_or(true),
            },
            "refused" => Message::Refused { id: id()?, refusal: refusal(self.code, self.reason)? },
            "stored" => Message::Stored { number: number()? },
            "not_stored" => Message::NotStored { number: number()?, refusal: refusal(self.code, self.reason)? },
            "waiting" => Message::Waiting { reason: self.reason.unwrap_or_default().0.into_owned() },
            "resumed" => Message::Resumed,
            "status" => Message::Status,
            "bye" => Message::Bye(refusal(self.code, self.reason)?),
            other => return Err(ProtocolError::UnknownRequest(other.to_owned())),
        })
    }
}

fn title(title: Option<Text<'_>>) -> Result<Cow<'_, str>, ProtocolError> {
    let title = title.ok_or(ProtocolError::Missing("title"))?.0;
    if title.len() > MAX_TITLE { Err(ProtocolError::TitleTooLong(title.len())) } else { Ok(title) }
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
            Message::Hello { role: Role::Client, overloaded: None },
            Message::Hello { role: Role::Server, overloaded: Some(true) },
            Message::Put { id: 0, title: "a \u{202e}\u{0} \"b\".json".into() },
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
            r#"{"request_type":"hello","role":"king"}"#,
            r#"{"request_type":"refused","id":1,"code":"mood"}"#,
            &long,
        ] {
            assert!(Message::decode(wire.as_bytes()).is_err(), "{wire}");
        }
    }
}
