//! Who may not register is told why, counted, and changes nothing.

use std::io::Read;

use bilico::protocol::Proof;
use bilico::secret::Secret;
use bilico_testkit::{Role, Wire, bilico, frame, run, start_balancer, wait_until};
use serde_json::{Value, json};

use super::helpers::{Place, secret_in};

const IDENTITY: &str = "0123456789abcdef0123456789abcdef";

/// Says hello with a role, then this; gives the balancer's answers to both, each with its request
/// type.
fn say(address: &str, role: &str, header: &Value) -> Vec<Value> {
    say_with(address, role, |_| header.clone())
}

/// The same with what follows from the challenge.
fn say_with(address: &str, role: &str, header: impl FnOnce(&str) -> Value) -> Vec<Value> {
    let mut wire = Wire::connect(address);
    let mut out = b"\xB1ILICO\x00\x01".to_vec();
    let hello = json!({"request_type": "hello", "role": role, "identity": IDENTITY});
    out.extend(frame(&hello.to_string(), b""));
    wire.write(&out);
    let mut preface = [0; 8];
    let mut answers = Vec::new();
    wire.0.read_exact(&mut preface).unwrap();
    let Some((first, _)) = wire.message() else {
        return answers;
    };
    let is_in = first["request_type"] == "hello";
    let header = header(first["challenge"].as_str().unwrap_or_default());
    answers.push(first);
    if is_in {
        wire.write(&frame(&header.to_string(), b""));
        answers.extend(wire.message().map(|(answer, _)| answer));
    }
    answers
}

#[track_caller]
fn refused(answers: &[Value], code: &str, word: &str) {
    let last = answers.last().expect("an answer");
    assert_eq!(last["request_type"], "bye", "{answers:?}");
    assert_eq!(last["code"], code, "{answers:?}");
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains(word), "{reason}");
}

#[test]
fn nobody_registers_where_it_is_not_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let server = ["127.0.0.1:1=1".to_owned()];
    let balancer = start_balancer(dir.path(), &server, &[]);
    let register = json!({"request_type": "register", "address": "127.0.0.1:5001"});
    let answers = say(&balancer.address, "server", &register);
    refused(&answers, "forbidden", "--join");
    let answers = say(&balancer.address, "agent", &register);
    refused(&answers, "unauthorized", "--token-file");
    let answers = say(&balancer.address, "balancer", &register);
    refused(&answers, "malformed", "client");
}

#[test]
fn what_a_server_says_is_checked() {
    let place = Place::start(&["--join", "loopback"]);
    let address = &place.balancer.address;
    for (header, code, word) in [
        (
            json!({"request_type": "register", "address": "10.0.0.7:5001"}),
            "forbidden",
            "loopback",
        ),
        (
            json!({"request_type": "register", "address": "example.org:5001"}),
            "forbidden",
            "loopback",
        ),
        (
            json!({"request_type": "register", "address": "127.0.0.1:0"}),
            "malformed",
            "port",
        ),
        (
            json!({"request_type": "register", "address": "5001"}),
            "malformed",
            "HOST:PORT",
        ),
        (json!({"request_type": "register"}), "malformed", "address"),
        (
            json!({"request_type": "register", "address": ":5001", "weight": 1_000_001}),
            "malformed",
            "weight",
        ),
        (json!({"request_type": "beat"}), "malformed", "register"),
        (
            json!({"request_type": "put", "id": 1, "title": "x"}),
            "malformed",
            "register",
        ),
    ] {
        let answers = say(address, "server", &header);
        refused(&answers, code, word);
    }
    let agent = json!({"request_type": "register", "address": ":5001"});
    refused(
        &say(address, "agent", &agent),
        "malformed",
        "without an address",
    );
    assert!(place.status().servers.is_empty(), "{:?}", place.status());
}

/// An agent that has registered.
fn agent(address: &str) -> Wire {
    let mut wire = Wire::connect(address);
    let mut out = b"\xB1ILICO\x00\x01".to_vec();
    let hello = json!({"request_type": "hello", "role": "agent"});
    out.extend(frame(&hello.to_string(), b""));
    let register = json!({"request_type": "register", "name": "host-a"});
    out.extend(frame(&register.to_string(), b""));
    wire.write(&out);
    let (hello, _) = wire.greeting();
    assert!(hello.contains("challenge"), "{hello}");
    let registered = wire.message().unwrap().0;
    assert_eq!(registered["request_type"], "registered", "{registered}");
    assert_eq!(registered["name"], "host-a");
    assert_eq!(registered["beat_ms"], 5000);
    assert_eq!(registered["ttl_ms"], 15_000);
    assert_eq!(registered["address"], Value::Null);
    wire
}

#[test]
fn what_a_member_tells_is_bounded_and_checked() {
    let place = Place::start(&["--join", "loopback"]);
    let beat = |content: &[u8]| frame(r#"{"request_type":"beat"}"#, content);
    let large = vec![b' '; 16 * 1024 + 1];
    for (content, code) in [
        (&large[..], "too_large"),
        (b"[]", "malformed"),
        (b"{", "malformed"),
    ] {
        let mut wire = agent(&place.balancer.address);
        wire.write(&beat(content));
        let bye = wire.message().unwrap().0;
        assert_eq!(
            (&bye["request_type"], &bye["code"]),
            (&json!("bye"), &json!(code))
        );
    }
    // Figures that cannot be are left out, and the member stays.
    let mut wire = agent(&place.balancer.address);
    wire.write(&beat(br#"{"cpu":0.5,"cores":[0.25,0.75]}"#));
    wire.write(&beat(br#"{"cpu":2}"#));
    wire.write(&beat(b""));
    wire.write(&frame(r#"{"request_type":"leave","reason":"done"}"#, b""));
    let bye = wire.message().unwrap().0;
    assert_eq!(
        (&bye["request_type"], &bye["code"]),
        (&json!("bye"), &json!("stopping"))
    );
}

#[test]
fn a_secret_lets_those_in_who_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let good = secret_in(dir.path(), "good", "correct horse");
    let bad = secret_in(dir.path(), "bad", "battery staple");
    let place = Place::with(dir, &["--join", "secret", "--join-secret-file", &good]);
    let with_none = place.server(1, &[]);
    place.wait_for_line_of(&with_none, &["not registered", "--register-secret-file"]);
    let with_bad = place.server(2, &["--register-secret-file", &bad]);
    place.wait_for_line_of(&with_bad, &["not registered", "not that of this balancer"]);
    let with_good = place.server(3, &["--register-secret-file", &good]);
    wait_until("it to get files", || place.is_up(&with_good.address));
    assert_eq!(place.status().servers.len(), 1);
    // What was seen on the wire opens nothing: the challenge is another one.
    let proof = |challenge: &str| {
        let secret = Secret::from("correct horse");
        let proof = Proof::new(&secret, challenge, ":5001", IDENTITY);
        json!({"request_type": "register", "address": ":5001", "proof": proof.to_string()})
    };
    let mut heard = Value::Null;
    let answers = say_with(&place.balancer.address, "server", |challenge| {
        heard = proof(challenge);
        heard.clone()
    });
    assert_eq!(answers[1]["request_type"], "registered", "{answers:?}");
    let answers = say(&place.balancer.address, "server", &heard);
    refused(&answers, "unauthorized", "secret");
}

/// An address that registered, and where another directory answers, gets no file.
#[test]
fn who_answers_with_another_directory_gets_no_files() {
    let place = Place::start(&["--join", "loopback"]);
    // A server that does not register.
    let other = Role::start(
        place.dir.path(),
        &["server", "--listen", "127.0.0.1:0", "--dir", "other"],
    );
    let liar = place.server(1, &["--advertise", &other.address]);
    let line = place.wait_for_line_of(&liar, &["gets no files"]);
    assert!(!line.is_empty());
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(!place.is_up(&other.address), "{:?}", place.status());
    let log = place.log_of(&liar);
    assert!(log.contains("registered"), "{log}");
    assert!(log.contains("directory"), "{log}");
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    for (args, word) in [
        (&["balancer"][..], "--join loopback"),
        (&["balancer", "--join", "none"], "--server"),
        (&["balancer", "--join", "secret"], "join-secret-file"),
        (&["balancer", "--join", "certificate"], "cluster-ca"),
        (&["server", "--name", "x"], "registers"),
        (&["server", "--register", "b:1", "--name", ""], "name"),
        (
            &["server", "--register", "b:1", "--advertise", "x"],
            "HOST:PORT",
        ),
        (
            &["server", "--register", "b:1", "--weight", "1000001"],
            "1,000,000",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ended = run(bilico(args).current_dir(dir.path()), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(word), "{args:?}: {}", ended.stderr);
    }
}
