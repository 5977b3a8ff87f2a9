//! Over real sockets, with the bytes of agents.

use std::collections::BTreeMap;

use base64ct::Encoding;
use futures_util::SinkExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Config, Limits, Message, WebSocketStream};

use super::*;
use crate::access::users::{Change, NewToken, Token, UserOrder, Users};
use crate::access::{Accounts, DatagramKey, UserRole, hash_password};
use crate::doors::tests::{Doorway, counts, until};
use crate::fleet_core::{Facts, Source, Told, Trust};
use crate::secret::Secret;

const CRD: &str = r#"{"cpu_usage": 100.0, "ram_available": 22.09, "ram_total": 23.54, "disk_available": 62.86, "disk_total": 251.97}"#;

/// The password of every user, as the first system's agent encodes it in its 43 bytes.
const PASSWORD: &str = "s3cret pass&word";
const FORM: &str = "username=host-a&password=s3cret+pass%26word";

fn limits() -> HttpLimits {
    HttpLimits {
        grace: Duration::from_millis(500),
        ..HttpLimits::default()
    }
}

async fn open(lock: Lock, limits: HttpLimits) -> (Doorway, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let here = ["127.0.0.0/8".parse().unwrap()];
    let http = AgentsHttp {
        listener,
        tls: None,
        from: if lock.is_locked() {
            Vec::new()
        } else {
            here.to_vec()
        },
        commands: true,
        limits,
    };
    let doorway = Doorway::open(|fleet, stop| {
        fleet.commands().keep(20_000);
        http.run(lock, fleet, stop)
    });
    (doorway, at)
}

/// Users: `host-a` and `host-b` are agents, `anna` hands files over.
struct People {
    dir: TempDir,
    lock: Lock,
    /// A token of each, by the name.
    tokens: BTreeMap<&'static str, String>,
    /// A token of `host-b` that has ended.
    expired: String,
}

impl People {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        let users = Users::open_or_begin(&path).unwrap();
        let hash = hash_password(&Secret::from(PASSWORD)).unwrap();
        for (name, role) in [
            ("host-a", UserRole::Agent),
            ("host-b", UserRole::Agent),
            ("anna", UserRole::Sender),
        ] {
            let order = UserOrder::Add {
                name: name.parse().unwrap(),
                role,
                password: hash.clone(),
            };
            users.order(order).unwrap();
        }
        let token = |user: &str, expires: u64| {
            let NewToken { id, text, hash } = NewToken::make();
            let user = user.parse().unwrap();
            let role = users.book(|book| book.user(&user).unwrap().role);
            let token = Token {
                user,
                name: String::new(),
                hash,
                rights: role.rights(),
                created: 0,
                expires: Some(expires),
                from: Vec::new(),
            };
            users.change(|book| book.issue(id, token, 1)).unwrap();
            text.reveal().to_owned()
        };
        let names = ["host-a", "host-b", "anna"];
        let tokens = names.map(|name| (name, token(name, in_an_hour())));
        let expired = token("host-b", 2);
        let accounts = Accounts::open(&path, Vec::new()).unwrap();
        let lock = Lock::with_users(Arc::new(accounts));
        Self {
            dir,
            lock,
            tokens: tokens.into(),
            expired,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("users.json")
    }

    /// What the process knows of the file is read anew from now on.
    fn follow(&self) -> tokio_util::sync::DropGuard {
        let stop = CancellationToken::new();
        let accounts = self.lock.accounts().unwrap().clone();
        tokio::spawn(accounts.follow(stop.clone()));
        stop.drop_guard()
    }
}

fn in_an_hour() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs() + 3600
}

/// Sends bytes, and reads until the other side ends the connection.
async fn exchange(at: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn post(at: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, String) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(at, request.as_bytes()).await;
    (status(&answer), answer)
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1);
    status
        .unwrap_or_else(|| panic!("{answer:?}"))
        .parse()
        .unwrap()
}

fn body(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

const IS_FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

async fn token_for(at: SocketAddr, form: &str) -> (u16, String) {
    post(at, "/token", IS_FORM, form).await
}

/// The handshake of the first system's agent.
fn handshake(path: &str, token: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: kQEnXM9DcnAQa0bXb11lOw==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Authorization: Bearer {token}\r\nUser-Agent: Python/3.11 websockets/13.1\r\n\r\n"
    )
}

/// A connection after its handshake, whose bytes the test writes itself.
async fn raw(at: SocketAddr, path: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream
        .write_all(handshake(path, token).as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    stream
}

async fn connected(at: SocketAddr, path: &str, token: &str) -> WebSocketStream<TcpStream> {
    let stream = raw(at, path, token).await;
    ClientBuilder::new()
        .limits(Limits::unlimited())
        .config(Config::default().frame_size(usize::MAX))
        .take_over(stream)
}

/// A frame as a client sends it: masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(MASKED + u8::try_from(len).unwrap()),
        len if u16::try_from(len).is_ok() => {
            frame.push(MASKED + 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(MASKED + 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

const MASKED: u8 = 0x80;
const TEXT: u8 = 0x01;
const FIN: u8 = 0x80;
const CONTINUED: u8 = 0x00;
const PING: u8 = 0x89;

/// The code of the close frame that comes, after pongs.
async fn close_code(stream: &mut TcpStream) -> u16 {
    loop {
        let (first, length) = (
            stream.read_u8().await.unwrap(),
            stream.read_u8().await.unwrap(),
        );
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload).await.unwrap();
        if first == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
        assert_eq!(first, 0x8a, "{payload:?}");
    }
}

#[tokio::test]
async fn the_first_systems_agent_gets_a_token_and_tells_its_figures() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    // Its request, byte by byte.
    assert_eq!(FORM.len(), 43);
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\nAccept-Encoding: gzip, \
         deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\nContent-Length: \
         43\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{FORM}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let mut read = 0;
    while !answer[..read].ends_with(b"}\n") {
        read += stream.read(&mut answer[read..]).await.unwrap();
    }
    let answer = String::from_utf8(answer[..read].to_vec()).unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    let token = body(&answer);
    assert_eq!(token["token_type"], "bearer");
    assert_eq!(token["expires_in"], 86_400);
    let token = token["access_token"].as_str().unwrap().to_owned();
    // The stray `f` is the original's.
    let mut crd = connected(at, &format!("/crd/?token=f{token}"), &token).await;
    crd.send(Message::text(CRD)).await.unwrap();
    let mut network = connected(at, &format!("/network/?token=f{token}"), &token).await;
    let speeds = r#"{"download_speed": 93.25, "upload_speed": 41.01}"#;
    network.send(Message::text(speeds)).await.unwrap();
    until(|| counts(&doorway.fleet, DoorName::Http).taken == 3).await;
    let member = doorway.fleet.find("agent:host-a").unwrap();
    assert_eq!(
        (member.trust, member.source),
        (Trust::Proved, Source::Token)
    );
    assert_eq!(doorway.fleet.members().len(), 1);
    doorway.close().await;
}

/// It held its place for as long as it liked.
#[tokio::test]
async fn a_peer_that_asks_and_never_reads_loses_its_place() {
    let limits = HttpLimits {
        stall: Duration::from_millis(300),
        ..limits()
    };
    let (doorway, at) = open(Lock::off_at_balancer(), limits).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(at).await.unwrap();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\n{IS_FORM}Content-Length: {}\r\n\r\n{FORM}",
        FORM.len()
    );
    let requests = request.repeat(100);
    let asking = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    // After half a minute the system itself would end it.
    let ended = timeout(Duration::from_secs(15), asking).await;
    assert!(ended.is_ok(), "it is still connected");
    doorway.close().await;
}

#[tokio::test]
async fn a_client_is_a_user_and_its_secret_a_password_or_a_token() {
    let people = People::new();
    let [mine, others, annas] =
        ["host-a", "host-b", "anna"].map(|name| people.tokens[name].clone());
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let client = |secret: &str| {
        format!("grant_type=client_credentials&client_id=host-a&client_secret={secret}")
    };
    let (code, answer) = token_for(at, &client("s3cret+pass%26word")).await;
    assert_eq!(code, 200, "{answer}");
    assert!(
        body(&answer)["access_token"]
            .as_str()
            .unwrap()
            .starts_with("bil_")
    );
    // A token is its own access token.
    let (code, answer) = token_for(at, &client(&mine)).await;
    assert_eq!(
        (code, &body(&answer)["access_token"]),
        (200, &mine.clone().into())
    );
    let left = body(&answer)["expires_in"].as_u64().unwrap();
    assert!((3590..=3600).contains(&left), "{left}");
    // By Basic, in either case.
    let basic = |pair: &str| {
        let pair = base64ct::Base64::encode_string(pair.as_bytes());
        format!("{IS_FORM}Authorization: Basic {pair}\r\n")
    };
    let grant = "grant_type=client_credentials";
    let headers = basic("host-a:s3cret+pass%26word");
    assert_eq!(post(at, "/token", &headers, grant).await.0, 200);
    let headers = basic(&format!("host-a:{mine}"));
    assert_eq!(post(at, "/token", &headers, grant).await.0, 200);

    let (code, answer) = post(at, "/token", &basic("host-a:wrong"), grant).await;
    assert_eq!(
        (code, &body(&answer)["error"]),
        (401, &"invalid_client".into())
    );
    assert!(answer.contains("www-authenticate: Basic"), "{answer}");
    for form in [
        client("wrong"),
        client(&others),
        client(&format!("{mine}x")),
        "username=host-a&password=wrong".to_owned(),
        "username=nobody&password=wrong".to_owned(),
    ] {
        let (code, answer) = token_for(at, &form).await;
        assert_eq!(
            (code, &body(&answer)["error"]),
            (400, &"invalid_grant".into())
        );
        assert!(body(&answer)["detail"].is_string());
        assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    }
    // Who may hand files over may not report.
    for form in [
        format!("grant_type=client_credentials&client_id=anna&client_secret={annas}"),
        "username=anna&password=s3cret+pass%26word".to_owned(),
    ] {
        let (code, answer) = token_for(at, &form).await;
        assert_eq!(
            (code, &body(&answer)["error"]),
            (400, &"unauthorized_client".into())
        );
    }
    let (code, answer) = token_for(at, "grant_type=authorization_code").await;
    assert_eq!(
        (code, &body(&answer)["error"]),
        (400, &"unsupported_grant_type".into())
    );
    let long = format!("username=a&password={}", "x".repeat(5000));
    assert_eq!(token_for(at, &long).await.0, 413);
    assert_eq!(post(at, "/token", "", FORM).await.0, 400);
    doorway.close().await;
}

#[tokio::test]
async fn whoever_guesses_has_to_wait() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let mut codes = BTreeMap::new();
    for _ in 0..8 {
        let (code, answer) = token_for(at, "username=host-a&password=wrong").await;
        if code == 429 {
            assert!(answer.contains("retry-after: "), "{answer}");
        }
        *codes.entry(code).or_insert(0) += 1;
    }
    assert!((5..=6).contains(&codes[&400]), "{codes:?}");
    assert!(codes[&429] >= 1, "{codes:?}");
    doorway.close().await;
}

#[tokio::test]
async fn a_handshake_without_a_good_token_is_told_why() {
    let people = People::new();
    let [good, annas] = ["host-a", "anna"].map(|name| people.tokens[name].clone());
    let expired = people.expired.clone();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let asks = |change: fn(String) -> String, token: &str| {
        let request = change(handshake("/crd/", token));
        async move { exchange(at, request.as_bytes()).await }
    };
    let as_it_is = |request| request;
    let stranger = NewToken::make().text;
    let misspelt = good.replace("bil_", "fbil_");
    for (token, part) in [
        (stranger.reveal(), "the token is not good here"),
        (&*expired, "the token is not good here"),
        (&*misspelt, "misspelt or cut"),
        ("", "misspelt or cut"),
    ] {
        let answer = asks(as_it_is, token).await;
        assert_eq!(status(&answer), 401, "{answer}");
        assert!(
            answer.contains(part) && answer.contains("www-authenticate: Bearer"),
            "{answer}"
        );
    }
    let answer = asks(as_it_is, &annas).await;
    assert_eq!(status(&answer), 403, "{answer}");
    assert!(answer.contains("this takes the right `report`"), "{answer}");
    // A token in the query is none.
    let without = |request: String| {
        let lines = request.split("\r\n");
        let lines: Vec<_> = lines
            .filter(|line| !line.starts_with("Authorization"))
            .collect();
        lines.join("\r\n")
    };
    let in_query = without(handshake(&format!("/crd/?token={good}"), "x"));
    let answer = exchange(at, in_query.as_bytes()).await;
    assert_eq!(status(&answer), 401, "{answer}");
    // A page may not, whatever it shows.
    let page =
        |request: String| request.replace("\r\nUser-Agent", "\r\nOrigin: http://x\r\nUser-Agent");
    let answer = asks(page, &good).await;
    assert_eq!(status(&answer), 403, "{answer}");
    let answer = asks(
        |request| request.replace("Version: 13", "Version: 8"),
        &good,
    )
    .await;
    assert_eq!(status(&answer), 426, "{answer}");
    let answer = exchange(at, handshake("/other/", &good).as_bytes()).await;
    assert_eq!(status(&answer), 404, "{answer}");
    assert!(doorway.fleet.members().is_empty());
    doorway.close().await;
}

#[tokio::test]
async fn frames_may_come_in_pieces_with_pings_between() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let mut stream = raw(at, "/crd/?token=f", "x").await;
    let (a, rest) = CRD.as_bytes().split_at(10);
    let (b, c) = rest.split_at(30);
    let bytes = [
        frame(TEXT, a),
        frame(PING, b"1"),
        frame(CONTINUED, b),
        frame(PING, b"2"),
        frame(FIN | CONTINUED, c),
    ]
    .concat();
    // Byte by byte.
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    until(|| doorway.fleet.members().len() == 1).await;
    let member = doorway.fleet.find("source:127.0.0.1").unwrap();
    assert_eq!(
        (member.trust, member.source),
        (Trust::Claimed, Source::Posted)
    );
    assert_eq!(member.facts.cpu, Some(1.0));
    let mut pongs = [0; 6];
    stream.read_exact(&mut pongs).await.unwrap();
    assert_eq!(&pongs, b"\x8a\x011\x8a\x012");
    doorway.close().await;
    assert_eq!(close_code(&mut stream).await, 1001);
}

#[tokio::test]
async fn what_is_too_large_or_breaks_the_rules_ends_the_connection_with_a_code() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let large = vec![b' '; MAX_MESSAGE + 1];
    let half = vec![b' '; MAX_MESSAGE / 2 + 1];
    let cases: [(Vec<u8>, u16); 7] = [
        (frame(FIN | TEXT, &large), 1009),
        // Each piece is small enough, and all of them are not.
        (
            [frame(TEXT, &half), frame(FIN | CONTINUED, &half)].concat(),
            1009,
        ),
        // A length of 2^63 bytes: nothing is set aside for it.
        (
            [&[FIN | TEXT, 0xff, 0x7f][..], &[255; 7], &[0; 4]].concat(),
            1009,
        ),
        // Not masked.
        (b"\x81\x02{}".to_vec(), 1002),
        // A reserved bit, a reserved opcode, a piece of nothing.
        (frame(0xc1, b"{}"), 1002),
        (frame(0x83, b"{}"), 1002),
        (frame(FIN | CONTINUED, b"{}"), 1002),
    ];
    for (place, (bytes, code)) in cases.into_iter().enumerate() {
        let mut stream = raw(at, "/crd/", "x").await;
        let _ = stream.write_all(&bytes).await;
        assert_eq!(close_code(&mut stream).await, code, "case {place}");
    }
    assert!(doorway.fleet.members().is_empty());
    doorway.close().await;
}

#[tokio::test]
async fn bad_messages_are_counted_and_the_next_good_one_is_taken() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let mut socket = connected(at, "/crd/", "x").await;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for bad in [
        "{}",
        "[]",
        "1",
        "x",
        r#"{"cpu_usage": -1}"#,
        r#"{"cpu_usage": NaN}"#,
        &deep,
    ] {
        socket.send(Message::text(bad.to_owned())).await.unwrap();
    }
    socket.send(Message::binary(CRD.as_bytes())).await.unwrap();
    socket.send(Message::text(CRD)).await.unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let count = counts(&doorway.fleet, DoorName::Http);
    let expected = [
        ("a field of the wrong type", 0),
        ("an impossible figure", 1),
        ("nested too deeply", 1),
        ("no JSON object", 4),
        ("no figures", 1),
        ("no text", 1),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!((count.taken, count.refused), (1, expected));
    doorway.close().await;
}

/// Each start had a new token, and the 33rd ended the connections of the first.
#[tokio::test]
async fn an_agent_that_starts_often_gets_its_token_again() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let token = async || {
        let (code, answer) = token_for(at, FORM).await;
        assert_eq!(code, 200, "{answer}");
        let left = body(&answer)["expires_in"].as_u64().unwrap();
        assert!((86_300..=86_400).contains(&left), "{left}");
        body(&answer)["access_token"].as_str().unwrap().to_owned()
    };
    let first = token().await;
    let written = std::fs::read(people.path()).unwrap();
    assert_eq!(token().await, first);
    assert_eq!(std::fs::read(people.path()).unwrap(), written);
    // Not for the wrong password, and not one that was revoked.
    let (code, _) = token_for(at, "username=host-a&password=wrong").await;
    assert_eq!(code, 400);
    let (id, _) = DatagramKey::of_token(&Secret::from(&*first)).unwrap();
    let users = Users::open(&people.path()).unwrap();
    users.change(|book| book.revoke(&id, None)).unwrap();
    let second = token().await;
    assert_ne!(second, first);
    assert_eq!(token().await, second);
    // Nor to one who may not report any more.
    let order = UserOrder::Change {
        name: "host-a".parse().unwrap(),
        change: Change {
            role: Some(UserRole::Sender),
            ..Change::default()
        },
    };
    users.order(order).unwrap();
    assert_eq!(token_for(at, FORM).await.0, 400);
    doorway.close().await;
}

#[tokio::test]
async fn native_facts_come_at_metrics() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let (_, answer) = token_for(at, FORM).await;
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let mut socket = connected(at, "/metrics", &token).await;
    let facts = r#"{"every_s": 1.0, "cpu": 0.5, "memory_used": 10, "memory_total": 20}"#;
    socket.send(Message::text(facts)).await.unwrap();
    until(|| doorway.fleet.members().len() == 1).await;
    let member = doorway.fleet.find("agent:host-a").unwrap();
    assert_eq!(member.facts.memory_total, Some(20));
    doorway.close().await;
}

#[tokio::test]
async fn a_token_that_ends_ends_the_connection() {
    let people = People::new();
    let _following = people.follow();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let (_, answer) = token_for(at, FORM).await;
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let mut revoked = raw(at, "/crd/", &token).await;
    let (id, _) = DatagramKey::of_token(&Secret::from(&*token)).unwrap();
    let users = Users::open(&people.path()).unwrap();
    users.change(|book| book.revoke(&id, None)).unwrap();
    assert_eq!(close_code(&mut revoked).await, 1008);
    let (_, answer) = token_for(at, FORM).await;
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let mut disabled = raw(at, "/crd/", &token).await;
    let order = UserOrder::Change {
        name: "host-a".parse().unwrap(),
        change: Change {
            disabled: Some(true),
            ..Change::default()
        },
    };
    users.order(order).unwrap();
    assert_eq!(close_code(&mut disabled).await, 1008);
    doorway.close().await;
}

#[tokio::test]
async fn silence_is_asked_about_and_ends_at_last() {
    let limits = HttpLimits {
        ping: Duration::from_millis(100),
        idle: Duration::from_millis(700),
        ..limits()
    };
    let (doorway, at) = open(Lock::off_at_balancer(), limits).await;
    let mut stream = raw(at, "/crd/", "x").await;
    let mut ping = [0; 2];
    stream.read_exact(&mut ping).await.unwrap();
    // It is not answered, and there is no other.
    assert_eq!(ping, [0x89, 0]);
    assert_eq!(close_code(&mut stream).await, 1008);
    doorway.close().await;
}

#[tokio::test]
async fn a_history_is_stored_once_and_never_answered() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    let (_, answer) = token_for(at, FORM).await;
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let mut socket = connected(at, &format!("/history/?token={token}"), &token).await;
    for round in 0..3 {
        for line in 0..2000 {
            let line = format!(
                r#"{{"user": "root", "command": "ls -la {line}", "created_at": "2026-11-25 04:23:0{round}"}}"#
            );
            socket.feed(Message::text(line)).await.unwrap();
        }
        socket.flush().await.unwrap();
    }
    until(|| counts(&doorway.fleet, DoorName::Http).taken == 6001).await;
    let who = Identity::Agent("host-a".into());
    let commands = doorway.fleet.commands().of(&who);
    assert_eq!(commands.len(), 2000);
    assert_eq!(&*commands[1999].command, "ls -la 1999");
    // Whoever tells nothing else is a member all the same.
    doorway.fleet.find("agent:host-a").unwrap();
    let mut one = [0];
    let answered = socket.get_mut().try_read(&mut one);
    assert_eq!(answered.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    doorway.close().await;
}

/// Lines were once kept of somebody whom the fleet had no place for: nobody would ever forget them.
#[tokio::test]
async fn of_who_is_no_member_no_command_is_kept() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    for number in 0..MAX_CLAIMS {
        let told = Told {
            who: Identity::Instance(format!("host-{number}").into()),
            name: None,
            source: Source::Posted,
            trust: Trust::Claimed,
            peer: None,
            every: Duration::from_secs(10),
            facts: Facts::default(),
        };
        doorway.fleet.told(told).unwrap();
    }
    let mut socket = connected(at, "/history/", "x").await;
    let line = r#"{"user": "root", "command": "ls", "created_at": "2026-11-25 04:23:08"}"#;
    for _ in 0..3 {
        socket.send(Message::text(line)).await.unwrap();
    }
    let refused = || counts(&doorway.fleet, DoorName::Http).refused;
    until(|| refused().get("too many members") == Some(&3)).await;
    let who = Identity::Source(at.ip());
    assert_eq!(doorway.fleet.commands().of(&who), []);
    doorway.close().await;
}

#[tokio::test]
async fn commands_are_taken_only_where_they_are_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let http = AgentsHttp {
        listener,
        tls: None,
        from: vec!["127.0.0.0/8".parse().unwrap()],
        commands: false,
        limits: limits(),
    };
    let doorway = Doorway::open(|fleet, stop| http.run(Lock::off_at_balancer(), fleet, stop));
    let answer = exchange(at, handshake("/history/", "x").as_bytes()).await;
    assert_eq!(status(&answer), 403, "{answer}");
    assert!(answer.contains("--agents-commands"), "{answer}");
    doorway.close().await;
}

const INGEST: &str = r#"{"client_id": "host-x", "metrics": {"cpu": {"per_core": [3.2, 100.0], "avg": 52.1}, "memory": {"total": 25276514304, "used": 1757216768, "free": 23519297536, "percent": 7.0}, "disk": {"total": 270553174016, "used": 29637013504, "free": 67935735808, "percent": 30.4, "read_bytes_per_s": 43970.8, "write_bytes_per_s": 5032216.1}, "net": {"bytes_sent_per_s": 1120.8, "bytes_recv_per_s": 980.1}}, "timestamp": 1795580531.53}"#;

#[tokio::test]
async fn figures_that_are_posted_are_claims_without_a_token() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let json = "Content-Type: application/json\r\n";
    let (code, answer) = post(at, "/ingest", json, INGEST).await;
    assert_eq!((code, body(&answer)), (200, json!({"status": "ok"})));
    let other = INGEST.replace("host-x", "host-y");
    assert_eq!(post(at, "/ingest", json, &other).await.0, 200);
    let member = doorway.fleet.find("instance:host-x").unwrap();
    assert_eq!((member.trust, &*member.name), (Trust::Claimed, "host-x"));
    assert_eq!(doorway.fleet.members().len(), 2);
    for bad in [
        "{}",
        "[]",
        "1",
        "x",
        &INGEST.replace("52.1", "-1"),
        &INGEST.replace("host-x", ""),
    ] {
        let (code, answer) = post(at, "/ingest", json, bad).await;
        assert_eq!(code, 422, "{bad}");
        assert!(body(&answer)["detail"].is_array());
    }
    let large = " ".repeat(MAX_MESSAGE + 1);
    assert_eq!(post(at, "/ingest", json, &large).await.0, 413);
    let get = exchange(at, b"GET /ingest HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&get), 405);
    doorway.close().await;
}

#[tokio::test]
async fn where_there_are_users_posting_takes_a_token_and_the_token_says_who() {
    let people = People::new();
    let (doorway, at) = open(people.lock.clone(), limits()).await;
    assert_eq!(post(at, "/ingest", "", INGEST).await.0, 401);
    let (_, answer) = token_for(at, FORM).await;
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let headers = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(post(at, "/ingest", &headers, INGEST).await.0, 200);
    let members = doorway.fleet.members();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (&*members[0].id, members[0].trust),
        ("agent:host-a", Trust::Proved)
    );
    doorway.close().await;
}

#[tokio::test]
async fn without_users_a_token_is_given_that_nobody_looks_at() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let (code, answer) = token_for(at, FORM).await;
    assert_eq!(
        (code, &body(&answer)["token_type"]),
        (200, &"bearer".into())
    );
    doorway.close().await;
}

#[tokio::test]
async fn one_agent_has_sixteen_connections_at_most() {
    let (doorway, at) = open(Lock::off_at_balancer(), limits()).await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(raw(at, "/crd/", "x").await);
    }
    let answer = exchange(at, handshake("/crd/", "x").as_bytes()).await;
    assert_eq!(status(&answer), 429, "{answer}");
    all.pop();
    let mut next = 0;
    while next != 101 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream
            .write_all(handshake("/crd/", "x").as_bytes())
            .await
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        next = status(std::str::from_utf8(&head).unwrap());
    }
    doorway.close().await;
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_end() {
    let limits = HttpLimits {
        head: Duration::from_millis(200),
        body: Duration::from_millis(200),
        ..limits()
    };
    let (doorway, at) = open(Lock::off_at_balancer(), limits).await;
    let answer = exchange(at, b"POST /token HTTP/1.1\r\nHost: x").await;
    assert!(answer.is_empty() || status(&answer) == 408, "{answer}");
    let request = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    let answer = exchange(at, request.as_bytes()).await;
    assert_eq!(status(&answer), 408, "{answer}");
    let many = "X: y\r\n".repeat(100);
    let answer = exchange(at, format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert_eq!(status(&answer), 431, "{answer}");
    doorway.close().await;
}
