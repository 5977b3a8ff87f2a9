//! `bilico agent`, against peers that speak byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bilico::access::{DatagramKey, Lock};
use bilico::doors::http::{AgentsHttp, HttpLimits};
use bilico::doors::udp;
use bilico::fleet::Fleet;
use bilico::fleet::datagram::Sealed;
use bilico::fleet_core::{MemberReport, Trust};
use bilico::secret::Secret;
use bilico_testkit::{DEADLINE, HungMount, PREFACE, Role, Running, Wire, bilico, http, wait_for};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A token as `bilico token create` makes them.
const TOKEN: &str = "bil_k3x9q2ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACKkTaq";

fn agent(args: &[&str]) -> Running {
    Running::start(&mut bilico(&[&["agent", "--every", "1s"], args].concat()))
}

fn token_file(dir: &Path) -> PathBuf {
    let path = dir.join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A balancer's port, in the test's hands.
struct Port(TcpListener);

impl Port {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    fn accept(&self) -> Wire {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Wire(stream)
    }

    /// Greets an agent, and gives its greeting.
    fn greet(&self) -> (Wire, Value) {
        let mut wire = self.accept();
        let (hello, _) = wire.greeting();
        wire.write(&PREFACE);
        wire.say(
            &json!({"request_type": "hello", "role": "balancer", "challenge": "0f".repeat(16)}),
        );
        (wire, serde_json::from_str(&hello).unwrap())
    }

    /// Lets an agent in that wants to register.
    fn register(&self, beat_ms: u64) -> (Wire, Value) {
        let (mut wire, hello) = self.greet();
        assert_eq!(hello["role"], "agent");
        let (register, _) = wire.message().unwrap();
        assert_eq!(register["request_type"], "register");
        wire.say(&json!({
            "request_type": "registered", "name": "host-a", "ttl_ms": 15_000, "beat_ms": beat_ms,
        }));
        (wire, register)
    }
}

/// The facts of the next beat that has some.
fn next_facts(wire: &mut Wire) -> Value {
    loop {
        let (header, content) = wire.message().unwrap();
        assert_eq!(header["request_type"], "beat");
        if !content.is_empty() {
            return serde_json::from_slice(&content).unwrap();
        }
    }
}

#[test]
fn an_agent_registers_beats_and_leaves() {
    let port = Port::new();
    let dir = tempfile::tempdir().unwrap();
    let token = token_file(dir.path());
    let to = port.address();
    let args = [
        "--to",
        &to,
        "--name",
        "host-a",
        "--token-file",
        token.to_str().unwrap(),
    ];
    let agent = agent(&args);
    let (mut wire, register) = port.register(5000);
    assert_eq!(register["name"], "host-a");
    assert_eq!(register["every_ms"], 1000);
    assert!(register["address"].is_null());
    let facts = next_facts(&mut wire);
    assert!(
        facts["cpu"].is_number() && facts["memory_total"].is_number(),
        "{facts}"
    );
    next_facts(&mut wire);
    agent.wait_for_error(&format!(
        "telling {to} the figures of this host every 1 s, as host-a"
    ));

    // The balancer restarts: the agent comes back.
    drop(wire);
    let (mut wire, _) = port.register(5000);
    next_facts(&mut wire);
    agent.signal("TERM");
    let reason = loop {
        let (header, _) = wire.message().unwrap();
        if header["request_type"] == "leave" {
            break header["reason"].clone();
        }
    };
    assert_eq!(reason, "the agent stops");
    wire.say(&json!({"request_type": "bye", "code": "stopping", "reason": "gone"}));
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("; it is tried again"), "{ended:?}");
}

/// Between figures that are far apart it says that it is there.
#[test]
fn an_agent_that_tells_rarely_beats_as_often_as_it_is_asked_to() {
    let port = Port::new();
    let to = port.address();
    let command = ["agent", "--to", &to, "--every", "1h"];
    let _agent = Running::start(&mut bilico(&command));
    let (mut wire, _) = port.register(1000);
    next_facts(&mut wire);
    for _ in 0..2 {
        let (header, content) = wire.message().unwrap();
        assert_eq!(
            (&header["request_type"], content.len()),
            (&json!("beat"), 0)
        );
    }
}

#[test]
fn an_agent_says_why_it_is_refused_and_tries_again() {
    let port = Port::new();
    let to = port.address();
    let agent = agent(&["--to", &to]);
    for _ in 0..2 {
        let (mut wire, _) = port.greet();
        wire.message().unwrap();
        wire.say(&json!({
            "request_type": "bye", "code": "unauthorized", "reason": "show a token\u{1b}[2J",
        }));
    }
    let said = agent.wait_for_error("does not take the figures");
    let expected = format!("warning: {to} does not take the figures: show a token");
    assert!(said.contains(&expected), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    let (_wire, _) = port.register(5000);
    let said = agent.wait_for_error("as host-a");
    assert_eq!(
        said.matches("show a token").count(),
        1,
        "once for each reason: {said}"
    );
}

/// A mount whose server is gone stops nothing but the figures of that mount.
#[test]
fn a_mount_that_hangs_stops_nothing() {
    let Some(mount) = HungMount::new() else {
        return;
    };
    let port = Port::new();
    let to = port.address();
    let agent = agent(&["--to", &to, "--directory", mount.path().to_str().unwrap()]);
    let (mut wire, _) = port.register(5000);
    let mut trouble = None;
    for _ in 0..6 {
        let asked = Instant::now();
        let facts = next_facts(&mut wire);
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert!(
            facts["cpu"].is_number() && facts["disk_total"].is_null(),
            "{facts}"
        );
        trouble = trouble.or_else(|| facts["disk_trouble"].as_str().map(str::to_owned));
    }
    let trouble = trouble.expect("it says nothing of the mount");
    assert!(trouble.starts_with("hung since 20"), "{trouble}");
    let threads = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let asking = threads.flatten().filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.trim() == "disk-space"
    });
    assert_eq!(asking.count(), 1);
    // It ends, though its thread waits for ever.
    agent.signal("TERM");
    drop(wire);
    assert_eq!(agent.wait().code, Some(0));
}

#[test]
fn datagrams_are_those_of_the_first_system_or_signed() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let to = format!("udp://{}", socket.local_addr().unwrap());
    let mut buffer = vec![0; 8193];
    {
        let agent = agent(&["--to", &to]);
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let told: Value = serde_json::from_slice(&buffer[..length]).unwrap();
        for (object, field) in [
            ("cpu", "media"),
            ("memoria", "livre_MB"),
            ("disco", "uso_total_GB"),
            ("rede", "pacotes_perdidos"),
        ] {
            assert!(told[object][field].is_number(), "{told}");
        }
        agent.wait_for_error("nobody answers datagrams");
    }
    while socket.set_nonblocking(true).is_ok() && socket.recv_from(&mut buffer).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token = token_file(dir.path());
    let _agent = agent(&["--to", &to, "--token-file", token.to_str().unwrap()]);
    let (_, key) = DatagramKey::of_token(&Secret::from(TOKEN)).unwrap();
    let mut runs = Vec::new();
    for seq in 1..=2 {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let sealed = Sealed::read(&buffer[..length]).unwrap();
        assert!(sealed.is_by(&key));
        let datagram = sealed.into_datagram();
        assert_eq!(datagram.seq, seq);
        assert!(datagram.facts.cpu.is_some());
        runs.push(datagram.boot);
    }
    assert_eq!(runs[0], runs[1]);
}

/// One side of an HTTP conversation.
fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.extend(byte);
    }
    String::from_utf8(text).unwrap()
}

/// A masked text frame, read by hand.
fn text_frame(stream: &mut TcpStream) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(
        (head[0], head[1] & 0x80),
        (0x81, 0x80),
        "a masked text frame"
    );
    let length = match head[1] & 0x7f {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            u16::from_be_bytes(length).into()
        }
        length => usize::from(length),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).unwrap();
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[place % 4];
    }
    String::from_utf8(payload).unwrap()
}

/// Answers a WebSocket handshake.
fn upgrade(stream: &mut TcpStream, asked: &str) {
    use base64ct::Encoding;
    use sha1::Digest;
    let key = asked
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    let over = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64ct::Base64::encode_string(&sha1::Sha1::digest(over.as_bytes()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).unwrap();
}

#[test]
fn figures_go_over_websocket_with_a_token_that_was_asked_for() {
    let port = Port::new();
    let dir = tempfile::tempdir().unwrap();
    let token = token_file(dir.path());
    let to = format!("ws://{}", port.address());
    let user = ["--user", "host a", "--token-file", token.to_str().unwrap()];
    let agent = agent(&[&["--to", &to], &user[..]].concat());

    // The first secret is refused, in words.
    let mut stream = port.accept().0;
    request(&mut stream);
    let body = r#"{"error":"invalid_grant","error_description":"wrong secret"}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).unwrap();
    agent.wait_for_error("the request for a token is answered with status 400: wrong secret");

    let mut stream = port.accept().0;
    let asked = request(&mut stream);
    assert!(asked.starts_with("POST /token HTTP/1."), "{asked}");
    let form = format!(
        "grant_type=client_credentials&client_id=host%20a&client_secret={}",
        TOKEN.replace('_', "%5F")
    );
    let mut sent = vec![0; form.len()];
    stream.read_exact(&mut sent).unwrap();
    assert_eq!(String::from_utf8(sent).unwrap(), form);
    let body = r#"{"access_token":"t0k.en","token_type":"bearer","expires_in":60}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).unwrap();

    let mut stream = port.accept().0;
    let asked = request(&mut stream);
    assert!(asked.starts_with("GET /metrics HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("\r\nAuthorization: Bearer t0k.en\r\n"),
        "{asked}"
    );
    upgrade(&mut stream, &asked);
    let told: Value = serde_json::from_str(&text_frame(&mut stream)).unwrap();
    assert_eq!(told["every_s"], 1.0);
    assert!(
        told["cpu"].is_number() && told["memory_used"].is_number(),
        "{told}"
    );
    agent.wait_for_error("telling ws://");
    text_frame(&mut stream);
}

#[test]
fn old_words_go_over_websocket_too() {
    let port = Port::new();
    let to = format!("http://{}", port.address());
    let agent = agent(&["--to", &to, "--dialect", "old"]);
    let mut stream = port.accept().0;
    request(&mut stream);
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nshow a token";
    stream.write_all(answer.as_bytes()).unwrap();
    agent.wait_for_error("WebSocket is answered with status 401: show a token");
    let mut stream = port.accept().0;
    let asked = request(&mut stream);
    assert!(asked.starts_with("GET /crd/ HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("Authorization"), "{asked}");
    upgrade(&mut stream, &asked);
    let told: Value = serde_json::from_str(&text_frame(&mut stream)).unwrap();
    for field in [
        "cpu_usage",
        "ram_available",
        "ram_total",
        "disk_available",
        "disk_total",
    ] {
        assert!(told[field].is_number(), "{told}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for (args, expected) in [
        (&["--to", "wss://b:1"][..], "pass --ca FILE"),
        (&["--to", "b"], "has no port"),
        (
            &["--dialect", "old"],
            "--dialect old is for udp://, wss:// and ws://",
        ),
        (&["--user", "x"], "--user is for wss:// and ws://"),
        (
            &["--to", "ws://127.0.0.1:1", "--user", "x"],
            "--user needs a secret",
        ),
        (
            &["--to", "udp://127.0.0.1:1", "--ca", "ca.pem"],
            "--ca is for HOST:PORT and wss://",
        ),
        (
            &["--to", "ws://127.0.0.1:1", "--ca", "ca.pem"],
            "say `wss://`",
        ),
        (
            &["--to", "wss://127.0.0.1:1", "--ca", "ca.pem", "--name", "x"],
            "--name is for HOST:PORT",
        ),
        (
            &["--to", "udp://127.0.0.1:1", "--name", "x"],
            "--name is for HOST:PORT",
        ),
        (
            &["--to", "ws://127.0.0.1:1", "--register-secret-file", "x"],
            "--register-secret-file is for HOST:PORT",
        ),
        (&["--every", "10ms"], "between 1s and 1h"),
        (&["--name", ""], "a name has 1 to 64 bytes"),
    ] {
        let ended = bilico_testkit::run(&mut bilico(&[&["agent"], args].concat()), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{args:?}: {ended:?}");
    }
}

/// A token that has no meaning, or that cannot sign, is refused at once: nobody answers datagrams.
#[test]
fn a_token_that_signs_nothing_is_a_usage_error() {
    let to = ["agent", "--to", "udp://127.0.0.1:1"];
    for (token, flags, expected) in [
        ("s3cret", &[][..], "it cannot sign"),
        (
            TOKEN,
            &["--dialect", "old"],
            "a token is for signed datagrams",
        ),
    ] {
        let mut command = bilico(&[&to, flags].concat());
        let ended = bilico_testkit::run(command.env("BILICO_TOKEN", token), "");
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
        assert!(!ended.stderr.contains(token), "{ended:?}");
    }
}

/// The agent once took the token that a person's login had saved, even for another port of the host,
/// and showed it to whoever listened there.
#[test]
fn a_token_that_a_login_has_saved_is_not_shown() {
    let port = Port::new();
    let home = tempfile::tempdir().unwrap();
    let tokens = home.path().join("bilico/tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    let saved = token_file(&tokens);
    for place in [port.address(), "127.0.0.1:60002".to_owned()] {
        std::fs::copy(&saved, tokens.join(place)).unwrap();
    }
    let to = format!("ws://{}", port.address());
    let mut command = bilico(&["agent", "--to", &to, "--every", "1s", "--dialect", "old"]);
    let _agent = Running::start(command.env("XDG_CONFIG_HOME", home.path()));
    let asked = request(&mut port.accept().0);
    assert!(asked.starts_with("GET /crd/ HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("Authorization"), "{asked}");
}

/// A name has several addresses, and somebody listens at the last of them only.
#[test]
fn datagrams_find_the_address_at_which_somebody_listens() {
    use std::net::ToSocketAddrs;
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let place = format!("localhost:{port}");
    let last = place.to_socket_addrs().unwrap().last().unwrap();
    let socket = UdpSocket::bind(last).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let _agent = agent(&["--to", &format!("udp://{place}")]);
    assert!(socket.recv_from(&mut [0; 8193]).unwrap().0 > 0);
}

/// The doorways of a balancer, in this process.
struct DoorsHere {
    runtime: tokio::runtime::Runtime,
    fleet: Fleet,
    stop: CancellationToken,
}

impl DoorsHere {
    fn new() -> Self {
        Self {
            runtime: crate::in_process::runtime(4),
            fleet: Fleet::default(),
            stop: CancellationToken::new(),
        }
    }

    /// The member that tells figures.
    fn member(&self) -> MemberReport {
        wait_for("a member with figures", || {
            let mut members = self.fleet.members().into_iter();
            members.find(|member| member.facts.memory_total.is_some())
        })
    }
}

impl Drop for DoorsHere {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The agent and the real doorways.
#[test]
fn the_doorways_take_what_the_agent_says() {
    let doors = DoorsHere::new();
    let own = vec!["127.0.0.0/8".parse().unwrap()];
    let (udp, at) = doors
        .runtime
        .block_on(udp::bind("127.0.0.1:0", own.clone()))
        .unwrap();
    let lock = Lock::off_at_balancer();
    let taking = udp.run(lock.clone(), doors.fleet.clone(), doors.stop.clone());
    doors.runtime.spawn(taking);
    let agent_by_udp = agent(&["--to", &format!("udp://{at}")]);
    let member = doors.member();
    assert_eq!(
        (&*member.id, member.trust),
        ("source:127.0.0.1", Trust::Claimed)
    );
    assert!(member.facts.disk_total.is_some() && !member.facts.cores.is_empty());
    drop(agent_by_udp);

    let web = DoorsHere::new();
    let listener = web
        .runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let at = listener.local_addr().unwrap();
    let http = AgentsHttp {
        listener,
        tls: None,
        from: own,
        commands: false,
        limits: HttpLimits::default(),
    };
    let taking = http.run(lock, web.fleet.clone(), web.stop.clone());
    web.runtime.spawn(taking);
    let agent_by_web = agent(&["--to", &format!("ws://{at}")]);
    let member = web.member();
    assert!(member.facts.uptime_s.is_some(), "{member:?}");
    agent_by_web.wait_for_error("telling ws://");
}

/// The agent at a balancer's own port, as people see it there.
#[test]
fn a_balancer_shows_what_an_agent_tells() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["balancer", "--listen", "127.0.0.1:0", "--join", "loopback"];
    let balancer = Role::start(dir.path(), &flags);
    let told = agent(&["--to", &balancer.address, "--name", "host-b"]);
    let member = wait_for("the member", || {
        let answer = http(&balancer, "GET", "/api/v1/fleet/host-b", None);
        let member: Value = serde_json::from_slice(&answer.body).ok()?;
        member["facts"]["cpu"].is_number().then_some(member)
    });
    assert_eq!(member["name"], "host-b");
    assert_eq!(member["capabilities"]["files"], false, "{member}");
    // Its figures come each second, its words without any every five.
    let path = "/api/v1/fleet/host-b/history?over=5m";
    let history: Value = serde_json::from_slice(&http(&balancer, "GET", path, None).body).unwrap();
    assert_eq!(history["step_s"], 5, "{history}");
    told.signal("TERM");
    assert_eq!(told.wait().code, Some(0));
}
