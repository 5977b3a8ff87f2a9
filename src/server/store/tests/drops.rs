//! Confirmations and removals.

use super::*;

/// A file that was there before, or that a balancer without an identity counts on, is nobody's
/// alone.
#[test]
fn a_copy_that_may_be_anothers_is_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    store.put(file(1, "x.json", "one")).unwrap();
    store.put(claimed(JOURNAL, 1, "one")).unwrap();
    store.put(claimed(JOURNAL, 2, "two")).unwrap();
    store.put(file(2, "x.json", "two")).unwrap();
    assert_eq!(
        store.holding(JOURNAL).unwrap(),
        [held(1, "one"), held(2, "two")]
    );
    store.restart();
    for number in [1, 2] {
        store.remove(JOURNAL, number).unwrap();
    }
    assert_eq!(listing(dir.path()), ["1_x.json", "2_x.json"]);
    assert!(store.holding(JOURNAL).unwrap().is_empty());
}

#[test]
fn a_dropped_file_is_gone_for_good_and_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    store.put_all(
        (1..=20)
            .map(|number| claimed(JOURNAL, number, "one"))
            .collect(),
    );
    fs::write(dir.path().join("3_x.json"), "changed since").unwrap();
    fs::remove_file(dir.path().join("4_x.json")).unwrap();
    for number in (1..=19).chain([1, 77]) {
        store.remove(JOURNAL, number).unwrap();
    }
    assert_eq!(listing(dir.path()), ["20_x.json", "3_x.json"]);
    store.restart();
    assert_eq!(
        store.holding(JOURNAL).unwrap(),
        [held(3, "one"), held(20, "one")],
        "what was changed is not forgotten"
    );
    assert_eq!(
        store.put(claimed(JOURNAL, 1, "another")).unwrap(),
        Outcome::Stored
    );
    assert_eq!(fs::read(dir.path().join("1_x.json")).unwrap(), b"another");
}

#[test]
fn what_is_confirmed_is_held_no_longer_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    store.put_all(
        (1..=20)
            .map(|number| claimed(JOURNAL, number, "one"))
            .collect(),
    );
    store
        .store()
        .confirm(JOURNAL.into(), (1..=18).chain([99]).collect(), None);
    store.store().confirm(OTHER.into(), vec![19], None);
    for _ in 0..2 {
        assert_eq!(
            store.holding(JOURNAL).unwrap(),
            [held(19, "one"), held(20, "one")]
        );
        store.restart();
    }
    assert_eq!(listing(dir.path()).len(), 20);
    store.remove(JOURNAL, 1).unwrap();
    assert_eq!(
        listing(dir.path()).len(),
        20,
        "a confirmed file cannot be dropped"
    );
}

/// Two journals with one identity, or a directory that is a copy: a number means two files, and
/// neither may go.
#[test]
fn a_drop_removes_only_the_file_that_it_means() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    let of = |content: &str| {
        Some(Expected {
            size: content.len() as u64,
            crc32c: crc32c::crc32c(content.as_bytes()),
        })
    };
    store.put_all(
        (1..=6)
            .map(|number| claimed(JOURNAL, number, "one"))
            .collect(),
    );
    // Changed in place by its consumer, with the same length; and taken, with another file in its
    // place.
    fs::write(dir.path().join("4_x.json"), "two").unwrap();
    fs::remove_file(dir.path().join("5_x.json")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("6_x.json"), dir.path().join("5_x.json")).unwrap();
    let drops = [
        (1, of("two")),
        (2, of("longer")),
        (3, of("one")),
        (4, of("one")),
        (4, None),
        (5, of("one")),
        (77, None),
    ];
    for (number, expected) in drops {
        store.remove_if(JOURNAL, number, expected).unwrap();
    }
    assert_eq!(
        listing(dir.path()),
        ["1_x.json", "2_x.json", "4_x.json", "5_x.json", "6_x.json"]
    );
    for _ in 0..2 {
        assert_eq!(
            store.holding(JOURNAL).unwrap(),
            [1, 2, 4, 5, 6].map(|number| held(number, "one"))
        );
        store.restart();
    }
}
