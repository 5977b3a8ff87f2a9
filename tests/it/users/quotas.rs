//! What a user may take up, and that others do not notice.

use std::time::{Duration, Instant};

use bilico_testkit::{Client, frame, put, wait_until};

use super::Locked;

/// The type of the next message.
fn next(client: &mut Client) -> String {
    client.next()["request_type"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_has_no_more_connections_than_its_quota() {
    let locked = Locked::start();
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let quota = [
        "user",
        "quota",
        "anna",
        "--sessions",
        "2",
        "--users",
        "users.json",
    ];
    locked.printed(None, &quota);
    wait_until("the quota to be known", || {
        let root = locked.login("root");
        let users = locked.http(Some(&root), "GET", "/api/v1/users");
        users.text().contains(r#""sessions":2"#)
    });
    let (one, _two) = (locked.client(&anna), locked.client(&anna));
    let (_, bye) = locked.greet(Some(&anna));
    assert_eq!(bye["code"], "busy", "{bye}");
    assert!(
        bye["reason"]
            .as_str()
            .unwrap()
            .contains("2 connections already"),
        "{bye}"
    );
    locked.client(&bob);
    drop(one);
    wait_until("a place to be free", || {
        locked.greet(Some(&anna)).1["request_type"] == "hello"
    });
}

#[test]
fn a_user_hands_over_no_larger_file_than_its_quota() {
    let locked = Locked::start();
    let anna = locked.user("anna", "sender");
    let quota = ["user", "quota", "anna", "--largest-file", "1KiB"];
    locked.printed(Some(&locked.login("root")), &quota);
    let mut client = locked.client(&anna);
    client.put(1, None, &[1; 2000]);
    let refused = client.expect("refused", 1);
    assert_eq!(refused["code"], "too_large", "{refused}");
    assert!(
        refused["reason"]
            .as_str()
            .unwrap()
            .contains("the user's quota allows 1 KiB"),
        "{refused}"
    );
    client.put_accepted(2, None, &[1; 1000]);
    let large = "x".repeat(2000);
    let answer = locked.http_with(Some(&anna), "PUT", "/files/a", &large);
    assert_eq!(answer.status, 413, "{answer:?}");
}

/// Files of one user fill its quota while no server takes them; another one's come in.
#[test]
fn no_more_files_of_a_user_wait_than_its_quota() {
    let locked = Locked::start();
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let root = locked.login("root");
    locked.printed(
        Some(&root),
        &["user", "quota", "anna", "--waiting-files", "3"],
    );
    locked.printed(Some(&root), &["drain", &locked.server.address]);
    let mut client = locked.client(&anna);
    for id in 0..5 {
        client.wire.write(&frame(&put(id, "x"), b"x"));
    }
    let mut first: Vec<_> = (0..4).map(|_| client.next()).collect();
    first.sort_by_key(|message| message["request_type"].to_string());
    let waiting = first.pop().unwrap();
    let reason = waiting["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("its quota allows"), "{waiting}");
    let is_accepted = |message: &serde_json::Value| message["request_type"] == "accepted";
    assert!(first.iter().all(is_accepted), "{first:?}");
    locked.client(&bob).put_accepted(1, None, b"y");
    locked.printed(Some(&root), &["undrain", &locked.server.address]);
    let mut seen = Vec::new();
    while seen.iter().filter(|one| *one == "delivered").count() < 5 {
        seen.push(next(&mut client));
    }
    assert!(seen.contains(&"resumed".to_owned()), "{seen:?}");
    wait_until("all to be stored", || locked.stored().len() == 6);
}

#[test]
fn a_user_hands_over_files_at_its_pace() {
    let locked = Locked::start();
    let anna = locked.user("anna", "sender");
    let quota = ["user", "quota", "anna", "--files-per-second", "20"];
    locked.printed(Some(&locked.login("root")), &quota);
    let mut client = locked.client(&anna);
    let begun = Instant::now();
    // Ten seconds' worth comes in at once, and 40 more take two seconds.
    for id in 0..241 {
        client.put(id, None, b"x");
    }
    for id in 0..241 {
        client.expect("accepted", id);
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1800), "{took:?}");
}

/// What waited before a restart counts, or each restart would give a user its whole quota again.
#[test]
fn what_waits_counts_for_its_user_after_a_restart() {
    let mut locked = Locked::start();
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let root = locked.login("root");
    let quota = ["user", "quota", "anna", "--waiting-files", "3"];
    locked.printed(Some(&root), &quota);
    locked.server.kill();
    let mut client = locked.client(&anna);
    for id in 0..2 {
        client.put_accepted(id, None, b"x");
    }
    locked.balancer.kill();
    locked.balancer.restart();
    let mut client = locked.client(&anna);
    client.put_accepted(2, None, b"x");
    client.put(3, None, b"x");
    assert_eq!(next(&mut client), "waiting");
    locked.client(&bob).put_accepted(1, None, b"x");
    // Each that is delivered makes room.
    locked.server.restart();
    client.expect("accepted", 3);
    wait_until("all to be stored", || locked.stored().len() == 5);
    for id in 10..20 {
        client.put_accepted(id, None, b"x");
    }
}
