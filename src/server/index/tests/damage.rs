//! Damage, crashes, and files that are not an index.

use super::*;

/// A file in which everything occurs, and what it says of each number after each line.
fn sample(dir: &Path) -> Vec<u8> {
    let mut index = open(dir);
    store(&mut index, JOURNAL, &[1, 2]);
    store(&mut index, OTHER, &[2]);
    index.confirm(&JOURNAL.into(), vec![1]).unwrap();
    store(&mut index, JOURNAL, &[4]);
    fs::remove_file(dir.join(&*entry(4).name)).unwrap();
    index.remove(&[key(JOURNAL, 4)]).unwrap();
    index.share(2, &entry(2).name);
    store(&mut index, JOURNAL, &[5]);
    drop(index);
    fs::read(dir.join(NAME)).unwrap()
}

/// Puts back what [`sample`] left.
fn restore(dir: &Path, index: &[u8]) {
    for name in names(dir) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    fs::write(dir.join(NAME), index).unwrap();
}

/// Checks that all entries are of these files, which were stored.
fn check_no_invention(index: &Index, stored: &[u64], context: &str) {
    for (journal, number, found) in index.table.iter() {
        assert!([JOURNAL, OTHER].contains(&&**journal), "{context}");
        assert!(stored.contains(&number), "{context}: {number}");
        assert_eq!(
            IndexEntry {
                shared: false,
                ..found.clone()
            },
            entry(number),
            "{context}"
        );
    }
}

#[test]
fn a_file_torn_at_any_byte_keeps_what_was_whole() {
    let dir = quick_dir();
    let whole = sample(dir.path());
    let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for len in 0..whole.len() {
        restore(dir.path(), &whole[..len]);
        let index = open(dir.path());
        // 4 was stored once; a crash may lose the line that says it was removed, and then its
        // balancer asks again.
        check_no_invention(&index, &[1, 2, 4, 5], &format!("{len} bytes"));
        let aside = names(dir.path())
            .iter()
            .any(|name| name.contains("damaged"));
        assert_eq!(aside, len < first_line, "{len} bytes");
        let holding = (index.files_of(JOURNAL), index.files_of(OTHER));
        let mut index = reopen(index);
        assert_eq!(
            (index.files_of(JOURNAL), index.files_of(OTHER)),
            holding,
            "{len} bytes"
        );
        store(&mut index, OTHER, &[5]);
        assert!(
            reopen(index).files_of(OTHER).contains(&held(5)),
            "{len} bytes"
        );
    }
}

#[test]
fn any_flipped_bit_neither_panics_nor_invents_an_entry() {
    let dir = quick_dir();
    let whole = sample(dir.path());
    let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        restore(dir.path(), &flipped);
        let index = open(dir.path());
        check_no_invention(&index, &[1, 2, 5], &format!("bit {bit}"));
        let last_feed = bit / 8 == whole.len() - 1;
        let aside = names(dir.path())
            .iter()
            .any(|name| name.contains("damaged"));
        assert!(
            aside || last_feed,
            "bit {bit}: damage is kept for a look at it"
        );
        if bit / 8 >= first_line {
            assert!(
                !index.files_of(OTHER).is_empty() || !index.files_of(JOURNAL).is_empty(),
                "bit {bit}"
            );
        }
        let kept = (index.files_of(JOURNAL), index.files_of(OTHER));
        let index = reopen(index);
        assert_eq!(
            (index.files_of(JOURNAL), index.files_of(OTHER)),
            kept,
            "bit {bit}"
        );
    }
}

/// The line that removes an entry may be the damaged one: what has no file is then not claimed to
/// be stored. Without damage it is, since its consumer may have taken it.
#[test]
fn after_damage_only_files_that_are_there_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[1, 2]);
    fs::remove_file(dir.path().join(&*entry(1).name)).unwrap();
    let index = reopen(index);
    assert_eq!(index.files_of(JOURNAL), [held(1), held(2)]);
    drop(index);
    let mut text = fs::read_to_string(dir.path().join(NAME)).unwrap();
    text.push_str("00000000 dropped of something\n");
    fs::write(dir.path().join(NAME), text).unwrap();
    let index = open(dir.path());
    assert_eq!(index.files_of(JOURNAL), [held(2)]);
    assert_eq!(reopen(index).files_of(JOURNAL), [held(2)]);
    assert!(names(dir.path())[1].contains(".bilico-index.damaged-"));
}

/// The server died between announcing files and saying that they are stored: those that got their
/// name count.
#[test]
fn what_was_only_announced_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let files: Vec<_> = (1..=5)
        .map(|number| (key(JOURNAL, number), entry(number)))
        .collect();
    index
        .announce(files.iter().map(|(key, entry)| (key, entry)))
        .unwrap();
    let write = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).unwrap();
    write(&entry(1).name, &content(1));
    write(&entry(2).name, b"other!");
    write(&entry(3).name, b"other!");
    write("3_è x~2.json", &content(3));
    write(&entry(4).name, b"file 5");
    for _ in 0..2 {
        index = reopen(index);
        assert_eq!(index.files_of(JOURNAL), [held(1), held(3)]);
        assert_eq!(&*index.get(&key(JOURNAL, 3)).unwrap().name, "3_è x~2.json");
    }
}

#[test]
fn what_is_no_index_is_set_aside() {
    for content in [
        "",
        "x",
        "\n",
        "00000000 bilico-index 1 x\n",
        "\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), content).unwrap();
        assert!(open(dir.path()).files_of(JOURNAL).is_empty());
        let names = names(dir.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            fs::read_to_string(dir.path().join(&names[1])).unwrap(),
            content
        );
    }
}

#[test]
fn an_index_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("bilico-index 2 {JOURNAL}");
    let whole = format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()));
    fs::write(dir.path().join(NAME), &whole).unwrap();
    assert!(
        Index::open(&opened(dir.path()))
            .unwrap_err()
            .to_string()
            .contains("version 2")
    );
    assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), whole);
}

#[test]
fn an_index_that_was_replaced_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    assert!(index.is_in_place().unwrap());
    fs::copy(dir.path().join(NAME), dir.path().join("x")).unwrap();
    fs::rename(dir.path().join("x"), dir.path().join(NAME)).unwrap();
    assert!(!index.is_in_place().unwrap());
    fs::remove_file(dir.path().join(NAME)).unwrap();
    assert!(!index.is_in_place().unwrap());
}

/// What is planted there leads elsewhere.
#[test]
fn nothing_but_a_regular_file_is_an_index() {
    use std::os::unix::fs::symlink;
    let target = tempfile::NamedTempFile::new().unwrap();
    fs::write(target.path(), "precious").unwrap();
    for name in [NAME, PART] {
        let plants: [&dyn Fn(&Path); 3] = [
            &|path| symlink(target.path(), path).unwrap(),
            &|path| fs::create_dir(path).unwrap(),
            &|path| {
                rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap();
            },
        ];
        for plant in plants {
            let dir = tempfile::tempdir().unwrap();
            plant(&dir.path().join(name));
            let error = Index::open(&opened(dir.path())).unwrap_err().to_string();
            let path = dir.path().join(name).display().to_string();
            assert!(
                error.starts_with(&path) && error.contains("remove it"),
                "{error}"
            );
            assert_eq!(
                names(dir.path()),
                [name],
                "it stays, and nothing comes beside it"
            );
        }
    }
    assert_eq!(fs::read(target.path()).unwrap(), b"precious");
}

/// The other name is somebody else's file, which must not change.
#[test]
fn an_index_with_another_name_is_written_to_a_new_file() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[1]);
    drop(index);
    let link = other.path().join("link");
    if fs::hard_link(dir.path().join(NAME), &link).is_err() {
        return;
    }
    let before = fs::read(&link).unwrap();
    let mut index = open(dir.path());
    store(&mut index, JOURNAL, &[2]);
    assert_eq!(fs::read(&link).unwrap(), before);
    assert_eq!(reopen(index).files_of(JOURNAL), [held(1), held(2)]);
}
