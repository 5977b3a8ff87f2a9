//! Files and their directory, without an index.

use super::super::super::name::part_name;
use super::*;

#[test]
fn many_files_are_stored_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (1..=1000)
        .map(|number| (number, "x.json", "perché\r\n\0"))
        .collect();
    assert!(store_all(dir.path(), &files).iter().all(Result::is_ok));
    assert_eq!(listing(dir.path()).len(), 1000);
    assert_eq!(
        fs::read(dir.path().join("77_x.json")).unwrap(),
        "perché\r\n\0".as_bytes()
    );
}

#[test]
fn the_same_file_twice_is_stored_once_and_another_one_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        (1, "x.json", "one"),
        (1, "x.json", "one"),
        (1, "x.json", "two"),
        (1, "x.json", "two"),
    ];
    assert!(store_all(dir.path(), &files).iter().all(Result::is_ok));
    assert_eq!(listing(dir.path()), ["1_x.json", "1_x~2.json"]);
    assert_eq!(fs::read(dir.path().join("1_x.json")).unwrap(), b"one");
    assert_eq!(fs::read(dir.path().join("1_x~2.json")).unwrap(), b"two");
}

#[test]
fn what_a_crash_left_is_removed_and_stored_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    for name in [&part_name(3, 1), "1_a.json", "2_b.txt", "notes.part"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    store_all(dir.path(), &[]);
    assert_eq!(listing(dir.path()), ["1_a.json", "2_b.txt", "notes.part"]);
    let (store, thread) = Store::open(
        dir.path(),
        true,
        Durability::Disk,
        ReadableBy::Owner,
        CancellationToken::new(),
    )
    .unwrap();
    assert!(
        Store::open(
            dir.path(),
            false,
            Durability::Disk,
            ReadableBy::Owner,
            CancellationToken::new()
        )
        .is_err(),
        "one server a directory"
    );
    drop(store);
    thread.join().unwrap();
    assert_eq!(listing(dir.path()), ["2_b.txt", "notes.part"]);
}

#[test]
fn a_directory_that_is_lost_refuses_and_another_one_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    assert!(
        store_all(&dir, &[(1, "x", "")])[0].is_ok(),
        "it is made at the start"
    );
    let lost = CancellationToken::new();
    let (store, thread) = Store::open(
        &dir,
        false,
        Durability::Disk,
        ReadableBy::Owner,
        lost.clone(),
    )
    .unwrap();
    let put = |number| {
        let (result, wait) = channel();
        let done = Box::new(move |stored| drop(result.send(stored)));
        store.submit(file(number, "x", ""), done);
        wait.recv().unwrap().map_err(|error| error.to_string())
    };
    put(2).unwrap();
    let aside = parent.path().join("aside");
    fs::rename(&dir, &aside).unwrap();
    let error = put(3).unwrap_err();
    assert!(
        error.contains("was moved or removed while the server ran"),
        "{error}"
    );
    // It cannot come back: what it has missed meanwhile is not known.
    fs::create_dir(&dir).unwrap();
    for number in [4, 5] {
        assert_eq!(put(number).unwrap_err(), error);
    }
    assert!(lost.is_cancelled() && store.stage(6).is_err());
    assert_eq!(
        (listing(&aside), listing(&dir)),
        (vec!["1_x".to_owned(), "2_x".to_owned()], vec![])
    );
    drop(store);
    thread.join().unwrap();
}

/// Nothing comes that could find it out.
#[test]
fn an_idle_server_notices_that_its_directory_or_its_index_is_lost() {
    let losses: [fn(&Path); 3] = [
        |dir| fs::rename(dir, dir.with_extension("aside")).unwrap(),
        |dir| fs::remove_file(dir.join(".bilico-index")).unwrap(),
        |dir| {
            fs::copy(dir.join(".bilico-index"), dir.join("backup")).unwrap();
            fs::rename(dir.join("backup"), dir.join(".bilico-index")).unwrap();
        },
    ];
    for lose in losses {
        let parent = tempfile::tempdir().unwrap();
        let (dir, lost) = (parent.path().join("files"), CancellationToken::new());
        let (store, thread) = Store::open(
            &dir,
            false,
            Durability::Disk,
            ReadableBy::Owner,
            lost.clone(),
        )
        .unwrap();
        lose(&dir);
        let ends = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while !lost.is_cancelled() {
            assert!(std::time::Instant::now() < ends, "it is not noticed");
            thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(store.identity(), None);
        drop(store);
        thread.join().unwrap();
    }
}

#[test]
fn a_staged_file_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, thread) = Store::open(
        dir.path(),
        false,
        Durability::Disk,
        ReadableBy::Owner,
        CancellationToken::new(),
    )
    .unwrap();
    let mut staged = store.stage(5).unwrap();
    staged.write(b"half").unwrap();
    assert!(
        listing(dir.path()).iter().all(|name| is_part(name)),
        "half a file has no final name"
    );
    drop((staged, store));
    thread.join().unwrap();
    assert!(listing(dir.path()).is_empty());
}

/// How long 20,000 small files take; for a person to run, before and after a change.
#[test]
#[ignore = "a measurement"]
fn timing_of_small_files() {
    for journal in [None, Some(JOURNAL)] {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut store = Asked::open(dir.path());
        let content = "x".repeat(300);
        let file = |number| match journal {
            Some(journal) => claimed(journal, number, &content),
            None => file(number, "x.json", &content),
        };
        let started = std::time::Instant::now();
        for number in 0..20_000 {
            store.store().submit(file(number), Box::new(must_be_stored));
        }
        store.end();
        println!("journal {journal:?}: {:?}", started.elapsed());
    }
}
