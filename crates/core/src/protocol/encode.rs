//! Writes the JSON header of a message, in the canonical spelling of [`super::header`].

use super::error::Refusal;
use super::header::{Writer, field};
use super::hello::{Hello, Role};
use super::join::Register;
use super::message::{Expected, Message, Prefix};
use super::status::Memory;
use crate::secret::Secret;

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Balancer => "balancer",
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

impl Message {
    /// Appends the message's JSON header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = Writer::new(out);
        let header = match self {
            Self::Hello(said) => hello(header, said),
            Self::Put {
                id,
                title,
                key,
                resumed,
            } => put(header, *id, title, key.as_deref()).with_prefix(*resumed),
            Self::Offer {
                id,
                key,
                size,
                crc32c,
            } => offer(header, *id, key, *size).number(field::CRC32C, crc32c.map(u64::from)),
            Self::Wanted { id, offset } => {
                file(header, "wanted", *id).number(field::OFFSET, *offset)
            }
            Self::Store { number, title } => {
                stored(header, "store", *number).text(field::TITLE, &**title)
            }
            Self::Ahead => header.of("ahead"),
            Self::Keep { number, title } => {
                stored(header, "keep", *number).text(field::TITLE, &**title)
            }
            Self::Accepted { id, number } => receipt(header, "accepted", *id, *number),
            Self::Delivered {
                id,
                number,
                server,
                confirmed,
            } => receipt(header, "delivered", *id, *number)
                .text(field::SERVER, &**server)
                .flag(field::CONFIRMED, *confirmed),
            Self::Refused { id, refusal } => file(header, "refused", *id).with_refusal(refusal),
            Self::Dead { id, number, reason } => {
                receipt(header, "dead", *id, *number).text(field::REASON, reason.as_str())
            }
            Self::Holding { last, seen } => header
                .of("holding")
                .flag(field::LAST, *last)
                .number(field::SEEN, *seen),
            Self::Confirmed => header.of("confirmed"),
            Self::Drop { number, expected } => {
                stored(header, "drop", *number).with_expected(*expected)
            }
            Self::Dropped { number } => stored(header, "dropped", *number),
            Self::Stored { number } => stored(header, "stored", *number),
            Self::NotStored { number, refusal } => {
                stored(header, "not_stored", *number).with_refusal(refusal)
            }
            Self::Waiting { reason } => header.of("waiting").text(field::REASON, reason.as_str()),
            Self::Resumed => header.of("resumed"),
            Self::Status => header.of("status"),
            Self::Account => header.of("account"),
            Self::Register(said) => register(header, said),
            Self::Registered {
                name,
                ttl_ms,
                beat_ms,
                address,
            } => header
                .of("registered")
                .text(field::ADDRESS, address.as_deref())
                .text(field::NAME, &**name)
                .number(field::TTL_MS, *ttl_ms)
                .number(field::BEAT_MS, *beat_ms),
            Self::Beat => header.of("beat"),
            Self::Seen { good, reason } => header
                .of("seen")
                .text(field::REASON, reason.as_str())
                .flag(field::GOOD, *good),
            Self::Leave { reason } => header.of("leave").text(field::REASON, reason.as_str()),
            Self::Bye(refusal) => header.of("bye").with_refusal(refusal),
        };
        header.end();
    }
}

fn hello<'a>(header: Writer<'a>, said: &Hello) -> Writer<'a> {
    header
        .of("hello")
        .text(field::ROLE, said.role.name())
        .flag(field::OVERLOADED, said.overloaded)
        .text(field::IDENTITY, said.identity.as_deref())
        .with_memory(said.memory)
        .text(field::INSTANCE, said.instance.as_deref())
        .number(field::EPOCH, said.epoch)
        .flag(field::BULK, said.bulk)
        .flag(field::AHEAD, said.ahead)
        .value(field::FACTS, said.facts.told().map(|facts| &**facts))
        .text(field::TOKEN, said.token.as_ref().map(Secret::reveal))
        .flag(field::LOCKED, said.locked)
        .text(field::USER, said.user.as_deref())
        .text(field::CHALLENGE, said.challenge.as_deref())
        .number(
            field::VERSION_MIN,
            said.versions.map(|it| it.oldest().into()),
        )
        .number(
            field::VERSION_MAX,
            said.versions.map(|it| it.newest().into()),
        )
}

fn register<'a>(header: Writer<'a>, said: &Register) -> Writer<'a> {
    let proof = said.proof.as_ref().map(ToString::to_string);
    header
        .of("register")
        .text(field::ADDRESS, said.address.as_deref())
        .number(field::WEIGHT, said.weight.map(u64::from))
        .text(field::NAME, said.name.as_deref())
        .text(field::TICKET, said.ticket.as_deref())
        .text(field::PROOF, proof.as_deref())
        .number(field::EVERY_MS, said.every_ms)
}

#[inline]
fn put<'a>(header: Writer<'a>, id: u64, title: &str, key: Option<&str>) -> Writer<'a> {
    file(header, "put", id)
        .text(field::TITLE, title)
        .text(field::KEY, key)
}

fn offer<'a>(header: Writer<'a>, id: u64, key: &str, size: u64) -> Writer<'a> {
    file(header, "offer", id)
        .text(field::KEY, key)
        .number(field::SIZE, size)
}

/// A message about a file that a client hands over, by the client's number for it.
#[inline]
fn file<'a>(header: Writer<'a>, request_type: &'static str, id: u64) -> Writer<'a> {
    header.of(request_type).number(field::ID, id)
}

/// A receipt for a file that was accepted under `number`.
#[inline]
fn receipt<'a>(header: Writer<'a>, request_type: &'static str, id: u64, number: u64) -> Writer<'a> {
    file(header, request_type, id).number(field::REQUEST_NUMBER, number)
}

/// A message between a balancer and a server about a file, by its request number.
#[inline]
fn stored<'a>(header: Writer<'a>, request_type: &'static str, number: u64) -> Writer<'a> {
    header
        .of(request_type)
        .number(field::REQUEST_NUMBER, number)
}

/// Groups of fields that belong together.
impl Writer<'_> {
    fn with_memory(self, memory: Option<Memory>) -> Self {
        self.number(field::MEMORY, memory.map(|memory| memory.used))
            .number(field::MEMORY_LIMIT, memory.map(|memory| memory.limit))
    }

    #[inline]
    fn with_prefix(self, resumed: Option<Prefix>) -> Self {
        self.number(field::OFFSET, resumed.map(|prefix| prefix.offset))
            .number(field::CRC32C, resumed.map(|prefix| prefix.crc32c.into()))
    }

    fn with_expected(self, expected: Option<Expected>) -> Self {
        self.number(field::SIZE, expected.map(|expected| expected.size))
            .number(
                field::CRC32C,
                expected.map(|expected| expected.crc32c.into()),
            )
    }

    fn with_refusal(self, refusal: &Refusal) -> Self {
        self.text(field::CODE, &*refusal.code.to_string())
            .text(field::REASON, refusal.reason.as_str())
    }
}
