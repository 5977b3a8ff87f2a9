//! Requests that come again, because their answer was lost or somebody cannot wait.

use bilico_testkit::{Farm, Role, Wire, by_title, noise, pretend_server, wait_until};
use serde_json::{Value, json};

use super::{ask, ask_chunked};

/// Hands a file over, and does not read the answer.
fn put_blindly(role: &Role, path: &str, content: &[u8]) -> Wire {
    let admin = role.admin.as_ref().unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    let mut wire = Wire::connect(admin);
    wire.write(&[head.as_bytes(), content].concat());
    wire
}

fn number(role: &Role, path: &str, content: &[u8]) -> u64 {
    let answer = ask(role, "PUT", path, "", content);
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["number"].as_u64().unwrap()
}

#[test]
fn a_lost_answer_costs_no_second_copy_over_a_restart_too() {
    for size in [0, 500, 300_000] {
        let mut farm = Farm::start(&[1, 1]);
        let (content, changed) = (noise(1, size), noise(2, size + 1));
        let lost = put_blindly(&farm.balancer, "/files/a", &content);
        wait_until("it to be accepted", || farm.status().accepted == 1);
        drop(lost);
        let first = number(&farm.balancer, "/files/a", &content);
        assert_eq!(first, 1);
        let chunked = ask_chunked(&farm.balancer, "/files/a", "", &content, "");
        assert_eq!(chunked.json()["number"], 1, "{}", chunked.text());
        farm.balancer.kill();
        farm.balancer.restart();
        farm.wait_until_up();
        assert_eq!(number(&farm.balancer, "/files/a", &content), 1);
        let waits = ask(
            &farm.balancer,
            "PUT",
            "/files/a?wait=delivered",
            "",
            &content,
        );
        assert_eq!(
            (waits.status, &waits.json()["number"]),
            (200, &json!(1)),
            "{}",
            waits.text()
        );
        // Another title, other content, another key: each is another file.
        assert_eq!(number(&farm.balancer, "/files/b", &content), 2);
        assert_eq!(number(&farm.balancer, "/files/a", &changed), 3);
        let keyed = ask(
            &farm.balancer,
            "PUT",
            "/files/a",
            "Idempotency-Key: on purpose\r\n",
            &content,
        );
        assert_eq!(keyed.json()["number"], 4, "{}", keyed.text());
        assert_eq!(number(&farm.balancer, "/files/a", &content), 1, "as before");
        let stored = || farm.stored(0).len() + farm.stored(1).len();
        wait_until("four copies", || stored() == 4);
    }
}

/// Both are read, and one of them becomes the file.
#[test]
fn requests_for_the_same_file_at_once_get_one_number() {
    let farm = Farm::start(&[1]);
    for size in [500, 300_000] {
        let content = noise(size as u64, size);
        let path = format!("/files/{size}");
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let put = || number(&farm.balancer, &path, &content);
            let all: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(
            numbers.iter().all(|number| *number == numbers[0]),
            "{numbers:?}"
        );
    }
    wait_until("both to be delivered", || farm.status().delivered == 2);
    assert_eq!(by_title(farm.stored(0)).len(), 2);
    assert_eq!(farm.status().accepted, 2);
}

/// Whoever sends it again wants it to be delivered.
#[test]
fn what_was_dropped_or_is_a_dead_letter_may_come_again() {
    let farm = Farm::without_servers(&[1]);
    let role = &farm.balancer;
    assert_eq!(number(role, "/files/a", b"x"), 1);
    let dropped = ask(role, "DELETE", "/api/v1/dead/1", "", b"");
    assert_eq!(dropped.status, 200, "{}", dropped.text());
    assert_eq!(number(role, "/files/a", b"x"), 2);
    assert_eq!(number(role, "/files/a", b"x"), 2, "while that one waits");
    let refuses = pretend_server(Some("ffffffffffffffffffffffffffffffff"), |mut wire| {
        wire.say(&json!({"request_type": "holding", "last": true}));
        while let Some((message, _)) = wire.message() {
            let number: &Value = &message["request_number"];
            let not_stored = json!({"request_type": "not_stored", "request_number": number, "code": "conflict", "reason": "no"});
            if message["request_type"] == "store" && !wire.say(&not_stored) {
                return;
            }
        }
    });
    let body = json!({"address": refuses, "weight": 1}).to_string();
    let json = "Content-Type: application/json\r\n";
    let added = ask(role, "POST", "/api/v1/servers", json, body.as_bytes());
    assert_eq!(added.status, 201, "{}", added.text());
    let old = farm.status().servers[0].name.clone();
    ask(role, "DELETE", &format!("/api/v1/servers/{old}"), "", b"");
    wait_until("a dead letter", || farm.status().queue.dead == 1);
    assert_eq!(number(role, "/files/a", b"x"), 3);
}
