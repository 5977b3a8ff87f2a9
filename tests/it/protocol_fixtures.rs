//! Every version of the wire formats that was ever released is read, and written byte for byte:
//! `tests/fixtures/README.md` says what a change needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bilico::fleet_core::Facts;
use bilico::protocol::json::{DISCOVERY_REQUEST, Request, old_style_file, parse};
use bilico::protocol::lists::{self, StoredFile};
use bilico::protocol::status::{
    Dialect, Memory, QueueReport, ServerReport, ServerState, StatusReport,
};
use bilico::protocol::{
    Expected, Frame, Hello, HelloFacts, Message, Prefix, Proof, Refusal, RefusalCode, Register,
    Role, Versions, frame, object,
};
use bytes::{Bytes, BytesMut};

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";
const INSTANCE: &str = "fedcba9876543210fedcba9876543210";

/// CRC32C of `hi`.
const HI: u32 = 0xF59D_D9C2;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protocol-v1")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = dir().join(format!("{name}.bin"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A frame: the name of its file, its message and its content.
type Case = (String, Message, Vec<u8>);

fn case(name: &str, message: Message, content: &[u8]) -> Case {
    (name.to_owned(), message, content.to_owned())
}

/// A greeting without versions, as the first releases wrote it.
fn unnamed(role: Role) -> Hello {
    Hello {
        versions: None,
        ..Hello::of(role)
    }
}

fn hello(role: Role) -> Message {
    Message::from(unnamed(role))
}

/// Every figure.
fn facts() -> Facts {
    Facts {
        cpu: Some(0.125),
        cores: vec![0.25, 0.0].into(),
        memory_used: Some(1),
        memory_total: Some(2),
        // Only of those that tell no bytes.
        memory_ratio: None,
        swap_used: Some(3),
        swap_total: Some(4),
        disk_used: Some(5),
        disk_total: Some(6),
        disk_free: Some(7),
        disk_ratio: None,
        disk_trouble: Some("città".into()),
        disk_read: Some(8.0),
        disk_write: Some(9.5),
        net_rx: Some(10.0),
        net_tx: Some(11.0),
        net_dropped: Some(0.25),
        network_up: Some(true),
        link_down: Some(12.0),
        link_up: Some(13.0),
        uptime_s: Some(14),
        load: Some(1.0),
        held_files: Some(15),
        held_bytes: Some(u64::MAX),
        process_memory: Some(16),
        process_limit: Some(17),
        status_text: Some("\"ok\"".into()),
    }
}

fn greetings() -> Vec<Case> {
    let to_server = Message::from(Hello {
        identity: Some(IDENTITY.into()),
        ..unnamed(Role::Balancer)
    });
    let lane = Message::from(Hello {
        identity: Some(IDENTITY.into()),
        instance: Some(INSTANCE.into()),
        bulk: Some(true),
        ..unnamed(Role::Balancer)
    });
    let server = Message::from(Hello {
        overloaded: Some(true),
        identity: Some(IDENTITY.into()),
        memory: Some(Memory {
            used: 100 << 20,
            limit: u64::MAX,
        }),
        instance: Some(INSTANCE.into()),
        ..unnamed(Role::Server)
    });
    let server_with_ahead = Message::from(Hello {
        overloaded: Some(false),
        identity: Some(IDENTITY.into()),
        instance: Some(INSTANCE.into()),
        bulk: Some(true),
        ahead: Some(true),
        ..unnamed(Role::Server)
    });
    let server_with_facts = Message::from(Hello {
        overloaded: Some(false),
        facts: HelloFacts::Told(facts().into()),
        ..unnamed(Role::Server)
    });
    let with_token = Message::from(Hello {
        token: Some("bil_ab12cd34_AAAA".into()),
        ..unnamed(Role::Client)
    });
    let locked = Message::from(Hello {
        locked: Some(true),
        user: Some("anna".into()),
        ..unnamed(Role::Balancer)
    });
    let later = Message::from(Hello {
        versions: Versions::new(1, 3),
        ..Hello::of(Role::Server)
    });
    let bye = Refusal::new(RefusalCode::Stopping, "the balancer is stopping");
    vec![
        case("hello-client", hello(Role::Client), b""),
        case("hello-client-token", with_token, b""),
        case("hello-balancer-locked", locked, b""),
        case(
            "hello-client-versions",
            Message::from(Hello::of(Role::Client)),
            b"",
        ),
        case("hello-server-versions", later, b""),
        case("hello-balancer", hello(Role::Balancer), b""),
        case("hello-balancer-to-server", to_server, b""),
        case("hello-balancer-lane", lane, b""),
        case("hello-server", server, b""),
        case("hello-server-ahead", server_with_ahead, b""),
        case("hello-server-facts", server_with_facts, b""),
        case("bye", Message::Bye(bye), b""),
    ]
}

fn from_clients() -> Vec<Case> {
    let put = Message::Put {
        id: 0,
        title: "a.txt".to_owned(),
        key: None,
        resumed: None,
    };
    let put_empty = Message::Put {
        id: 1,
        title: "città \"1\"\n.json".to_owned(),
        key: Some("k-1".into()),
        resumed: None,
    };
    let put_resumed = Message::Put {
        id: u64::MAX,
        title: "large.bin".to_owned(),
        key: Some("k è".into()),
        resumed: Some(Prefix {
            offset: 1 << 40,
            crc32c: u32::MAX,
        }),
    };
    let offer = |size, crc32c| Message::Offer {
        id: 2,
        key: "k-2".into(),
        size,
        crc32c,
    };
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    vec![
        case("put", put, b"hi"),
        case("put-empty", put_empty, b""),
        case("put-resumed", put_resumed, &all_bytes),
        case("offer", offer(u64::MAX, None), b""),
        case("offer-with-sum", offer(2, Some(HI)), b""),
        case("status-request", Message::Status, b""),
        case("account-request", Message::Account, br#"{"ask":"whoami"}"#),
    ]
}

fn to_clients() -> Vec<Case> {
    let delivered = |server: &str, confirmed| Message::Delivered {
        id: 2,
        number: 17,
        server: server.into(),
        confirmed,
    };
    let wanted = Message::Wanted {
        id: 2,
        offset: 65_537,
    };
    let accepted = Message::Accepted { id: 2, number: 17 };
    let dead = Message::Dead {
        id: 2,
        number: 17,
        reason: "every server refuses it: too large".to_owned(),
    };
    let waiting = Message::Waiting {
        reason: "the queue is full".to_owned(),
    };
    let report = serde_json::to_vec(&report()).unwrap();
    vec![
        case("wanted", wanted, b""),
        case("accepted", accepted, b""),
        case("delivered", delivered("127.0.0.1:5001", true), b""),
        case("delivered-unconfirmed", delivered("[::1]:5001", false), b""),
        case("dead", dead, b""),
        case("waiting", waiting, b""),
        case("resumed", Message::Resumed, b""),
        case("status-report", Message::Status, &report),
        case("account-answer", Message::Account, br#"{"answer":"done"}"#),
    ]
}

fn between_balancer_and_server() -> Vec<Case> {
    let store = Message::Store {
        number: 17,
        title: "../x 🚚".into(),
    };
    let keep = Message::Keep {
        number: 17,
        title: "../x 🚚".into(),
    };
    let holding = Message::Holding {
        last: true,
        seen: Some(u64::MAX),
    };
    let part = Message::Holding {
        last: false,
        seen: None,
    };
    let drop = |expected| Message::Drop {
        number: 17,
        expected,
    };
    let expected = Expected {
        size: 2,
        crc32c: HI,
    };
    vec![
        case("store", store, b"\x00\xff\xb1"),
        case("ahead", Message::Ahead, b"\x00\xff\xb1"),
        case("keep", keep, b""),
        case("holding", holding, &lists::encode_holding(&stored_files())),
        case("holding-empty-part", part, b""),
        case(
            "confirmed",
            Message::Confirmed,
            &lists::encode_confirmed(&NUMBERS),
        ),
        case("drop", drop(Some(expected)), b""),
        case("drop-by-number", drop(None), b""),
        case("dropped", Message::Dropped { number: 17 }, b""),
        case("stored", Message::Stored { number: 17 }, b""),
    ]
}

fn of_the_fleet() -> Vec<Case> {
    let to_member = Message::from(Hello {
        challenge: Some(INSTANCE.into()),
        ..Hello::of(Role::Balancer)
    });
    let agent = Message::from(Hello {
        token: Some("bil_ab12cd34_AAAA".into()),
        ..Hello::of(Role::Agent)
    });
    let address = "0.0.0.0:5001";
    let register = Message::Register(Box::new(Register {
        address: Some(address.into()),
        weight: Some(3),
        name: Some("store \"1\"".into()),
        ticket: Some("t-1".into()),
        proof: Some(Proof::new(
            &"a shared secret".into(),
            INSTANCE,
            address,
            IDENTITY,
        )),
        every_ms: None,
    }));
    let every = Message::Register(Box::new(Register {
        every_ms: Some(600_000),
        ..Register::default()
    }));
    let registered = |address: Option<&str>| Message::Registered {
        name: "store-1".into(),
        ttl_ms: 15_000,
        beat_ms: 5_000,
        address: address.map(Into::into),
    };
    let seen = |good, reason: &str| Message::Seen {
        good,
        reason: reason.to_owned(),
    };
    let leave = Message::Leave {
        reason: "the server stops".to_owned(),
    };
    vec![
        case("hello-balancer-to-member", to_member, b""),
        case("hello-agent", agent, b""),
        case("register", register, b""),
        case("register-agent", Message::Register(Box::default()), b""),
        case("register-agent-every", every, b""),
        case("registered", registered(Some("10.0.0.7:5001")), b""),
        case("registered-agent", registered(None), b""),
        case("beat", Message::Beat, br#"{"cpu":0.25}"#),
        case("beat-empty", Message::Beat, b""),
        case("seen-bad", seen(false, "connection refused"), b""),
        case("seen-good", seen(true, ""), b""),
        case("leave", leave, b""),
    ]
}

/// Every code, in both messages that refuse a file.
fn refusals() -> Vec<Case> {
    use RefusalCode::{
        Busy, Checksum, Conflict, Full, Malformed, Stopping, Storage, TooLarge, Version,
    };
    let codes = [
        Malformed, Version, Checksum, TooLarge, Conflict, Full, Stopping, Storage, Busy,
    ];
    let both = |code| {
        let refused = Message::Refused {
            id: 2,
            refusal: Refusal::new(code, "why \"it\" is"),
        };
        let not_stored = Message::NotStored {
            number: 17,
            refusal: Refusal::new(code, ""),
        };
        [
            case(&format!("refused-{code}"), refused, b""),
            case(&format!("not_stored-{code}"), not_stored, b""),
        ]
    };
    codes.into_iter().flat_map(both).collect()
}

const NUMBERS: [u64; 2] = [7, u64::MAX];

fn stored_files() -> [StoredFile; 2] {
    [
        StoredFile(7, 2, HI),
        StoredFile(u64::MAX, u64::MAX, u32::MAX),
    ]
}

fn report() -> StatusReport {
    StatusReport {
        uptime_s: 1.5,
        accepted: 7,
        delivered: 5,
        accepted_bytes: 70,
        delivered_bytes: 50,
        trouble: None,
        queue: QueueReport {
            ready: 1,
            delayed: 0,
            in_flight: 1,
            bytes: 20,
            oldest_s: Some(0.25),
            dead: 0,
            max_files: 1_000_000,
            max_bytes: 4 << 30,
        },
        servers: vec![native_server(), old_style_server()],
    }
}

fn native_server() -> ServerReport {
    ServerReport {
        name: "127.0.0.1:5001".to_owned(),
        weight: 6,
        dialect: Some(Dialect::Native),
        eligible: true,
        state: ServerState::Up,
        fact: None,
        reason: None,
        since_s: 1.25,
        overloaded: false,
        in_flight: 1,
        in_flight_bytes: 10,
        delivered: 5,
        delivered_bytes: 50,
        returned: 0,
        drained: false,
        removing: false,
        memory: Some(Memory {
            used: 100 << 20,
            limit: 200 << 20,
        }),
        probe_ms: Some(0.5),
        window_files: 64,
        window_bytes: 64 << 20,
    }
}

fn old_style_server() -> ServerReport {
    ServerReport {
        name: "127.0.0.1:5002".to_owned(),
        weight: 1,
        dialect: Some(Dialect::OldStyle),
        eligible: false,
        state: ServerState::Down,
        fact: Some("connection".to_owned()),
        reason: Some("connection refused".to_owned()),
        since_s: 1.0,
        in_flight: 0,
        in_flight_bytes: 0,
        delivered: 0,
        delivered_bytes: 0,
        returned: 2,
        drained: true,
        memory: None,
        probe_ms: None,
        window_files: 1,
        window_bytes: 4096,
        ..native_server()
    }
}

fn frames() -> Vec<Case> {
    [
        greetings(),
        from_clients(),
        to_clients(),
        between_balancer_and_server(),
        of_the_fleet(),
        refusals(),
    ]
    .concat()
}

/// The objects of the JSON doorway.
const OBJECTS: [&str; 5] = [
    "json-file",
    "json-file-english",
    "json-file-for-server",
    "json-status",
    "json-discovery",
];

fn encoded(message: &Message, content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::encode(message, content.len() as u64, &mut wire);
    wire.extend_from_slice(content);
    if !content.is_empty() {
        wire.extend_from_slice(&frame::checksum(crc32c::crc32c(content)));
    }
    wire
}

#[test]
fn every_frame_of_version_1_is_read_and_written_byte_for_byte() {
    for (name, message, content) in frames() {
        let wire = fixture(&name);
        let mut input = BytesMut::from(&*wire);
        let content_len = content.len() as u64;
        let expected = Frame {
            message: message.clone(),
            content_len,
        };
        assert_eq!(frame::decode(&mut input), Ok(Some(expected)), "{name}");
        let came = input.split_to(content.len());
        assert_eq!(came, content, "{name}");
        if !content.is_empty() {
            let sum = input.split_to(frame::CHECKSUM_LEN);
            let declared = sum[..].try_into().unwrap();
            frame::verify(crc32c::crc32c(&came), declared).unwrap();
        }
        assert!(input.is_empty(), "{name} has {} bytes more", input.len());
        let written = encoded(&message, &content);
        assert_eq!(
            written,
            wire,
            "{name}: {} is written",
            String::from_utf8_lossy(&written)
        );
    }
}

#[test]
fn the_preface_of_version_1_is_read_and_written_byte_for_byte() {
    let wire = fixture("preface");
    let mut input = BytesMut::from(&*wire);
    assert_eq!(frame::decode_preface(&mut input), Ok(Some(())));
    assert!(input.is_empty());
    let mut written = Vec::new();
    frame::encode_preface(&mut written);
    assert_eq!(written, wire);
}

#[test]
fn the_contents_of_version_1_are_read() {
    let content = |name: &str| {
        let mut input = BytesMut::from(&*fixture(name));
        let frame = frame::decode(&mut input).unwrap().unwrap();
        input.split_to(usize::try_from(frame.content_len).unwrap())
    };
    assert_eq!(
        lists::decode_holding(&content("holding")).unwrap(),
        stored_files()
    );
    assert_eq!(
        lists::decode_confirmed(&content("confirmed")).unwrap(),
        NUMBERS
    );
    let read: StatusReport = object::from_slice(&content("status-report")).unwrap();
    assert_eq!(read, report());
}

#[test]
fn every_object_of_the_json_doorway_is_read_and_ours_are_written_byte_for_byte() {
    let file = |title: &str, content: &'static str, number| Request::File {
        title: title.to_owned(),
        content: content.into(),
        number,
    };
    let for_server = "perché \"\n";
    let expected = [
        file("x.json", "perché 🚚", None),
        file("x.json", "perché 🚚", None),
        file("x.json", for_server, Some(17)),
        Request::Status,
        Request::Discovery,
    ];
    for (name, expected) in OBJECTS.into_iter().zip(expected) {
        let object = Bytes::from(fixture(name));
        assert_eq!(parse(&object), Ok(expected), "{name}");
    }
    let written = old_style_file(17, "x.json", for_server.as_bytes()).unwrap();
    assert_eq!(written, fixture("json-file-for-server"));
    assert_eq!(DISCOVERY_REQUEST, fixture("json-discovery"));
}

/// A message without a fixture could change unseen, and so could a fixture without a message.
#[test]
fn each_kind_of_message_has_a_fixture_and_each_fixture_is_read() {
    let files: BTreeSet<String> = fs::read_dir(dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let frames = frames();
    let named = frames.iter().map(|(name, ..)| name.as_str());
    let read: BTreeSet<String> = named
        .chain(OBJECTS)
        .chain(["preface"])
        .map(|name| format!("{name}.bin"))
        .collect();
    assert_eq!(files, read);
    let documented =
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md"))
            .unwrap();
    let of_table = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    let table = documented
        .split("### Messages")
        .nth(1)
        .and_then(|rest| rest.split("\n\nThe client opens").next())
        .unwrap();
    let kinds: BTreeSet<String> = table
        .lines()
        .filter_map(of_table)
        .filter(|kind| kind != "request_type")
        .collect();
    let have: BTreeSet<String> = frames
        .iter()
        .map(|(_, message, _)| request_type(message))
        .collect();
    assert_eq!(kinds, have);
}

fn request_type(message: &Message) -> String {
    let mut header = Vec::new();
    message.encode(&mut header);
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["request_type"].as_str().unwrap().to_owned()
}
