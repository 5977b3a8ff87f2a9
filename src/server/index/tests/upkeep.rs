//! Compaction, limits, failed writes, and what earlier versions wrote.

use super::super::super::job::Claimed;
use super::*;
use crate::access::Balancers;

#[test]
fn garbage_is_compacted_and_what_counts_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[1]);
    for _ in 0..=GARBAGE / 512 {
        let files: Vec<_> = (2..514)
            .map(|number| (key(JOURNAL, number), entry(number)))
            .collect();
        index
            .announce(files.iter().map(|(key, entry)| (key, entry)))
            .unwrap();
        index.settle(
            files
                .into_iter()
                .map(|(key, entry)| Settled {
                    key,
                    entry,
                    renamed: false,
                })
                .collect(),
        );
        index.confirm(&JOURNAL.into(), (2..514).collect()).unwrap();
        index.compact_if_worthwhile();
    }
    assert!(lines(dir.path()) < 2000, "{}", lines(dir.path()));
    store(&mut index, OTHER, &[9]);
    let index = reopen(index);
    assert_eq!(
        (index.files_of(JOURNAL), index.files_of(OTHER)),
        (vec![held(1)], vec![held(9)])
    );
    assert_eq!(names(dir.path()), [NAME]);
}

#[test]
fn beyond_the_limit_the_oldest_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = Index::open_with(&opened(dir.path()), 10).unwrap();
    for number in [20, 19, 18, 17, 16, 15, 14, 13, 12, 11] {
        store(&mut index, JOURNAL, &[number]);
    }
    assert_eq!(index.files_of(JOURNAL).len(), 10);
    store(&mut index, OTHER, &[1, 2]);
    let left: Vec<_> = (11..=18).map(held).collect();
    assert_eq!(
        (index.files_of(JOURNAL), index.files_of(OTHER)),
        (left.clone(), vec![held(1), held(2)])
    );
    let index = reopen(index);
    assert_eq!(
        (index.files_of(JOURNAL), index.files_of(OTHER)),
        (left, vec![held(1), held(2)])
    );
    drop(index);
    let mut index = Index::open_with(&opened(dir.path()), 3).unwrap();
    assert_eq!(index.table.len(), 3);
    assert_eq!(index.files_of(OTHER), [held(1), held(2)]);
    store(&mut index, OTHER, &[1]);
}

#[test]
fn what_memory_says_is_written_anew_after_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[1]);
    index
        .announce([(&key(JOURNAL, 2), &entry(2))].into_iter())
        .unwrap();
    // As if the sync had failed: 2 is refused, and its line must not count whatever became of it.
    index.distrust();
    fs::write(dir.path().join(&*entry(2).name), content(2)).unwrap();
    store(&mut index, JOURNAL, &[3]);
    assert!(index.sound);
    assert_eq!(reopen(index).files_of(JOURNAL), [held(1), held(3)]);
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[1]);
    let before = fs::read(dir.path().join(NAME)).unwrap();
    let fail = |index: &mut Index| index.writer = Some(File::open(dir.path().join(NAME)).unwrap());
    // A descriptor that cannot be written to stands for a disk that fails, and fails to be cut
    // back, too.
    fail(&mut index);
    assert!(
        index
            .announce([(&key(JOURNAL, 2), &entry(2))].into_iter())
            .is_err()
    );
    assert!(
        !index.sound && index.append(b"x", 1).is_err(),
        "nothing is put behind what may be half a line"
    );
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), before);
    index.confirm(&JOURNAL.into(), vec![7]).unwrap();
    fail(&mut index);
    assert!(index.confirm(&JOURNAL.into(), vec![1]).is_err());
    fail(&mut index);
    assert_eq!(
        index.files_of(JOURNAL),
        [held(1)],
        "what is not written down is not forgotten"
    );
    store(&mut index, JOURNAL, &[2]);
    assert_eq!(reopen(index).files_of(JOURNAL), [held(1), held(2)]);
}

/// Byte for byte what the first version of this program wrote.
#[test]
fn an_index_of_before_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let line = |text: &str| format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()));
    let StoredFile(_, size, crc32c) = held(3);
    let text = [
        format!("bilico-index 1 {OTHER}"),
        format!("storing {JOURNAL} 3 {size} {crc32c:08x} 3_è x.json"),
        format!("storing {JOURNAL} 9 {size} {crc32c:08x} 9_è x.json"),
        format!("stored {JOURNAL} 3 9"),
        format!("confirmed {JOURNAL} 9"),
    ];
    fs::write(dir.path().join(NAME), text.map(|text| line(&text)).concat()).unwrap();
    fs::write(dir.path().join(&*entry(3).name), content(3)).unwrap();
    // Confirmed long ago, and of a journal of which the index has nothing any more.
    fs::write(dir.path().join("50_old.json"), "old").unwrap();
    let mut index = open(dir.path());
    for _ in 0..2 {
        assert_eq!(
            (&**index.identity(), index.files_of(JOURNAL)),
            (OTHER, vec![held(3)])
        );
        assert_eq!(
            (index.seen(JOURNAL), index.seen(OTHER), index.seen(NOBODY)),
            (Some(9), None, Some(50))
        );
        index.rewrite().unwrap();
        index = reopen(index);
    }
    store(&mut index, JOURNAL, &[60]);
    assert_eq!(reopen(index).seen(JOURNAL), Some(60));
}

/// Whatever is written anew, forgotten or removed meanwhile.
#[test]
fn the_highest_number_is_never_lower_than_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = Index::open_with(&opened(dir.path()), 3).unwrap();
    assert_eq!((index.seen(JOURNAL), index.seen(OTHER)), (Some(0), Some(0)));
    store(&mut index, JOURNAL, &[5, 4]);
    index.remove(&[key(JOURNAL, 5)]).unwrap();
    store(&mut index, OTHER, &[1, 2, 3, 7]);
    index.confirm(&OTHER.into(), vec![7]).unwrap();
    index.note(8);
    for _ in 0..3 {
        assert_eq!(
            (index.seen(JOURNAL), index.seen(OTHER), index.seen(NOBODY)),
            (Some(5), Some(7), Some(8))
        );
        index = reopen(index);
        index.rewrite().unwrap();
    }
}

/// Whoever learns a journal's identity could have its files removed: in a cluster, not even another
/// balancer can, after a restart neither.
#[test]
fn a_journal_belongs_to_the_balancer_that_came_with_it_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let bind = |index: &mut Index, journal: &str, balancer: &str, names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let claimed = Claimed {
            journal: journal.into(),
            balancer: balancer.into(),
            among: Balancers::of("main", names),
        };
        index.bind(&claimed).unwrap().to_string()
    };
    assert_eq!(bind(&mut index, JOURNAL, "one", &[]), "one");
    assert_eq!(bind(&mut index, JOURNAL, "other", &[]), "one");
    assert_eq!(bind(&mut index, OTHER, "other", &[]), "other");
    let mut index = reopen(index);
    assert_eq!(bind(&mut index, JOURNAL, "other", &["one", "other"]), "one");
    // It is written again with all the rest.
    index.distrust();
    store(&mut index, JOURNAL, &[1]);
    let mut index = reopen(index);
    assert_eq!(bind(&mut index, JOURNAL, "other", &[]), "one");
    // Who may not come any more has no journal.
    assert_eq!(bind(&mut index, JOURNAL, "other", &["other"]), "other");
    let mut index = reopen(index);
    assert_eq!(bind(&mut index, JOURNAL, "one", &[]), "other");
    assert_eq!(index.files_of(JOURNAL), [held(1)]);
}
