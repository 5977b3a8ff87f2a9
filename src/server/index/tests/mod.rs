//! What the index keeps, over real directories.

mod damage;
mod fixture;
mod model;
mod upkeep;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use super::super::directory::Directory;
use super::super::opened::Opened;
use super::disk::{NAME, PART};
use super::live::{GARBAGE, NOBODY};
use super::*;
use crate::protocol::lists::StoredFile;

const JOURNAL: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// A directory on a disk that syncs at no cost, where there is one: these tests sync thousands of
/// times.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn key(journal: &str, number: u64) -> Key {
    Key::new(journal.into(), number)
}

/// The content of the file with this number.
fn content(number: u64) -> Vec<u8> {
    format!("file {number}").into_bytes()
}

fn entry(number: u64) -> IndexEntry {
    let content = content(number);
    let (size, crc32c) = (content.len() as u64, crc32c::crc32c(&content));
    IndexEntry {
        size,
        crc32c,
        name: format!("{number}_è x.json").into(),
        shared: false,
    }
}

fn held(number: u64) -> StoredFile {
    let entry = entry(number);
    StoredFile(number, entry.size, entry.crc32c)
}

/// Stores files as the keeper does.
fn store(index: &mut Index, journal: &str, numbers: &[u64]) {
    let files: Vec<_> = numbers
        .iter()
        .map(|number| (key(journal, *number), entry(*number)))
        .collect();
    index
        .announce(files.iter().map(|(key, entry)| (key, entry)))
        .unwrap();
    index.sync().unwrap();
    for number in numbers {
        fs::write(
            index.dir.path().join(&*entry(*number).name),
            content(*number),
        )
        .unwrap();
    }
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
}

fn opened(dir: &Path) -> Arc<Opened> {
    Directory::new(dir).now().unwrap()
}

fn open(dir: &Path) -> Index {
    Index::open(&opened(dir)).unwrap()
}

fn reopen(index: Index) -> Index {
    let dir = index.dir.path().to_owned();
    drop(index);
    open(&dir)
}

fn lines(dir: &Path) -> usize {
    fs::read_to_string(dir.join(NAME)).unwrap().lines().count()
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn what_is_stored_is_held_until_it_is_confirmed_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[3, 1, 2, u64::MAX]);
    store(&mut index, OTHER, &[2]);
    for _ in 0..2 {
        assert_eq!(
            index.files_of(JOURNAL),
            [held(1), held(2), held(3), held(u64::MAX)]
        );
        assert_eq!(index.files_of(OTHER), [held(2)]);
        assert!(index.files_of("nobody's").is_empty());
        assert_eq!(index.get(&key(JOURNAL, 2)), Some(&entry(2)));
        index = reopen(index);
    }
    index.confirm(&JOURNAL.into(), vec![1, 3, 77]).unwrap();
    index.remove(&[key(JOURNAL, u64::MAX)]).unwrap();
    for _ in 0..2 {
        assert_eq!(index.files_of(JOURNAL), [held(2)]);
        assert_eq!(index.files_of(OTHER), [held(2)]);
        index = reopen(index);
    }
    store(&mut index, JOURNAL, &[1]);
    assert_eq!(
        reopen(index).files_of(JOURNAL),
        [held(1), held(2)],
        "a number may come again"
    );
}

#[test]
fn the_identity_stays_and_is_another_in_another_directory() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = open(one.path());
    let identity = index.identity().clone();
    assert!(identity.len() == 32 && identity.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let mut index = reopen(index);
    assert_eq!(*index.identity(), identity);
    index.rewrite().unwrap();
    assert_eq!(*reopen(index).identity(), identity);
    assert_ne!(*open(other.path()).identity(), identity);
}

#[test]
fn one_server_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    assert!(Index::open(&opened(dir.path())).is_err());
    drop(index);
    assert!(Index::open(&opened(dir.path())).is_ok());
}
