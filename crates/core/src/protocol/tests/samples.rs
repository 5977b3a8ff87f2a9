//! Messages of every kind.

use crate::fleet::Facts;
use crate::protocol::status::Memory;
use crate::protocol::{
    Expected, Hello, HelloFacts, Message, Prefix, Proof, Refusal, RefusalCode, Register, Role,
};

#[expect(clippy::too_many_lines, reason = "one of each kind of message")]
pub(super) fn samples() -> Vec<Message> {
    let refusal = || Refusal::new(RefusalCode::Storage, "disk \"full\"\n");
    vec![
        Message::from(Hello::of(Role::Client)),
        Message::from(Hello {
            overloaded: Some(true),
            identity: Some("0f".repeat(16).into()),
            memory: Some(Memory {
                used: 5,
                limit: u64::MAX,
            }),
            instance: Some("a1".repeat(16).into()),
            ahead: Some(true),
            facts: HelloFacts::Told(facts().into()),
            ..Hello::of(Role::Server)
        }),
        Message::from(Hello {
            identity: Some("0f".repeat(16).into()),
            instance: Some("a1".repeat(16).into()),
            epoch: Some(u64::MAX),
            bulk: Some(true),
            ..Hello::of(Role::Balancer)
        }),
        Message::Put {
            id: 0,
            title: "a \u{202e}\u{0} \"b\".json".into(),
            key: None,
            resumed: None,
        },
        Message::Put {
            id: 0,
            title: "t".into(),
            key: Some("k \"1\"".into()),
            resumed: Some(Prefix {
                offset: 1 << 40,
                crc32c: u32::MAX,
            }),
        },
        Message::Offer {
            id: 3,
            key: "è".into(),
            size: u64::MAX,
            crc32c: None,
        },
        Message::Offer {
            id: 3,
            key: "k".into(),
            size: 0,
            crc32c: Some(u32::MAX),
        },
        Message::Wanted { id: 3, offset: 0 },
        Message::Ahead,
        Message::Keep {
            number: u64::MAX,
            title: "a \"b\".json".into(),
        },
        Message::Dead {
            id: 3,
            number: 9,
            reason: "too large".into(),
        },
        Message::Holding {
            last: false,
            seen: None,
        },
        Message::Holding {
            last: true,
            seen: Some(7),
        },
        Message::Confirmed,
        Message::Drop {
            number: 1,
            expected: None,
        },
        Message::Drop {
            number: 1,
            expected: Some(Expected { size: 2, crc32c: 3 }),
        },
        Message::Dropped { number: 1 },
        Message::Store {
            number: u64::MAX,
            title: "è".into(),
        },
        Message::Accepted { id: 1, number: 2 },
        Message::Delivered {
            id: 1,
            number: 2,
            server: "127.0.0.1:5001".into(),
            confirmed: false,
        },
        Message::Refused {
            id: 9,
            refusal: refusal(),
        },
        Message::Stored { number: 3 },
        Message::NotStored {
            number: 3,
            refusal: refusal(),
        },
        Message::Waiting {
            reason: "the queue is full".into(),
        },
        Message::Resumed,
        Message::Status,
        Message::from(Hello {
            challenge: Some("c3".repeat(16).into()),
            ..Hello::of(Role::Balancer)
        }),
        Message::from(Hello {
            token: Some("bil_x".into()),
            ..Hello::of(Role::Agent)
        }),
        Message::Register(Box::default()),
        Message::Register(Box::new(Register {
            address: Some("[::]:5001".into()),
            weight: Some(u32::MAX),
            name: Some("store \"è\"".into()),
            ticket: Some("t-1".into()),
            proof: Some(Proof::new(&"secret".into(), "c3", "[::]:5001", "0f")),
            every_ms: Some(u64::MAX),
        })),
        Message::Registered {
            name: "store-1".into(),
            ttl_ms: 15_000,
            beat_ms: u64::MAX,
            address: Some("10.0.0.7:5001".into()),
        },
        Message::Registered {
            name: "host-a".into(),
            ttl_ms: 15_000,
            beat_ms: 5_000,
            address: None,
        },
        Message::Beat,
        Message::Seen {
            good: false,
            reason: "10.0.0.7:5001 refuses \"connections\"".into(),
        },
        Message::Leave {
            reason: "SIGTERM".into(),
        },
        Message::Bye(refusal()),
    ]
}

fn facts() -> Facts {
    Facts {
        cpu: Some(0.125),
        cores: vec![0.25, 1.0].into(),
        memory_used: Some(1 << 40),
        disk_trouble: Some("hung \"since\" 10:00".into()),
        net_rx: Some(1.5e9),
        network_up: Some(false),
        held_files: Some(u64::MAX),
        ..Facts::default()
    }
}
