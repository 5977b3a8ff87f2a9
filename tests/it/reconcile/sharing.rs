//! Links of several processes that work on one journal.

use std::io::Write;

use bilico_testkit::{JOURNAL, Served, store};

use super::helpers::held;

/// Two balancers that work on one replicated queue have one journal identity. Each of their links
/// ended the other's, which came back and ended the first one's, for ever.
#[test]
fn balancers_that_share_a_journal_leave_each_others_links_alone() {
    let server = Served::start();
    let mut one = server.process("a", Some(1));
    assert!(one.holding().is_empty());
    let mut two = server.process("b", Some(1));
    assert!(two.holding().is_empty());
    one.put(1, b"one");
    two.put(2, b"two");

    let mut again = server.process("a", Some(1));
    assert_eq!(again.holding(), [held(1, b"one"), held(2, b"two")]);
    assert!(
        one.bye()["reason"]
            .as_str()
            .unwrap()
            .contains("newer connection")
    );
    again.put(3, b"three");
    two.put(4, b"four");
    assert_eq!(server.reconnect(JOURNAL).1.len(), 4);
}

/// A balancer that shares its journal is restarted, or another one takes its files over: both
/// belong to a newer epoch. What the old process was sending must not come to be stored after the
/// new one has heard what is here, and the old one must not come back and end the new one's link.
#[test]
fn a_newer_epoch_of_a_shared_journal_ends_the_links_of_older_ones_for_good() {
    let server = Served::start();
    let mut late = server.process("a", Some(1));
    let mut other = server.process("b", Some(1));
    assert!(late.holding().is_empty() && other.holding().is_empty());
    let half = store(1, &vec![b'x'; 100_000]);
    late.0.write(&half[..50_000]);

    let mut newer = server.process("c", Some(2));
    assert!(newer.holding().is_empty());
    let _ = late.0.0.write_all(&half[50_000..]);
    assert_eq!(other.bye()["code"], "stopping");

    let refused = server.process("a", Some(1)).bye();
    assert_eq!(refused["code"], "stale", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("epoch 1") && reason.contains("epoch 2"),
        "{reason}"
    );
    newer.put(2, b"goes on");
    assert_eq!(server.names(), ["2_x.json"]);
}

/// Who has a journal for itself names no epoch. After a restart it is another process, and what its
/// former one was still sending must not be stored behind its back.
#[test]
fn a_restarted_balancer_ends_the_links_of_its_former_process() {
    let server = Served::start();
    let mut former = server.process("a", None);
    let mut sharing = server.process("b", Some(7));
    assert!(
        former.bye()["reason"]
            .as_str()
            .unwrap()
            .contains("newer connection")
    );
    assert!(sharing.holding().is_empty());
    let half = store(1, &vec![b'x'; 100_000]);
    sharing.0.write(&half[..50_000]);
    let mut restarted = server.process("c", None);
    assert!(restarted.holding().is_empty());
    let _ = sharing.0.0.write_all(&half[50_000..]);
    restarted.put(2, b"goes on");
    assert_eq!(server.names(), ["2_x.json"]);
}
