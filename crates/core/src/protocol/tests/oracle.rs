//! Headers as serde writes them.

use serde::Serialize;

use crate::fleet::Facts;
use crate::protocol::{Message, Proof, Refusal, RefusalCode, Role, Versions};
use crate::secret::Secret;

/// A header with the fields in the order in which they stand on the wire, for serde to write.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Oracle<'a> {
    request_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<RefusalCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beat_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_min: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_max: Option<u16>,
}

/// The fields of a message's header.
#[expect(
    clippy::too_many_lines,
    reason = "a line for each field of each message"
)]
pub(super) fn to_oracle(message: &Message) -> Oracle<'_> {
    let header = |request_type: &'static str| Oracle {
        request_type,
        ..Oracle::default()
    };
    match message {
        Message::Hello(hello) => Oracle {
            role: Some(hello.role),
            overloaded: hello.overloaded,
            identity: hello.identity.as_deref(),
            memory: hello.memory.map(|memory| memory.used),
            memory_limit: hello.memory.map(|memory| memory.limit),
            instance: hello.instance.as_deref(),
            epoch: hello.epoch,
            bulk: hello.bulk,
            ahead: hello.ahead,
            facts: hello.facts.told().map(|facts| &**facts),
            token: hello.token.as_ref().map(Secret::reveal),
            locked: hello.locked,
            user: hello.user.as_deref(),
            challenge: hello.challenge.as_deref(),
            version_min: hello.versions.map(Versions::oldest),
            version_max: hello.versions.map(Versions::newest),
            ..header("hello")
        },
        Message::Put {
            id,
            title,
            key,
            resumed,
        } => Oracle {
            id: Some(*id),
            title: Some(title.as_str()),
            key: key.as_deref(),
            offset: resumed.map(|prefix| prefix.offset),
            crc32c: resumed.map(|prefix| prefix.crc32c),
            ..header("put")
        },
        Message::Offer {
            id,
            key,
            size,
            crc32c,
        } => Oracle {
            id: Some(*id),
            key: Some(&**key),
            size: Some(*size),
            crc32c: *crc32c,
            ..header("offer")
        },
        Message::Wanted { id, offset } => Oracle {
            id: Some(*id),
            offset: Some(*offset),
            ..header("wanted")
        },
        Message::Store { number, title } => Oracle {
            request_number: Some(*number),
            title: Some(&**title),
            ..header("store")
        },
        Message::Ahead => header("ahead"),
        Message::Keep { number, title } => Oracle {
            request_number: Some(*number),
            title: Some(&**title),
            ..header("keep")
        },
        Message::Accepted { id, number } => Oracle {
            id: Some(*id),
            request_number: Some(*number),
            ..header("accepted")
        },
        Message::Delivered {
            id,
            number,
            server,
            confirmed,
        } => Oracle {
            id: Some(*id),
            request_number: Some(*number),
            server: Some(&**server),
            confirmed: Some(*confirmed),
            ..header("delivered")
        },
        Message::Refused { id, refusal } => with(
            &Oracle {
                id: Some(*id),
                ..header("refused")
            },
            refusal,
        ),
        Message::Dead { id, number, reason } => Oracle {
            id: Some(*id),
            request_number: Some(*number),
            reason: Some(reason.as_str()),
            ..header("dead")
        },
        Message::Holding { last, seen } => Oracle {
            last: Some(*last),
            seen: *seen,
            ..header("holding")
        },
        Message::Confirmed => header("confirmed"),
        Message::Drop { number, expected } => Oracle {
            request_number: Some(*number),
            size: expected.map(|expected| expected.size),
            crc32c: expected.map(|expected| expected.crc32c),
            ..header("drop")
        },
        Message::Dropped { number } => Oracle {
            request_number: Some(*number),
            ..header("dropped")
        },
        Message::Stored { number } => Oracle {
            request_number: Some(*number),
            ..header("stored")
        },
        Message::NotStored { number, refusal } => with(
            &Oracle {
                request_number: Some(*number),
                ..header("not_stored")
            },
            refusal,
        ),
        Message::Waiting { reason } => Oracle {
            reason: Some(reason.as_str()),
            ..header("waiting")
        },
        Message::Resumed => header("resumed"),
        Message::Status => header("status"),
        Message::Account => header("account"),
        Message::Register(said) => Oracle {
            address: said.address.as_deref(),
            weight: said.weight,
            name: said.name.as_deref(),
            ticket: said.ticket.as_deref(),
            proof: said.proof,
            every_ms: said.every_ms,
            ..header("register")
        },
        Message::Registered {
            name,
            ttl_ms,
            beat_ms,
            address,
        } => Oracle {
            address: address.as_deref(),
            name: Some(&**name),
            ttl_ms: Some(*ttl_ms),
            beat_ms: Some(*beat_ms),
            ..header("registered")
        },
        Message::Beat => header("beat"),
        Message::Seen { good, reason } => Oracle {
            reason: Some(reason.as_str()),
            good: Some(*good),
            ..header("seen")
        },
        Message::Leave { reason } => Oracle {
            reason: Some(reason.as_str()),
            ..header("leave")
        },
        Message::Bye(refusal) => with(&header("bye"), refusal),
    }
}

fn with<'a>(header: &Oracle<'a>, refusal: &'a Refusal) -> Oracle<'a> {
    Oracle {
        code: Some(refusal.code),
        reason: Some(refusal.reason.as_str()),
        ..*header
    }
}

/// The header as [`Message::encode`] writes it.
pub(super) fn written(message: &Message) -> Vec<u8> {
    let mut wire = Vec::new();
    message.encode(&mut wire);
    wire
}
