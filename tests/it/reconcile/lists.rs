//! The list of files that a server holds, and its identity.

use std::fs;

use bilico_testkit::{Balancer, JOURNAL, Served, Wire, frame, store, wait_until};

use super::helpers::held;

const OTHER: &str = "00000000000000000000000000000001";

#[test]
fn a_server_keeps_its_identity_and_says_it_in_each_greeting() {
    let mut server = Served::start();
    let identity = server.identity();
    assert!(
        identity.len() == 32 && identity.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{identity}"
    );
    let mut discovery = Wire::connect(&server.role.address);
    discovery.write(br#"{"request_type": "bilico"}"#);
    assert!(discovery.greeting().0.contains(&identity));
    server.crash();
    assert_eq!(server.identity(), identity);
    assert_eq!(server.role.stop(), Some(0));
    server.role.restart();
    assert_eq!(server.identity(), identity);
    assert_ne!(Served::start().identity(), identity);
}

#[test]
fn the_list_has_exactly_the_files_that_are_not_confirmed() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in [5, 3, 9, 4] {
        balancer.put(number, b"one");
    }
    server.reconnect(OTHER).0.put(3, b"another's");
    balancer.confirm(&[3, 9, 1000]);
    balancer.confirm(&[]);
    let left = [held(4, b"one"), held(5, b"one")];
    assert_eq!(server.reconnect(JOURNAL).1, left);
    server.crash();
    assert_eq!(
        server.reconnect(&JOURNAL.to_uppercase()).1,
        left,
        "hex digits may be written either way"
    );
    assert_eq!(server.reconnect(OTHER).1, [held(3, b"another's")]);
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.confirm(&[4, 5]);
    assert!(server.reconnect(JOURNAL).1.is_empty());
    assert_eq!(server.names().len(), 5, "what is confirmed stays");
}

#[test]
fn a_long_list_comes_in_parts() {
    // A kill of the process loses nothing without syncs, and 16,389 syncs take long.
    let mut server = Served::with(&["--durability", "os"]);
    let (mut balancer, _) = server.reconnect(JOURNAL);
    let count = 16 * 1024 + 5;
    let mut writing = Wire(balancer.0.0.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        (1..=count).for_each(|number| writing.write(&store(number, b"x")));
    });
    for _ in 1..=count {
        assert_eq!(balancer.next().0["request_type"], "stored");
    }
    writer.join().unwrap();
    server.crash();
    let listed = server.reconnect(JOURNAL).1;
    assert!(
        listed
            .into_iter()
            .eq((1..=count).map(|number| held(number, b"x")))
    );
}

/// Files pour in over link after link, each cut off at any point; the server is killed now and
/// then. The files that are listed at a new link, or acknowledged over it, are exactly those in the
/// directory.
#[test]
fn listed_and_acknowledged_files_are_exactly_the_stored_ones() {
    let mut server = Served::start();
    let mut next = 1;
    for round in 0..25usize {
        let (mut balancer, listed) = server.reconnect(JOURNAL);
        let told: Vec<String> = listed
            .iter()
            .map(|[number, ..]| format!("{number}_x.json"))
            .collect();
        let mut names = server.names();
        names.sort_by_key(|name| name.split_once('_').unwrap().0.parse::<u64>().unwrap());
        assert_eq!(names, told, "round {round}");
        let wire: Vec<u8> = (next..next + 60)
            .flat_map(|number| store(number, &vec![b'x'; 1500]))
            .collect();
        next += 60;
        let cut = wire.len() * (round % 7 + 1) / 7;
        balancer.0.write(&wire[..cut]);
        if round % 5 == 4 {
            // In the middle of a batch: its first files have their names, and must not be
            // acknowledged yet.
            wait_until("some to be published", || server.names().len() > told.len());
            server.crash();
        }
    }
}

#[test]
fn a_balancer_without_an_identity_gets_no_list() {
    let server = Served::start();
    let mut balancer = Balancer::greet(&server.role.address, None);
    balancer.0.greeting();
    balancer.put(1, b"one");
    balancer.put(1, b"one");
    balancer.put(1, b"two");
    assert_eq!(server.names(), ["1_x.json", "1_x~2.json"]);
    assert!(
        server.reconnect(JOURNAL).1.is_empty(),
        "nothing of it is in the index"
    );
    for message in [
        frame(r#"{"request_type":"drop","request_number":1}"#, b""),
        confirmed(b"[1]"),
    ] {
        let mut balancer = Balancer::greet(&server.role.address, None);
        balancer.0.greeting();
        balancer.0.write(&message);
        let bye = balancer.bye();
        assert_eq!(bye["code"], "malformed");
        assert!(
            bye["reason"].as_str().unwrap().contains("need an identity"),
            "{bye}"
        );
    }
    assert_eq!(server.names(), ["1_x.json", "1_x~2.json"]);
}

fn confirmed(content: &[u8]) -> Vec<u8> {
    frame(r#"{"request_type":"confirmed"}"#, content)
}

#[test]
fn invalid_lists_end_the_connection() {
    let server = Served::start();
    server.reconnect(JOURNAL).0.put(1, b"one");
    let many = serde_json::to_vec(&vec![1; 16 * 1024 + 1]).unwrap();
    let mut too_long = frame(r#"{"request_type":"confirmed"}"#, b"");
    too_long[4..12].copy_from_slice(&u64::MAX.to_be_bytes());
    let cases = [
        (confirmed(b"{}"), "malformed"),
        (confirmed(b"[1,-1]"), "malformed"),
        (confirmed(&many), "malformed"),
        (too_long, "too_large"),
        (
            frame(r#"{"request_type":"holding","last":true}"#, b""),
            "malformed",
        ),
    ];
    for (message, code) in cases {
        let (mut balancer, listed) = server.reconnect(JOURNAL);
        assert_eq!(listed, [held(1, b"one")]);
        balancer.0.write(&message);
        assert_eq!(balancer.bye()["code"], code);
    }
}

#[test]
fn a_removed_directory_lists_nothing_and_a_new_one_is_another() {
    let mut server = Served::start();
    let identity = server.identity();
    server.reconnect(JOURNAL).0.put(1, b"one");
    fs::remove_dir_all(server.files_dir()).unwrap();
    let mut balancer = server.link(JOURNAL);
    let bye = balancer.bye();
    assert_eq!(
        bye["code"], "storage",
        "an empty list would say that nothing is here: {bye}"
    );
    wait_until("the server to end", || server.role.ended().is_some());
    server.role.restart();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert!(listed.is_empty());
    balancer.put(1, b"one");
    assert_ne!(server.identity(), identity);
    assert_eq!(server.names(), ["1_x.json"]);
}
