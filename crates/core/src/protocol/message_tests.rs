//! What messages are on the wire, with serde as the oracle of their headers.

use proptest::prelude::*;

use super::*;

fn samples() -> Vec<Message> {
    let refusal = || Refusal::new(RefusalCode::Storage, "disk \"full\"\n");
    vec![
        Message::Hello {
            role: Role::Client,
            overloaded: None,
            identity: None,
            memory: None,
            instance: None,
            epoch: None,
        },
        Message::Hello {
            role: Role::Server,
            overloaded: Some(true),
            identity: Some("0f".repeat(16).into()),
            memory: Some(Memory {
                used: 5,
                limit: u64::MAX,
            }),
            instance: Some("a1".repeat(16).into()),
            epoch: None,
        },
        Message::Hello {
            role: Role::Balancer,
            overloaded: None,
            identity: Some("0f".repeat(16).into()),
            memory: None,
            instance: Some("a1".repeat(16).into()),
            epoch: Some(u64::MAX),
        },
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
        Message::Query,
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
        Message::Bye(refusal()),
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for message in samples() {
        let mut wire = Vec::new();
        message.encode(&mut wire);
        assert_eq!(
            Message::decode(&wire).unwrap(),
            message,
            "{}",
            String::from_utf8_lossy(&wire)
        );
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_requests_named() {
    let wire = br#"{"request_type":"stored","request_number":7,"since":[1,{"x":null}]}"#;
    assert_eq!(
        Message::decode(wire).unwrap(),
        Message::Stored { number: 7 }
    );
    let error = Message::decode(br#"{"request_type":"dance"}"#).unwrap_err();
    assert!(matches!(error, ProtocolError::UnknownRequest(name) if name == "dance"));
}

#[test]
fn headers_at_their_extremes_are_errors() {
    let long = format!(
        r#"{{"request_type":"put","id":1,"title":"{}"}}"#,
        "x".repeat(MAX_TITLE + 1)
    );
    let long_key = format!(
        r#"{{"request_type":"offer","id":1,"size":1,"key":"{}"}}"#,
        "x".repeat(MAX_KEY + 1)
    );
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
        r#"{"request_type":"offer","id":1,"key":"k","size":1,"crc32c":4294967296}"#,
        r#"{"request_type":"hello","role":"king"}"#,
        r#"{"request_type":"hello","role":"server","identity":"../../x"}"#,
        r#"{"request_type":"refused","id":1,"code":"mood"}"#,
        &long,
        &long_key,
    ] {
        assert!(Message::decode(wire.as_bytes()).is_err(), "{wire}");
    }
}

/// The fields of a message's header, in the order in which serde writes them.
fn to_header(message: &Message) -> Header<'_> {
    let header = |request_type: &'static str| Header {
        request_type: request_type.into(),
        ..Header::default()
    };
    match message {
        Message::Hello {
            role,
            overloaded,
            identity,
            memory,
            instance,
            epoch,
        } => Header {
            role: Some(*role),
            overloaded: *overloaded,
            identity: identity.as_deref().map(Text::from),
            memory: memory.map(|memory| memory.used),
            memory_limit: memory.map(|memory| memory.limit),
            instance: instance.as_deref().map(Text::from),
            epoch: *epoch,
            ..header("hello")
        },
        Message::Put {
            id,
            title,
            key,
            resumed,
        } => Header {
            id: Some(*id),
            title: Some(title.as_str().into()),
            key: key.as_deref().map(Text::from),
            offset: resumed.map(|prefix| prefix.offset),
            crc32c: resumed.map(|prefix| prefix.crc32c),
            ..header("put")
        },
        Message::Offer {
            id,
            key,
            size,
            crc32c,
        } => Header {
            id: Some(*id),
            key: Some((&**key).into()),
            size: Some(*size),
            crc32c: *crc32c,
            ..header("offer")
        },
        Message::Wanted { id, offset } => Header {
            id: Some(*id),
            offset: Some(*offset),
            ..header("wanted")
        },
        Message::Store { number, title } => Header {
            request_number: Some(*number),
            title: Some((&**title).into()),
            ..header("store")
        },
        Message::Accepted { id, number } => Header {
            id: Some(*id),
            request_number: Some(*number),
            ..header("accepted")
        },
        Message::Delivered {
            id,
            number,
            server,
            confirmed,
        } => Header {
            id: Some(*id),
            request_number: Some(*number),
            server: Some((&**server).into()),
            confirmed: Some(*confirmed),
            ..header("delivered")
        },
        Message::Refused { id, refusal } => with(
            Header {
                id: Some(*id),
                ..header("refused")
            },
            refusal,
        ),
        Message::Dead { id, number, reason } => Header {
            id: Some(*id),
            request_number: Some(*number),
            reason: Some(reason.as_str().into()),
            ..header("dead")
        },
        Message::Holding { last, seen } => Header {
            last: Some(*last),
            seen: *seen,
            ..header("holding")
        },
        Message::Confirmed => header("confirmed"),
        Message::Drop { number, expected } => Header {
            request_number: Some(*number),
            size: expected.map(|expected| expected.size),
            crc32c: expected.map(|expected| expected.crc32c),
            ..header("drop")
        },
        Message::Dropped { number } => Header {
            request_number: Some(*number),
            ..header("dropped")
        },
        Message::Stored { number } => Header {
            request_number: Some(*number),
            ..header("stored")
        },
        Message::NotStored { number, refusal } => with(
            Header {
                request_number: Some(*number),
                ..header("not_stored")
            },
            refusal,
        ),
        Message::Waiting { reason } => Header {
            reason: Some(reason.as_str().into()),
            ..header("waiting")
        },
        Message::Resumed => header("resumed"),
        Message::Status => header("status"),
        Message::Query => header("query"),
        Message::Bye(refusal) => with(header("bye"), refusal),
    }
}

fn with<'a>(header: Header<'a>, refusal: &'a Refusal) -> Header<'a> {
    Header {
        code: Some(refusal.code),
        reason: Some(refusal.reason.as_str().into()),
        ..header
    }
}

fn written(message: &Message) -> Vec<u8> {
    let mut wire = Vec::new();
    message.encode(&mut wire);
    wire
}

#[test]
fn every_sample_is_written_as_serde_writes_it() {
    for message in samples() {
        assert_eq!(
            written(&message),
            serde_json::to_vec(&to_header(&message)).unwrap()
        );
    }
}

/// Otherwise each file would pay for serde, and no test would notice.
#[test]
fn what_each_file_costs_is_read_by_hand() {
    let (id, number) = (u64::MAX / 2, 10_000_000_000_000_000_000 - 1);
    for message in [
        Message::Put {
            id,
            title: "città.json".into(),
            key: None,
            resumed: None,
        },
        Message::Put {
            id: 0,
            title: String::new(),
            key: Some("k-1".into()),
            resumed: None,
        },
        Message::Accepted { id, number },
        Message::Delivered {
            id,
            number,
            server: "127.0.0.1:5001".into(),
            confirmed: false,
        },
        Message::Store {
            number,
            title: "🚚".into(),
        },
        Message::Stored { number: 0 },
    ] {
        assert_eq!(Message::decode_canonical(&written(&message)), Some(message));
    }
}

/// Text with and without what must be escaped, and as long as the limits and longer.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9.-]{0,20}",
        2 => "(?s).{0,20}",
        2 => "[a\"\\\\\u{0}-\u{1f}\u{7f}è]{0,6}",
        1 => prop::sample::select(vec![MAX_KEY, MAX_KEY + 1, MAX_TITLE, MAX_TITLE + 1]).prop_map(|len| "x".repeat(len)),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    let edges = vec![0, 9, 10, 10_u64.pow(19) - 1, 10_u64.pow(19), u64::MAX];
    prop_oneof![0..100_000_u64, any::<u64>(), prop::sample::select(edges)]
}

/// Every message with any text, and with texts that break the limits.
fn message() -> impl Strategy<Value = Message> {
    let refusal = || {
        use RefusalCode::{
            Busy, Checksum, Conflict, Full, Malformed, Stopping, Storage, TooLarge, Version,
        };
        let codes = [
            Malformed, Version, Checksum, TooLarge, Conflict, Full, Stopping, Storage, Busy,
        ];
        (prop::sample::select(codes.to_vec()), text())
            .prop_map(|(code, reason)| Refusal { code, reason })
    };
    let key = || text().prop_map(Arc::<str>::from);
    let prefix = (number(), any::<u32>()).prop_map(|(offset, crc32c)| Prefix { offset, crc32c });
    let roles = prop::sample::select(vec![Role::Client, Role::Balancer, Role::Server]);
    let memory =
        prop::option::of((number(), number()).prop_map(|(used, limit)| Memory { used, limit }));
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
        (
            roles,
            any::<Option<bool>>(),
            prop::option::of(prop_oneof![key(), "[0-9a-f]{32}".prop_map(Arc::from)]),
            memory,
            prop::option::of("[0-9a-f]{32}".prop_map(Arc::from)),
            prop::option::of(number())
        )
            .prop_map(|(role, overloaded, identity, memory, instance, epoch)| {
                Message::Hello {
                    role,
                    overloaded,
                    identity,
                    memory,
                    instance,
                    epoch,
                }
            }),
        (number(), key(), number(), any::<Option<u32>>()).prop_map(|(id, key, size, crc32c)| {
            Message::Offer {
                id,
                key,
                size,
                crc32c,
            }
        }),
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

/// A number that JSON spells otherwise, or not at all, or that no field can hold.
fn strange_number() -> impl Strategy<Value = String> {
    let spellings = [
        "01",
        "00",
        "-0",
        "-1",
        "1.0",
        "1e3",
        "+1",
        "",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "184467440737095516160",
    ];
    prop::sample::select(spellings.to_vec()).prop_map(str::to_owned)
}

/// A value, right or wrong, as it may stand on the wire.
fn value() -> impl Strategy<Value = String> {
    let strange = vec![
        "01",
        "-0",
        "-1",
        "1.0",
        "1e3",
        "+1",
        "",
        "null",
        "true",
        "false",
        "truely",
        "TRUE",
        "[]",
        "{}",
        "[1,{\"id\":2}]",
        "\"7\"",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "\"\t\"",
        "\"a\\\"b\"",
        "\"",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "00",
        "0",
    ];
    prop_oneof![
        3 => number().prop_map(|number| number.to_string()),
        3 => text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        2 => any::<bool>().prop_map(|flag| flag.to_string()),
        3 => prop::sample::select(strange).prop_map(str::to_owned),
    ]
}

/// A piece of a header that is spelled in its own way: fields known and unknown, right and wrong
/// values, in any number of each.
fn spelled_field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["id", "request_number", "title", "key", "server", "confirmed", "offset", "crc32c"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["request_type", "new", "i\\u0064", "ID", "titl\u{e8}"]).prop_map(str::to_owned),
    ];
    (name, value()).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

/// A header whose fields are those of `message`, shuffled, some of them twice, and with others
/// between them.
fn reordered(
    message: &Message,
    extra: Vec<String>,
    order: &[prop::sample::Index],
    space: &str,
) -> String {
    let header = serde_json::to_value(to_header(message)).unwrap();
    let own = header
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"));
    let mut fields: Vec<String> = own.chain(extra).collect();
    for index in order {
        let (from, to) = (index.index(fields.len()), fields.len() - 1);
        fields.swap(from, to);
    }
    format!("{{{}}}", fields.join(&format!("{space},{space}")))
}

/// Both ways to read a header come to the same message, or to the same error.
fn check_agreement(wire: &[u8]) {
    let slow = Message::decode_any(wire);
    if let Some(fast) = Message::decode_canonical(wire) {
        assert_eq!(
            Ok(&fast),
            slow.as_ref(),
            "{}",
            String::from_utf8_lossy(wire)
        );
    }
    assert_eq!(Message::decode(wire), slow);
}

proptest! {
    #[test]
    fn any_message_is_written_as_serde_writes_it(message in message()) {
        prop_assert_eq!(written(&message), serde_json::to_vec(&to_header(&message)).unwrap());
    }

    #[test]
    fn what_is_written_is_read_as_serde_reads_it(message in message()) {
        check_agreement(&written(&message));
    }

    #[test]
    fn damaged_headers_are_read_as_serde_reads_them(
        message in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop_oneof![
            any::<u8>(),
            prop::sample::select(b"\"\\{}[]:,0123456789 \n\t-.eEtfn\x00\x1f\x7f\xff".to_vec()),
        ]), 1..4),
    ) {
        let mut wire = written(&message);
        for (at, kind, byte) in damage {
            let at = at.index(wire.len() + 1);
            match kind {
                0 => wire.insert(at, byte),
                1 if at < wire.len() => wire[at] = byte,
                _ => wire.truncate(at),
            }
        }
        check_agreement(&wire);
    }

    #[test]
    fn other_spellings_are_read_as_serde_reads_them(
        message in message(),
        extra in prop::collection::vec(spelled_field(), 0..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
    ) {
        check_agreement(reordered(&message, extra, &order, space).as_bytes());
    }

    /// The usual fields in the usual order, one of them with any value, so that the fast path is as
    /// near its goal as it can be.
    #[test]
    fn strange_values_in_the_usual_order_are_read_as_serde_reads_them(
        (request, fields) in prop::sample::select(vec![
            ("put", vec!["id", "title", "key", "offset"]),
            ("put", vec!["id", "title"]),
            ("accepted", vec!["id", "request_number"]),
            ("delivered", vec!["id", "request_number", "server", "confirmed"]),
            ("store", vec!["request_number", "title"]),
            ("stored", vec!["request_number"]),
            ("stored", vec!["request_number", "request_number"]),
        ]),
        strange in prop_oneof![1 => value(), 1 => strange_number()],
        at in any::<prop::sample::Index>(),
        tail in prop_oneof![6 => Just("}"), 1 => prop::sample::select(vec!["} ", ",}", "}}", " }", ""])],
    ) {
        let at = at.index(fields.len());
        let spell = |(place, field): (usize, &&str)| {
            let usual = match *field {
                "id" | "request_number" => "7",
                "confirmed" => "true",
                _ => "\"x\"",
            };
            format!(",\"{field}\":{}", if place == at { &strange } else { usual })
        };
        let fields: Vec<String> = fields.iter().enumerate().map(spell).collect();
        check_agreement(format!("{{\"request_type\":\"{request}\"{}{tail}", fields.concat()).as_bytes());
    }
}
