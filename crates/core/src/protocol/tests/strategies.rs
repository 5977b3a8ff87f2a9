//! Any message.

use std::sync::Arc;

use proptest::prelude::*;

use crate::fleet::Facts;
use crate::protocol::limits::{MAX_KEY, MAX_TITLE};
use crate::protocol::status::Memory;
use crate::protocol::{
    Expected, Hello, HelloFacts, Message, Prefix, Proof, Refusal, RefusalCode, Register, Role,
    Versions,
};
use crate::secret::Secret;

/// Text with and without what must be escaped, and as long as the limits and longer.
pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9.-]{0,20}",
        2 => "(?s).{0,20}",
        2 => "[a\"\\\\\u{0}-\u{1f}\u{7f}è]{0,6}",
        1 => prop::sample::select(vec![MAX_KEY, MAX_KEY + 1, MAX_TITLE, MAX_TITLE + 1]).prop_map(|len| "x".repeat(len)),
    ]
}

pub(super) fn number() -> impl Strategy<Value = u64> {
    let edges = vec![0, 9, 10, 10_u64.pow(19) - 1, 10_u64.pow(19), u64::MAX];
    prop_oneof![0..100_000_u64, any::<u64>(), prop::sample::select(edges)]
}

/// Any facts, possible or not.
fn facts() -> impl Strategy<Value = HelloFacts> {
    let rate = || prop::option::of(prop_oneof![0.0..2e9_f32, Just(-1.0), Just(f32::NAN)]);
    let facts = (
        prop::option::of(prop_oneof![4 => 0.0..1.0_f32, 1 => Just(2.0)]),
        prop::collection::vec(0.0..1.0_f32, 0..9),
        prop::option::of(number()),
        prop::option::of(text()),
        rate(),
        any::<Option<bool>>(),
    )
        .prop_map(
            |(cpu, cores, held_files, status, net_rx, network_up)| Facts {
                cpu,
                cores: cores.into(),
                held_files,
                status_text: status.map(Into::into),
                net_rx,
                network_up,
                ..Facts::default()
            },
        );
    prop_oneof![
        Just(HelloFacts::Untold),
        facts.prop_map(|facts| HelloFacts::Told(facts.into())),
    ]
}

/// Any greeting.
fn hello() -> impl Strategy<Value = Message> {
    let key = || text().prop_map(Arc::<str>::from);
    let roles = prop::sample::select(vec![
        Role::Client,
        Role::Balancer,
        Role::Server,
        Role::Agent,
    ]);
    let memory =
        prop::option::of((number(), number()).prop_map(|(used, limit)| Memory { used, limit }));
    (
        roles,
        any::<Option<bool>>(),
        prop::option::of(prop_oneof![key(), "[0-9a-f]{32}".prop_map(Arc::from)]),
        memory,
        prop::option::of("[0-9a-f]{32}".prop_map(Arc::from)),
        prop::option::of(number()),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        (
            prop::option::of("[a-z_\"\n]{0,40}"),
            any::<Option<bool>>(),
            prop::option::of("[a-z0-9.\u{e8}]{0,16}"),
            any::<Option<u16>>(),
            facts(),
            prop::option::of("[0-9a-f]{32}".prop_map(Arc::from)),
        ),
    )
        .prop_map(
            |(role, overloaded, identity, memory, instance, epoch, bulk, ahead, account)| {
                let (token, locked, user, newest, facts, challenge): (
                    Option<String>,
                    _,
                    Option<String>,
                    _,
                    _,
                    _,
                ) = account;
                let versions = Option::map(newest, |newest| {
                    Versions::new(1, u16::max(newest, 1)).unwrap()
                });
                Message::from(Hello {
                    role,
                    overloaded,
                    identity,
                    memory,
                    instance,
                    epoch,
                    bulk,
                    ahead,
                    facts,
                    token: token.map(Secret::from),
                    locked,
                    user: user.map(Arc::from),
                    challenge,
                    versions,
                })
            },
        )
}

/// Any message of a member of the fleet, or to one.
fn of_fleet() -> impl Strategy<Value = Message> {
    let texts = || text().prop_map(Arc::<str>::from);
    let proof = any::<[u8; 8]>().prop_map(|bytes| {
        let secret = String::from_utf8_lossy(&bytes).into_owned();
        Proof::new(&secret.into(), "", "", "")
    });
    let register = (
        prop::option::of(texts()),
        any::<Option<u32>>(),
        prop::option::of(texts()),
        prop::option::of(texts()),
        prop::option::of(proof),
        prop::option::of(number()),
    );
    prop_oneof![
        register.prop_map(|(address, weight, name, ticket, proof, every_ms)| {
            Message::Register(Box::new(Register {
                address,
                weight,
                name,
                ticket,
                proof,
                every_ms,
            }))
        }),
        (texts(), number(), number(), prop::option::of(texts())).prop_map(
            |(name, ttl_ms, beat_ms, address)| Message::Registered {
                name,
                ttl_ms,
                beat_ms,
                address
            }
        ),
        Just(Message::Beat),
        (any::<bool>(), text()).prop_map(|(good, reason)| Message::Seen { good, reason }),
        text().prop_map(|reason| Message::Leave { reason }),
    ]
}

/// Every message with any text, and with texts that break the limits.
pub(super) fn message() -> impl Strategy<Value = Message> {
    let refusal = || {
        use RefusalCode::{
            Busy, Checksum, Conflict, Full, Malformed, Stopping, Storage, TooLarge, Unauthorized,
            Version,
        };
        let codes = [
            Malformed,
            Version,
            Checksum,
            TooLarge,
            Conflict,
            Full,
            Stopping,
            Storage,
            Busy,
            Unauthorized,
        ];
        (prop::sample::select(codes.to_vec()), text())
            .prop_map(|(code, reason)| Refusal { code, reason })
    };
    let key = || text().prop_map(Arc::<str>::from);
    let prefix = (number(), any::<u32>()).prop_map(|(offset, crc32c)| Prefix { offset, crc32c });
    let hot = prop_oneof![
        (
            number(),
            text(),
            prop::option::of(key()),
            prop::option::weighted(0.2, prefix)
        )
            .prop_map(|(id, title, key, resumed)| Message::Put {
                id,
                title,
                key,
                resumed
            }),
        (number(), number()).prop_map(|(id, number)| Message::Accepted { id, number }),
        (number(), number(), key(), any::<bool>()).prop_map(|(id, number, server, confirmed)| {
            Message::Delivered {
                id,
                number,
                server,
                confirmed,
            }
        }),
        (number(), key()).prop_map(|(number, title)| Message::Store { number, title }),
        number().prop_map(|number| Message::Stored { number }),
    ];
    let others = prop_oneof![
        hello(),
        of_fleet(),
        (number(), key(), number(), any::<Option<u32>>()).prop_map(|(id, key, size, crc32c)| {
            Message::Offer {
                id,
                key,
                size,
                crc32c,
            }
        }),
        Just(Message::Ahead),
        Just(Message::Account),
        (number(), key()).prop_map(|(number, title)| Message::Keep { number, title }),
        (number(), number()).prop_map(|(id, offset)| Message::Wanted { id, offset }),
        (number(), refusal()).prop_map(|(id, refusal)| Message::Refused { id, refusal }),
        (number(), number(), text()).prop_map(|(id, number, reason)| Message::Dead {
            id,
            number,
            reason
        }),
        (any::<bool>(), any::<Option<u64>>())
            .prop_map(|(last, seen)| Message::Holding { last, seen }),
        (number(), any::<Option<(u64, u32)>>()).prop_map(|(number, expected)| {
            let expected = expected.map(|(size, crc32c)| Expected { size, crc32c });
            Message::Drop { number, expected }
        }),
        number().prop_map(|number| Message::Dropped { number }),
        (number(), refusal()).prop_map(|(number, refusal)| Message::NotStored { number, refusal }),
        text().prop_map(|reason| Message::Waiting { reason }),
        refusal().prop_map(Message::Bye),
    ];
    prop_oneof![3 => hot, 1 => others]
}
