//! The store with its thread, over real directories.

mod directory;
mod drops;
mod restarts;

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use bytes::Bytes;

use super::*;
use crate::protocol::lists::StoredFile;

/// A file from a balancer without an identity.
fn file(number: u64, title: &str, content: &str) -> Incoming {
    let body = IncomingBody::Whole(Bytes::from(content.to_owned()));
    Incoming {
        number,
        title: title.to_owned(),
        body,
        origin: None,
    }
}

/// Stores files and waits for what became of each.
fn store_all(dir: &Path, files: &[(u64, &str, &str)]) -> Vec<Result<Outcome, StoreError>> {
    let (store, thread) = Store::open(
        dir,
        false,
        Durability::Disk,
        ReadableBy::Owner,
        CancellationToken::new(),
    )
    .unwrap();
    let (results, wait) = channel();
    for (place, (number, title, content)) in files.iter().enumerate() {
        let results = results.clone();
        let done = Box::new(move |result| drop(results.send((place, result))));
        store.submit(file(*number, title, content), done);
    }
    drop((store, results));
    thread.join().unwrap();
    let mut results: Vec<_> = wait.into_iter().collect();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn listing(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| !name.starts_with(".bilico-index"))
        .collect();
    names.sort();
    names
}

const JOURNAL: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// A file from a balancer with an identity.
fn claimed(journal: &str, number: u64, content: &str) -> Incoming {
    let origin = Some(Origin {
        journal: journal.into(),
        crc32c: crc32c::crc32c(content.as_bytes()),
    });
    Incoming {
        origin,
        ..file(number, "x.json", content)
    }
}

fn must_be_stored(stored: Result<Outcome, StoreError>) {
    stored.unwrap();
}

fn held(number: u64, content: &str) -> StoredFile {
    StoredFile(
        number,
        content.len() as u64,
        crc32c::crc32c(content.as_bytes()),
    )
}

/// A store that is asked one thing after the other.
struct Asked {
    store: Option<Store>,
    thread: Option<thread::JoinHandle<()>>,
    dir: PathBuf,
}

impl Asked {
    fn open(dir: &Path) -> Self {
        let (store, thread) = Store::open(
            dir,
            false,
            Durability::Disk,
            ReadableBy::Owner,
            CancellationToken::new(),
        )
        .unwrap();
        Self {
            store: Some(store),
            thread: Some(thread),
            dir: dir.to_owned(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Submits files at once, so that they may be one batch, and waits for what became of each.
    fn put_all(&self, files: Vec<Incoming>) -> Vec<Result<Outcome, StoreError>> {
        let waits: Vec<_> = files
            .into_iter()
            .map(|file| {
                let (result, wait) = channel();
                self.store()
                    .submit(file, Box::new(move |stored| drop(result.send(stored))));
                wait
            })
            .collect();
        waits.into_iter().map(|wait| wait.recv().unwrap()).collect()
    }

    fn put(&self, file: Incoming) -> Result<Outcome, StoreError> {
        self.put_all(vec![file]).remove(0)
    }

    fn inventory(&self, journal: &str) -> io::Result<Inventory> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(self.store().inventory(journal.into()))
    }

    fn holding(&self, journal: &str) -> io::Result<Vec<StoredFile>> {
        self.inventory(journal).map(|told| told.files)
    }

    fn remove(&self, journal: &str, number: u64) -> io::Result<()> {
        self.remove_if(journal, number, None)
    }

    fn remove_if(&self, journal: &str, number: u64, expected: Option<Expected>) -> io::Result<()> {
        let (result, wait) = channel();
        self.store().remove(
            journal.into(),
            number,
            expected,
            Box::new(move |removed| drop(result.send(removed))),
        );
        wait.recv().unwrap()
    }

    fn end(&mut self) {
        drop(self.store.take());
        self.thread.take().unwrap().join().unwrap();
    }

    fn restart(&mut self) {
        self.end();
        *self = Self::open(&self.dir);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.store.is_some() {
            self.end();
        }
    }
}

#[test]
fn a_number_that_comes_again_is_known_whatever_became_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    // More than one batch, each number twice, one after the other or far apart.
    let again = (1..=700).flat_map(|number| {
        [
            claimed(JOURNAL, number, "one"),
            claimed(JOURNAL, number, "one"),
        ]
    });
    let ended = store.put_all(again.collect());
    let count = |ended: Vec<Result<Outcome, StoreError>>, what| {
        ended
            .into_iter()
            .filter(|result| result.as_ref().unwrap() == what)
            .count()
    };
    assert_eq!(count(ended, &Outcome::Stored), 700);
    for round in 0..2 {
        let again = (1..=700)
            .map(|number| claimed(JOURNAL, number, "one"))
            .collect();
        assert_eq!(count(store.put_all(again), &Outcome::Known), 700);
        assert_eq!(listing(dir.path()).len(), 700 - 100 * round);
        for number in 1..=100 {
            let _ = fs::remove_file(dir.path().join(format!("{number}_x.json")));
        }
        store.restart();
    }
    assert_eq!(store.holding(JOURNAL).unwrap().len(), 700);
}

#[test]
fn a_number_with_other_content_is_a_conflict_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    let both = store.put_all(vec![claimed(JOURNAL, 7, "one"), claimed(JOURNAL, 7, "two")]);
    assert!(
        matches!(
            both[..],
            [
                Ok(Outcome::Stored),
                Err(StoreError::Conflict { number: 7, .. })
            ]
        ),
        "{both:?}"
    );
    store.restart();
    let longer = store
        .put(claimed(JOURNAL, 7, "longer"))
        .unwrap_err()
        .to_string();
    assert!(
        longer.contains("3 bytes with CRC32C") && longer.contains("not 6 with"),
        "{longer}"
    );
    assert_eq!(listing(dir.path()), ["7_x.json"]);
    assert_eq!(fs::read(dir.path().join("7_x.json")).unwrap(), b"one");
}

/// Two balancers give the same number to files that are the same: each has a copy of its own, which
/// it can drop.
#[test]
fn balancers_do_not_share_copies() {
    let dir = tempfile::tempdir().unwrap();
    let store = Asked::open(dir.path());
    for journal in [JOURNAL, OTHER] {
        assert_eq!(
            store.put(claimed(journal, 1, "one")).unwrap(),
            Outcome::Stored
        );
    }
    assert_eq!(listing(dir.path()), ["1_x.json", "1_x~2.json"]);
    store.remove(OTHER, 1).unwrap();
    assert_eq!(listing(dir.path()), ["1_x.json"]);
    assert_eq!(store.holding(JOURNAL).unwrap(), [held(1, "one")]);
    assert!(store.holding(OTHER).unwrap().is_empty());
}

/// A balancer that knows higher numbers knows that the directory was set back; one that knows only
/// lower ones was itself.
#[test]
fn the_highest_number_of_each_journal_is_told_whatever_became_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    store.put_all(
        [3, 9, 4]
            .map(|number| claimed(JOURNAL, number, "one"))
            .into(),
    );
    store.put(file(70, "x.json", "of nobody")).unwrap();
    store.store().confirm(JOURNAL.into(), vec![3, 4, 9], None);
    for _ in 0..3 {
        assert_eq!(
            (
                store.inventory(JOURNAL).unwrap().seen,
                store.inventory(OTHER).unwrap().seen
            ),
            (Some(9), Some(0))
        );
        store.restart();
    }
    assert!(store.holding(JOURNAL).unwrap().is_empty());
}

/// What is planted under a name has the content, but is not in this directory, or goes with
/// another's name.
#[test]
fn a_link_to_the_same_content_is_not_a_stored_file() {
    use std::os::unix::fs::symlink;
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (target, other) = (elsewhere.path().join("target"), dir.path().join("another"));
    fs::write(&target, "one").unwrap();
    fs::write(&other, "one").unwrap();
    symlink(&target, dir.path().join("1_x.json")).unwrap();
    symlink("another", dir.path().join("2_x.json")).unwrap();
    fs::hard_link(&other, dir.path().join("3_x.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("4_x.json"), 0o600.into()).unwrap();
    let store = Asked::open(dir.path());
    let both = [1, 2, 3, 4].into_iter().flat_map(|number| {
        [
            file(number, "x.json", "one"),
            claimed(JOURNAL, number, "one"),
        ]
    });
    for stored in store.put_all(both.collect()) {
        stored.unwrap();
    }
    fs::remove_file(&target).unwrap();
    fs::remove_file(&other).unwrap();
    for number in 1..=4 {
        let path = dir.path().join(format!("{number}_x~2.json"));
        assert!(
            fs::symlink_metadata(&path).unwrap().is_file() && fs::read(&path).unwrap() == b"one",
            "{number}"
        );
    }
}

/// What needs no index does not depend on it.
#[test]
fn without_an_index_only_files_of_balancers_that_reconcile_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("bilico-index 2 {JOURNAL}");
    let later = format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()));
    fs::write(dir.path().join(".bilico-index"), later).unwrap();
    let store = Asked::open(dir.path());
    let files = vec![
        file(1, "x", "1"),
        claimed(JOURNAL, 2, "2"),
        file(3, "x", "3"),
    ];
    let ended: Vec<bool> = store.put_all(files).iter().map(Result::is_ok).collect();
    assert_eq!(ended, [true, false, true]);
    assert_eq!(listing(dir.path()), ["1_x", "3_x"]);
    assert!(store.holding(JOURNAL).is_err());
}

#[test]
fn cleaning_keeps_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Asked::open(dir.path());
    let identity = store.store().identity();
    store.put(claimed(JOURNAL, 1, "one")).unwrap();
    store.end();
    let (cleaned, thread) = Store::open(
        dir.path(),
        true,
        Durability::Disk,
        ReadableBy::Owner,
        CancellationToken::new(),
    )
    .unwrap();
    assert_eq!(cleaned.identity(), identity);
    drop(cleaned);
    thread.join().unwrap();
    assert!(listing(dir.path()).is_empty());
    assert_eq!(
        Asked::open(dir.path()).holding(JOURNAL).unwrap(),
        [held(1, "one")]
    );
}
