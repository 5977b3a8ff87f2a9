//! The order of the queue, crashes and restarts.

use super::super::super::name::part_name;
use super::*;

/// What is asked comes after what was submitted before, and before what is submitted later.
#[test]
fn holding_keeps_its_place_in_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let store = Asked::open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for round in 0..20 {
        let numbers = round * 100..round * 100 + 50;
        for number in numbers.clone() {
            store
                .store()
                .submit(claimed(JOURNAL, number, "one"), Box::new(must_be_stored));
        }
        let store = store.store();
        let asked = store.inventory(JOURNAL.into());
        let held = runtime.block_on(asked).unwrap().files;
        assert_eq!(held.len() as u64, (round + 1) * 50);
        assert_eq!(held.last().unwrap().0, numbers.end - 1);
    }
}

/// An intent without a word of what became of it, as a crash leaves it, around the rename.
#[test]
fn a_file_published_just_before_a_crash_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    store.put_all(
        (1..=10)
            .map(|number| claimed(JOURNAL, number, "one"))
            .collect(),
    );
    store.end();
    let index = dir.path().join(".bilico-index");
    let text = fs::read_to_string(&index).unwrap();
    let announced: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains(" stored "))
        .collect();
    assert_ne!(announced, text);
    fs::write(&index, announced).unwrap();
    fs::rename(
        dir.path().join("10_x.json"),
        dir.path().join(part_name(10, 0)),
    )
    .unwrap();
    let store = Asked::open(dir.path());
    assert_eq!(
        store.holding(JOURNAL).unwrap(),
        (1..=9)
            .map(|number| held(number, "one"))
            .collect::<Vec<_>>()
    );
    store.remove(JOURNAL, 1).unwrap();
    assert_eq!(
        store.put(claimed(JOURNAL, 2, "one")).unwrap(),
        Outcome::Known
    );
    assert_eq!(
        store.put(claimed(JOURNAL, 10, "one")).unwrap(),
        Outcome::Stored
    );
    assert_eq!(listing(dir.path()).len(), 9);
}

#[test]
fn a_directory_that_comes_back_empty_is_another_one() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("files");
    let mut store = Asked::open(&dir);
    let identity = store.store().identity().unwrap();
    store.put(claimed(JOURNAL, 1, "one")).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(
        store.put(claimed(JOURNAL, 2, "two")),
        Err(StoreError::Io(_))
    ));
    fs::create_dir(&dir).unwrap();
    assert!(store.holding(JOURNAL).is_err() && store.remove(JOURNAL, 1).is_err());
    assert_eq!(store.store().identity(), None);
    store.restart();
    assert_eq!(
        store.put(claimed(JOURNAL, 2, "two")).unwrap(),
        Outcome::Stored
    );
    assert_eq!(store.holding(JOURNAL).unwrap(), [held(2, "two")]);
    assert_ne!(store.store().identity().unwrap(), identity);
}
