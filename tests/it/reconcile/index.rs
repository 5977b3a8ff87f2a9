//! The index of a server: torn, damaged, missing or too large for its disk.

use std::fs;
use std::path::PathBuf;

use bilico_testkit::{Balancer, JOURNAL, Served, store, wait_for_line};

use super::helpers::held;

fn index_of(server: &Served) -> PathBuf {
    server.files_dir().join(".bilico-index")
}

#[test]
fn an_index_with_a_torn_end_or_a_damaged_line_is_used() {
    let mut server = Served::start();
    let identity = server.identity();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    balancer.put(1, b"one");
    balancer.put(2, b"two");
    server.role.kill();
    let mut text = fs::read(index_of(&server)).unwrap();
    text.extend_from_slice(b"12345678 storing 0123");
    fs::write(index_of(&server), &text).unwrap();
    server.role.restart();
    let all = [held(1, b"one"), held(2, b"two")];
    assert_eq!(server.reconnect(JOURNAL).1, all);

    server.role.kill();
    let mut text = fs::read(index_of(&server)).unwrap();
    let at = text
        .windows(8)
        .position(|window| window == b" storing")
        .unwrap();
    text[at + 3] ^= 1;
    fs::write(index_of(&server), &text).unwrap();
    server.role.restart();
    let (mut balancer, listed) = server.reconnect(JOURNAL);
    assert_eq!(listed, all[1..]);
    wait_for_line(|| server.log(), &["ERROR", "damaged", "lines=1"]);
    balancer.put(1, b"one");
    assert_eq!(
        server.reconnect(JOURNAL).1,
        all,
        "what is found by its name and content is in the index again"
    );
    assert_eq!((server.identity(), server.names().len()), (identity, 2));
}

#[test]
fn an_unreadable_index_is_set_aside() {
    let mut server = Served::start();
    let identity = server.identity();
    server.reconnect(JOURNAL).0.put(1, b"one");
    server.role.kill();
    fs::write(index_of(&server), vec![0; 4096]).unwrap();
    server.role.restart();
    assert_ne!(server.identity(), identity);
    assert!(server.reconnect(JOURNAL).1.is_empty());
    wait_for_line(
        || server.log(),
        &["ERROR", "a new one is begun", ".bilico-index.damaged-"],
    );
    assert_eq!(server.names(), ["1_x.json"]);
}

/// The index may not grow, as if the disk were full. Files that it cannot record are not
/// acknowledged and leave nothing behind. As soon as there is room, all goes on.
#[test]
fn an_index_that_cannot_grow_refuses_and_recovers() {
    let server = Served::start();
    let (mut balancer, _) = server.reconnect(JOURNAL);
    for number in 1..=20 {
        balancer.put(number, b"one");
    }
    let size = fs::metadata(index_of(&server)).unwrap().len();
    for over in [0, 1, 60, 130] {
        server.role.limit("fsize", &(size + over).to_string());
        balancer
            .0
            .write(&[store(21, b"21"), store(22, b"22")].concat());
        for number in [21, 22] {
            let (refused, _) = balancer.next();
            if refused["request_type"] == "stored" {
                assert!(over >= 60, "{refused}");
                continue;
            }
            assert_eq!(refused["code"], "storage", "{number}: {refused}");
        }
        let listed = balancer_after(&server, &mut balancer);
        assert_eq!(
            listed.len(),
            server.names().len(),
            "what is refused leaves nothing behind"
        );
        assert_eq!(
            fs::read(index_of(&server)).unwrap().last(),
            Some(&b'\n'),
            "no half line stays"
        );
    }
    server.role.limit("fsize", "unlimited");
    for number in 1..=23 {
        balancer.put(
            number,
            if number <= 20 {
                b"one"
            } else if number == 21 {
                b"21"
            } else {
                b"22"
            },
        );
    }
    assert_eq!(balancer_after(&server, &mut balancer).len(), 23);
    assert_eq!(server.names().len(), 23);
}

/// Replaces the connection, and returns the list of files.
fn balancer_after(server: &Served, balancer: &mut Balancer) -> Vec<[u64; 3]> {
    let (new, listed) = server.reconnect(JOURNAL);
    *balancer = new;
    listed
}
