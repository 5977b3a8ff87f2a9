//! Reads a message from its JSON header: by hand where the header is spelled canonically and each
//! file costs one like it, by serde otherwise.
//!
//! Invariant: both ways come to the same message.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{ProtocolError, Refusal, RefusalCode, agree};
use super::facts::HelloFacts;
use super::header::{Reader, field};
use super::hello::{Hello, Role};
use super::join::{Proof, Register};
use super::limits::{
    MAX_ADDRESS, MAX_KEY, MAX_MEMBER_NAME, MAX_REASON, MAX_TITLE, MAX_TOKEN, MAX_USER,
};
use super::message::{Expected, Message, Prefix};
use super::object;
use super::status::Memory;
use super::text::Text;
use super::versions::Versions;
use crate::secret::Secret;
use crate::text::{excerpt, start};

impl Message {
    /// Reads a message from its JSON header.
    pub fn decode(header: &[u8]) -> Result<Self, ProtocolError> {
        match decode_canonical(header) {
            Some(message) => Ok(message),
            None => decode_any(header),
        }
    }
}

/// The message, if its header is spelled as [`Message::encode`] spells it and the message is one of
/// those that each file costs.
pub(super) fn decode_canonical(header: &[u8]) -> Option<Message> {
    let (request_type, mut fields) = Reader::new(header)?;
    let message = match request_type {
        b"put" => canonical_put(&mut fields)?,
        b"accepted" => Message::Accepted {
            id: fields.number(field::ID)?,
            number: fields.number(field::REQUEST_NUMBER)?,
        },
        b"delivered" => Message::Delivered {
            id: fields.number(field::ID)?,
            number: fields.number(field::REQUEST_NUMBER)?,
            server: fields.text(field::SERVER)?.into(),
            confirmed: fields.flag(field::CONFIRMED)?,
        },
        b"store" => Message::Store {
            number: fields.number(field::REQUEST_NUMBER)?,
            title: title(Some(fields.text(field::TITLE)?.into())).ok()?.into(),
        },
        b"stored" => Message::Stored {
            number: fields.number(field::REQUEST_NUMBER)?,
        },
        _ => return None,
    };
    fields.is_at_end().then_some(message)
}

#[inline]
fn canonical_put(fields: &mut Reader<'_>) -> Option<Message> {
    let id = fields.number(field::ID)?;
    let title = title(Some(fields.text(field::TITLE)?.into())).ok()?;
    let key = if fields.is_next(field::KEY) {
        Some(key(fields.text(field::KEY)?.into()).ok()?)
    } else {
        None
    };
    Some(Message::Put {
        id,
        title: title.into_owned(),
        key,
        resumed: None,
    })
}

/// The message, in any spelling that JSON has.
pub(super) fn decode_any(header: &[u8]) -> Result<Message, ProtocolError> {
    let header: Header<'_> = object::flat_from_slice(header)
        .map_err(|error| ProtocolError::Header(excerpt(&error.to_string()).into_owned()))?;
    header.into_message()
}

/// The JSON header as it stands on the wire. Unknown fields are ignored, so that later versions can
/// add some.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    request_type: Text<'a>,
    id: Option<u64>,
    request_number: Option<u64>,
    #[serde(borrow)]
    title: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    size: Option<u64>,
    offset: Option<u64>,
    crc32c: Option<u32>,
    role: Option<Role>,
    overloaded: Option<bool>,
    #[serde(borrow)]
    identity: Option<Text<'a>>,
    memory: Option<u64>,
    memory_limit: Option<u64>,
    #[serde(borrow)]
    server: Option<Text<'a>>,
    confirmed: Option<bool>,
    code: Option<RefusalCode>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    last: Option<bool>,
    #[serde(borrow)]
    instance: Option<Text<'a>>,
    seen: Option<u64>,
    epoch: Option<u64>,
    bulk: Option<bool>,
    ahead: Option<bool>,
    #[serde(borrow)]
    facts: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<Text<'a>>,
    locked: Option<bool>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    challenge: Option<Text<'a>>,
    #[serde(borrow)]
    address: Option<Text<'a>>,
    weight: Option<u32>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    ticket: Option<Text<'a>>,
    #[serde(borrow)]
    proof: Option<Text<'a>>,
    every_ms: Option<u64>,
    ttl_ms: Option<u64>,
    beat_ms: Option<u64>,
    good: Option<bool>,
    version_min: Option<u16>,
    version_max: Option<u16>,
}

impl Header<'_> {
    fn into_message(self) -> Result<Message, ProtocolError> {
        Ok(match &*self.request_type.0 {
            "hello" => self.hello()?,
            "put" => self.put()?,
            "offer" => self.offer()?,
            "wanted" => self.wanted()?,
            "store" => self.store()?,
            "ahead" => Message::Ahead,
            "keep" => self.keep()?,
            "accepted" => self.accepted()?,
            "delivered" => self.delivered()?,
            "refused" => self.refused()?,
            "dead" => self.dead()?,
            "holding" => Message::Holding {
                last: self.last.unwrap_or(true),
                seen: self.seen,
            },
            "confirmed" => Message::Confirmed,
            "drop" => self.drop_copy()?,
            "dropped" => Message::Dropped {
                number: self.number()?,
            },
            "stored" => Message::Stored {
                number: self.number()?,
            },
            "not_stored" => self.not_stored()?,
            "waiting" => Message::Waiting {
                reason: self.reason(),
            },
            "resumed" => Message::Resumed,
            "status" => Message::Status,
            "account" => Message::Account,
            "register" => self.register()?,
            "registered" => self.registered()?,
            "beat" => Message::Beat,
            "seen" => Message::Seen {
                good: self.good.ok_or(ProtocolError::Missing("good"))?,
                reason: self.reason(),
            },
            "leave" => Message::Leave {
                reason: self.reason(),
            },
            "bye" => Message::Bye(self.refusal()?),
            other => return Err(ProtocolError::UnknownRequest(excerpt(other).into_owned())),
        })
    }

    fn id(&self) -> Result<u64, ProtocolError> {
        self.id.ok_or(ProtocolError::Missing("id"))
    }

    fn number(&self) -> Result<u64, ProtocolError> {
        self.request_number
            .ok_or(ProtocolError::Missing("request_number"))
    }

    /// People can do without a reason; it may be empty. A long one is cut: it is kept, logged and
    /// shown.
    fn reason(self) -> String {
        start(&self.reason.unwrap_or_default().0, MAX_REASON).to_owned()
    }

    fn refusal(self) -> Result<Refusal, ProtocolError> {
        let code = self.code.ok_or(ProtocolError::Missing("code"))?;
        Ok(Refusal::new(code, self.reason()))
    }

    fn hello(self) -> Result<Message, ProtocolError> {
        // First of all: the other fields of another version may be others.
        let versions = versions(self.version_min, self.version_max)?;
        agree(versions.unwrap_or(Versions::UNNAMED))?;
        let role = self.role.ok_or(ProtocolError::Missing("role"))?;
        let memory = self.memory.zip(self.memory_limit);
        Ok(Message::from(Hello {
            role,
            overloaded: self.overloaded,
            identity: identity("identity", self.identity)?,
            memory: memory.map(|(used, limit)| Memory { used, limit }),
            instance: identity("instance", self.instance)?,
            epoch: self.epoch,
            bulk: self.bulk,
            ahead: self.ahead,
            facts: HelloFacts::read(self.facts),
            token: self.token.map(token).transpose()?,
            locked: self.locked,
            user: self.user.map(user).transpose()?,
            challenge: identity("challenge", self.challenge)?,
            versions,
        }))
    }

    fn put(self) -> Result<Message, ProtocolError> {
        let resumed = match (self.offset, self.crc32c) {
            (None | Some(0), _) => None,
            (Some(offset), Some(crc32c)) => Some(Prefix { offset, crc32c }),
            (Some(_), None) => return Err(ProtocolError::Missing("crc32c")),
        };
        Ok(Message::Put {
            id: self.id()?,
            title: title(self.title)?.into_owned(),
            key: self.key.map(key).transpose()?,
            resumed,
        })
    }

    fn offer(self) -> Result<Message, ProtocolError> {
        Ok(Message::Offer {
            id: self.id()?,
            key: key(self.key.ok_or(ProtocolError::Missing("key"))?)?,
            size: self.size.ok_or(ProtocolError::Missing("size"))?,
            crc32c: self.crc32c,
        })
    }

    fn wanted(&self) -> Result<Message, ProtocolError> {
        Ok(Message::Wanted {
            id: self.id()?,
            offset: self.offset.ok_or(ProtocolError::Missing("offset"))?,
        })
    }

    fn store(self) -> Result<Message, ProtocolError> {
        Ok(Message::Store {
            number: self.number()?,
            title: title(self.title)?.into(),
        })
    }

    fn keep(self) -> Result<Message, ProtocolError> {
        Ok(Message::Keep {
            number: self.number()?,
            title: title(self.title)?.into(),
        })
    }

    fn accepted(&self) -> Result<Message, ProtocolError> {
        Ok(Message::Accepted {
            id: self.id()?,
            number: self.number()?,
        })
    }

    fn refused(self) -> Result<Message, ProtocolError> {
        Ok(Message::Refused {
            id: self.id()?,
            refusal: self.refusal()?,
        })
    }

    fn not_stored(self) -> Result<Message, ProtocolError> {
        Ok(Message::NotStored {
            number: self.number()?,
            refusal: self.refusal()?,
        })
    }

    fn delivered(self) -> Result<Message, ProtocolError> {
        let id = self.id()?;
        let number = self.number()?;
        let server = self.server.ok_or(ProtocolError::Missing("server"))?;
        Ok(Message::Delivered {
            id,
            number,
            server: server.0.into(),
            confirmed: self.confirmed.unwrap_or(true),
        })
    }

    fn dead(self) -> Result<Message, ProtocolError> {
        Ok(Message::Dead {
            id: self.id()?,
            number: self.number()?,
            reason: self.reason(),
        })
    }

    fn register(self) -> Result<Message, ProtocolError> {
        let proof = |Text(proof): Text<'_>| proof.parse::<Proof>();
        let proof = self.proof.map(proof).transpose();
        Ok(Message::Register(Box::new(Register {
            address: self.address.map(address).transpose()?,
            weight: self.weight,
            name: self
                .name
                .map(|name| member_name("name", name))
                .transpose()?,
            ticket: self
                .ticket
                .map(|ticket| member_name("ticket", ticket))
                .transpose()?,
            proof: proof.map_err(|_| ProtocolError::Proof)?,
            every_ms: self.every_ms,
        })))
    }

    fn registered(self) -> Result<Message, ProtocolError> {
        let name = self.name.ok_or(ProtocolError::Missing("name"))?;
        Ok(Message::Registered {
            name: member_name("name", name)?,
            ttl_ms: self.ttl_ms.ok_or(ProtocolError::Missing("ttl_ms"))?,
            beat_ms: self.beat_ms.ok_or(ProtocolError::Missing("beat_ms"))?,
            address: self.address.map(address).transpose()?,
        })
    }

    fn drop_copy(&self) -> Result<Message, ProtocolError> {
        let expected = self.size.zip(self.crc32c);
        Ok(Message::Drop {
            number: self.number()?,
            expected: expected.map(|(size, crc32c)| Expected { size, crc32c }),
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

fn token(Text(token): Text<'_>) -> Result<Secret, ProtocolError> {
    if token.len() <= MAX_TOKEN {
        Ok(Secret::from(token.into_owned()))
    } else {
        Err(ProtocolError::TokenLength(token.len()))
    }
}

fn user(user: Text<'_>) -> Result<Arc<str>, ProtocolError> {
    if user.0.len() <= MAX_USER {
        Ok(user.0.into())
    } else {
        Err(ProtocolError::UserLength(user.0.len()))
    }
}

fn address(Text(address): Text<'_>) -> Result<Arc<str>, ProtocolError> {
    if (1..=MAX_ADDRESS).contains(&address.len()) && !has_control(&address) {
        Ok(address.into())
    } else {
        Err(ProtocolError::Address)
    }
}

/// Whether a member can be called so: it is shown in tables, and logged.
pub fn is_member_name(name: &str) -> bool {
    (1..=MAX_MEMBER_NAME).contains(&name.len()) && !has_control(name)
}

fn member_name(field: &'static str, Text(name): Text<'_>) -> Result<Arc<str>, ProtocolError> {
    if is_member_name(&name) {
        Ok(name.into())
    } else {
        Err(ProtocolError::MemberName(field))
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn versions(min: Option<u16>, max: Option<u16>) -> Result<Option<Versions>, ProtocolError> {
    match (min, max) {
        (None, None) => Ok(None),
        (Some(min), Some(max)) => Versions::new(min, max)
            .map(Some)
            .ok_or(ProtocolError::NoVersions),
        _ => Err(ProtocolError::NoVersions),
    }
}

fn identity(
    field: &'static str,
    identity: Option<Text<'_>>,
) -> Result<Option<Arc<str>>, ProtocolError> {
    let Some(Text(text)) = identity else {
        return Ok(None);
    };
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Some(text.into()))
    } else {
        Err(ProtocolError::Identity(field))
    }
}
