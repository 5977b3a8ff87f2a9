//! An old-style balancer of our server.

use std::fs;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bilico_testkit::{
    Balancer, PREFACE, Role, Wire, old_style_store, stored, wait_for_line, wait_until,
};
use serde_json::{Value, json};

use super::farms::{AWKWARD, as_ascii, server};

/// The whole answer of a server to these bytes on a new connection.
fn ask(server: &Role, request: &str) -> Vec<u8> {
    let mut wire = Wire::connect(&server.address);
    wire.write(request.as_bytes());
    wire.rest()
}

#[test]
fn a_status_request_is_answered_with_one_byte() {
    let (_dir, server) = server(&[]);
    assert_eq!(ask(&server, r#"{"request_type": "richiesta_status"}"#), [0]);
    assert_eq!(
        ask(&server, r#"{"request_type": "whatever"}"#),
        [0],
        "as an old server answers what it does not know"
    );
    // In pieces, too.
    let mut wire = Wire::connect(&server.address);
    for byte in br#"{"request_type": "richiesta_status"}"# {
        wire.write(&[*byte]);
    }
    assert_eq!(wire.rest(), [0]);
}

#[test]
fn files_are_stored_under_number_and_title_and_not_answered() {
    let (dir, server) = server(&[]);
    let document = |number: u64| {
        old_style_store(
            number,
            &format!("perché {number}.json"),
            &format!("{number} {AWKWARD}"),
        )
    };
    for number in 1..=30 {
        let document = if number % 2 == 0 {
            document(number)
        } else {
            as_ascii(&document(number))
        };
        let mut wire = Wire::connect(&server.address);
        wire.write(document.as_bytes());
        if number % 3 == 0 {
            wire.0.shutdown(Shutdown::Write).unwrap();
            assert_eq!(wire.rest(), b"");
        }
        // It closes at once, as the old-style balancer does.
    }
    let large = AWKWARD.repeat((2 << 20) / AWKWARD.len());
    Wire::connect(&server.address).write(old_style_store(31, "large.json", &large).as_bytes());
    let files = dir.path().join("json_files_1");
    wait_until("all files to be stored", || stored(&files).len() == 31);
    let mut stored = stored(&files);
    assert!(stored.remove("31_large.json").unwrap() == large.as_bytes());
    for number in 1..=30 {
        let content = stored
            .remove(&format!("{number}_perché {number}.json"))
            .unwrap();
        assert_eq!(
            String::from_utf8(content).unwrap(),
            format!("{number} {AWKWARD}")
        );
    }
}

/// An old-style balancer counts from 1 again at each start. A file that is there already must stay.
#[test]
fn a_balancer_that_counts_from_one_again_overwrites_nothing() {
    let (dir, server) = server(&[]);
    for content in ["before", "after", "after"] {
        Wire::connect(&server.address).write(old_style_store(1, "x.json", content).as_bytes());
    }
    let contents = || {
        let mut contents: Vec<Vec<u8>> = stored(&dir.path().join("json_files_1"))
            .into_values()
            .collect();
        contents.sort();
        contents
    };
    wait_until("both to be stored", || contents().len() >= 2);
    assert_eq!(contents(), [b"after".to_vec(), b"before".to_vec()]);
}

/// An old-style balancer gets no answer, so the log must say that the file is lost.
/// How long a server takes for 3,000 documents of these numbers and a file behind them.
fn time_for(server: &Role, honest: u64, number: impl Fn(u64) -> u64) -> Duration {
    let mut wire = Wire::connect(&server.address);
    let began = Instant::now();
    for document in 0..3000 {
        let content = format!("content {document}");
        wire.write(old_style_store(number(document), "x", &content).as_bytes());
    }
    let mut balancer = Balancer::greet(&server.address, None);
    balancer.0.greeting();
    balancer.put(honest, b"honest");
    began.elapsed()
}

/// Each would try the names of all before it.
#[test]
fn documents_of_one_number_and_many_contents_hold_up_nobody() {
    let (_dir, server) = server(&[]);
    let each_its_own = time_for(&server, 1, |document| document + 1000);
    let all_the_same = time_for(&server, 2, |_| 7);
    assert!(
        all_the_same < each_its_own * 10 + Duration::from_secs(3),
        "{all_the_same:?}, and {each_its_own:?} where each has a number of its own"
    );
}

#[test]
fn a_file_that_cannot_be_stored_is_named_in_the_log() {
    let (dir, mut server) = server(&[]);
    let files = dir.path().join("json_files_1");
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    let log = || fs::read_to_string(dir.path().join(format!("logs/server-{port}.log"))).unwrap();
    let mut wire = Wire::connect(&server.address);
    fs::remove_dir_all(&files).unwrap();
    wire.write(old_style_store(1, "lost.json", "content").as_bytes());
    wait_for_line(
        log,
        &[
            "cannot store",
            "number=1",
            "lost.json",
            "while the server ran",
        ],
    );
    wait_for_line(log, &["file lost", "number=1"]);
    wait_until("the server to end", || server.ended().is_some());
    server.restart();
    Wire::connect(&server.address).write(old_style_store(2, "kept.json", "content").as_bytes());
    wait_until("the next file to be stored", || {
        stored(&files).contains_key("2_kept.json")
    });
}

#[test]
fn the_discovery_request_is_answered_with_the_native_greeting() {
    let (_dir, server) = server(&[]);
    let ask_for_greeting = || {
        let mut wire = Wire::connect(&server.address);
        wire.write(br#"{"request_type": "bilico"}"#);
        let (hello, content) = wire.greeting();
        let hello: Value = serde_json::from_str(&hello).unwrap();
        (hello, content, wire.rest())
    };
    // It listens before it has measured its memory and its host for the first time.
    wait_until("its memory and its host to be measured", || {
        let hello = ask_for_greeting().0;
        hello.get("memory").is_some() && hello.get("facts").is_some()
    });
    let (mut hello, content, rest) = ask_for_greeting();
    let identity = hello.as_object_mut().unwrap().remove("identity").unwrap();
    assert_eq!(identity.as_str().unwrap().len(), 32);
    let instance = hello.as_object_mut().unwrap().remove("instance").unwrap();
    assert_eq!(instance.as_str().unwrap().len(), 32);
    let [memory, limit] = ["memory", "memory_limit"]
        .map(|field| hello.as_object_mut().unwrap().remove(field).unwrap());
    assert!(
        0 < memory.as_u64().unwrap() && memory.as_u64() < limit.as_u64(),
        "{memory} {limit}"
    );
    let facts = hello.as_object_mut().unwrap().remove("facts").unwrap();
    assert!(facts["memory_total"].is_u64(), "{facts}");
    assert_eq!(
        hello,
        json!({
            "request_type": "hello", "role": "server", "version_min": 1, "version_max": 1,
            "overloaded": false, "bulk": true, "ahead": true,
        })
    );
    assert_eq!((content, rest), (Vec::new(), Vec::new()));
    assert_eq!(ask(&server, r#"{"request_type": "bilico"}"#)[..8], PREFACE);
}

#[test]
fn an_overloaded_server_answers_with_byte_one() {
    let (_dir, server) = server(&["--overload-margin", "1MiB", "--work-delay", "200ms"]);
    assert_eq!(ask(&server, r#"{"request_type": "richiesta_status"}"#), [0]);
    // The work on it takes longer than any test.
    let content = "a".repeat(8 << 20);
    Wire::connect(&server.address).write(old_style_store(1, "work.json", &content).as_bytes());
    wait_until("the byte to be 1", || {
        ask(&server, r#"{"request_type": "richiesta_status"}"#) == [1]
    });
    assert_eq!(ask(&server, r#"{"request_type": "whatever"}"#), [1]);
}
