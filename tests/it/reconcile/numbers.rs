//! Numbers that come twice, and files that must be removed.

use std::fs;
use std::io::Write;

use bilico_testkit::{JOURNAL, Served, frame, store, wait_for_line, wait_until};

use super::helpers::held;

#[test]
fn a_number_that_comes_twice_is_stored_once() {
    let mut server = Served::start();
    let large = vec![b'y'; 600_000];
    let (mut balancer, none) = server.reconnect(JOURNAL);
    assert!(none.is_empty());
    for _ in 0..2 {
        balancer.put(7, b"one");
        balancer.put(8, &large);
        balancer.put(9, b"");
    }
    // In one write, so that both may fall into one batch.
    balancer
        .0
        .write(&[store(10, b"two"), store(10, b"two")].concat());
    balancer.expect("stored", 10);
    balancer.expect("stored", 10);
    for _ in 0..2 {
        server.crash();
        let (mut balancer, _) = server.reconnect(JOURNAL);
        balancer.put(7, b"one");
        balancer.put(8, &large);
        balancer.put(9, b"");
        balancer.put(10, b"two");
        assert_eq!(
            server.names(),
            ["10_x.json", "7_x.json", "8_x.json", "9_x.json"]
        );
    }
}

#[test]
fn a_file_that_its_consumer_took_is_not_stored_again() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(7, b"one");
    fs::rename(
        server.files_dir().join("7_x.json"),
        server.dir.path().join("taken"),
    )
    .unwrap();
    balancer.put(7, b"one");
    server.crash();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(listed, [held(7, b"one")]);
    balancer.put(7, b"one");
    assert!(server.stored().is_empty());
}

#[test]
fn a_number_with_other_content_is_refused_and_the_file_stays() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(7, b"one");
    for restart in [false, true] {
        if restart {
            server.crash();
            balancer = server.reconnect(JOURNAL).0;
        }
        for content in [&b"two"[..], b"longer", &vec![b'z'; 300_000]] {
            balancer.store(7, content);
            let refused = balancer.expect("not_stored", 7);
            assert_eq!(refused["code"], "conflict");
            assert!(
                refused["reason"]
                    .as_str()
                    .unwrap()
                    .contains("stored already with other content"),
                "{refused}"
            );
        }
    }
    balancer.put(8, b"goes on");
    assert_eq!(server.stored()["7_x.json"], b"one");
    assert_eq!(server.names(), ["7_x.json", "8_x.json"]);
}

#[test]
fn a_dropped_file_is_removed_and_each_drop_is_answered() {
    let mut server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in 1..=4 {
        balancer.put(number, b"one");
    }
    fs::write(server.files_dir().join("4_x.json"), "changed").unwrap();
    for number in [1, 2, 2, 77, 4] {
        balancer.drop_file(number);
        balancer.expect("dropped", number);
    }
    assert_eq!(server.names(), ["3_x.json", "4_x.json"]);
    wait_for_line(|| server.log(), &["dropped", "number=1", "1_x.json"]);
    wait_for_line(
        || server.log(),
        &["not dropped", "number=4", "changed since"],
    );
    server.crash();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(
        listed,
        [held(3, b"one"), held(4, b"one")],
        "what was changed is not forgotten"
    );
    balancer.drop_file(2);
    balancer.expect("dropped", 2);
    // In one write, so that all of it may fall into one batch.
    let drop_3 = frame(r#"{"request_type":"drop","request_number":3}"#, b"");
    balancer
        .0
        .write(&[drop_3, store(3, b"again"), store(2, b"two")].concat());
    balancer.expect("dropped", 3);
    balancer.expect("stored", 3);
    balancer.expect("stored", 2);
    assert_eq!(server.stored()["3_x.json"], b"again");
    assert_eq!(
        server.reconnect(JOURNAL).1,
        [held(2, b"two"), held(3, b"again"), held(4, b"one")]
    );
}

/// The balancer's link breaks with files in flight, and it connects again. The list that it gets
/// must have all files that will ever be stored. The old link has delivered one file into the
/// store's queue, half of a small one and half of a large one.
#[test]
fn files_from_an_older_link_are_listed_or_given_up() {
    let server = Served::start();
    for round in 0..10u64 {
        let first = round * 10;
        let (mut small, _) = server.reconnect(JOURNAL);
        let content = vec![b'x'; 100_000];
        let half = store(first + 1, &content);
        small
            .0
            .write(&[&store(first, b"whole")[..], &half[..50_000]].concat());
        let (mut large, listed) = server.reconnect(JOURNAL);
        assert!(!listed.contains(&held(first + 1, &content)));
        let half_large = store(first + 2, &vec![b'x'; 900_000]);
        large.0.write(&half_large[..700_000]);
        let parts = || server.role.unfinished(&server.files_dir());
        wait_until("half of the large file to lie on disk", || parts() > 0);

        let (mut balancer, listed) = server.reconnect(JOURNAL);
        assert!(
            !listed
                .iter()
                .any(|[number, ..]| [first + 1, first + 2].contains(number)),
            "{listed:?}"
        );
        // Too late: the server no longer takes the rest of both. It may have closed by now.
        let _ = small.0.0.write_all(&half[50_000..]);
        let _ = large.0.0.write_all(&half_large[700_000..]);
        assert!(
            large.bye()["reason"]
                .as_str()
                .unwrap()
                .contains("newer connection")
        );
        balancer.put(first + 5, b"goes on");
        wait_until("the half files to be gone", || parts() == 0);
        let after = server.reconnect(JOURNAL).1;
        let numbers =
            |list: &[[u64; 3]]| list.iter().map(|[number, ..]| *number).collect::<Vec<_>>();
        let expected: Vec<u64> = numbers(&listed).into_iter().chain([first + 5]).collect();
        assert_eq!(
            numbers(&after),
            expected,
            "nothing was stored behind the balancer's back"
        );
        let names = numbers(&after)
            .into_iter()
            .map(|number| format!("{number}_x.json"));
        assert_eq!(
            server
                .names()
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>(),
            names.collect()
        );
    }
}
