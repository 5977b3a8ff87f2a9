use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::directory::Directory;
use super::*;

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
            index.holding(JOURNAL),
            [held(1), held(2), held(3), held(u64::MAX)]
        );
        assert_eq!(index.holding(OTHER), [held(2)]);
        assert!(index.holding("nobody's").is_empty());
        assert_eq!(index.get(&key(JOURNAL, 2)), Some(&entry(2)));
        index = reopen(index);
    }
    index.confirm(&JOURNAL.into(), vec![1, 3, 77]).unwrap();
    index.remove(&[key(JOURNAL, u64::MAX)]).unwrap();
    for _ in 0..2 {
        assert_eq!(index.holding(JOURNAL), [held(2)]);
        assert_eq!(index.holding(OTHER), [held(2)]);
        index = reopen(index);
    }
    store(&mut index, JOURNAL, &[1]);
    assert_eq!(
        reopen(index).holding(JOURNAL),
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
        let holding = (index.holding(JOURNAL), index.holding(OTHER));
        let mut index = reopen(index);
        assert_eq!(
            (index.holding(JOURNAL), index.holding(OTHER)),
            holding,
            "{len} bytes"
        );
        store(&mut index, OTHER, &[5]);
        assert!(
            reopen(index).holding(OTHER).contains(&held(5)),
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
                !index.holding(OTHER).is_empty() || !index.holding(JOURNAL).is_empty(),
                "bit {bit}"
            );
        }
        let kept = (index.holding(JOURNAL), index.holding(OTHER));
        let index = reopen(index);
        assert_eq!(
            (index.holding(JOURNAL), index.holding(OTHER)),
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
    assert_eq!(index.holding(JOURNAL), [held(1), held(2)]);
    drop(index);
    let mut text = fs::read_to_string(dir.path().join(NAME)).unwrap();
    text.push_str("00000000 dropped of something\n");
    fs::write(dir.path().join(NAME), text).unwrap();
    let index = open(dir.path());
    assert_eq!(index.holding(JOURNAL), [held(2)]);
    assert_eq!(reopen(index).holding(JOURNAL), [held(2)]);
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
        assert_eq!(index.holding(JOURNAL), [held(1), held(3)]);
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
        assert!(open(dir.path()).holding(JOURNAL).is_empty());
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
        index.tidy();
    }
    assert!(lines(dir.path()) < 2000, "{}", lines(dir.path()));
    store(&mut index, OTHER, &[9]);
    let index = reopen(index);
    assert_eq!(
        (index.holding(JOURNAL), index.holding(OTHER)),
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
    assert_eq!(index.holding(JOURNAL).len(), 10);
    store(&mut index, OTHER, &[1, 2]);
    let left: Vec<_> = (11..=18).map(held).collect();
    assert_eq!(
        (index.holding(JOURNAL), index.holding(OTHER)),
        (left.clone(), vec![held(1), held(2)])
    );
    let index = reopen(index);
    assert_eq!(
        (index.holding(JOURNAL), index.holding(OTHER)),
        (left, vec![held(1), held(2)])
    );
    drop(index);
    let mut index = Index::open_with(&opened(dir.path()), 3).unwrap();
    assert_eq!(index.table.len(), 3);
    assert_eq!(index.holding(OTHER), [held(1), held(2)]);
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
    assert_eq!(reopen(index).holding(JOURNAL), [held(1), held(3)]);
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
        index.holding(JOURNAL),
        [held(1)],
        "what is not written down is not forgotten"
    );
    store(&mut index, JOURNAL, &[2]);
    assert_eq!(reopen(index).holding(JOURNAL), [held(1), held(2)]);
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
            (&**index.identity(), index.holding(JOURNAL)),
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
    assert_eq!(reopen(index).holding(JOURNAL), [held(1), held(2)]);
}

/// Whatever is done, in whatever order, with restarts in between: the index says what a plain map
/// does.
mod model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Store(Vec<u64>),
        Confirm(Vec<u64>),
        Remove(u64),
        Rewrite,
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        let numbers = || proptest::collection::vec(0..10u64, 1..5);
        prop_oneof![
            numbers().prop_map(Step::Store),
            numbers().prop_map(Step::Confirm),
            (0..10u64).prop_map(Step::Remove),
            Just(Step::Rewrite),
            Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_index_says_what_a_map_does(steps in proptest::collection::vec(step(), 1..30)) {
            let dir = quick_dir();
            let mut index = open(dir.path());
            let mut map = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Store(numbers) => {
                        let new: Vec<_> = numbers.into_iter().filter(|number| !map.contains_key(number)).collect();
                        map.extend(new.iter().map(|number| (*number, held(*number))));
                        store(&mut index, JOURNAL, &new);
                    }
                    Step::Confirm(numbers) => {
                        map.retain(|number, _| !numbers.contains(number));
                        index.confirm(&JOURNAL.into(), numbers).unwrap();
                    }
                    Step::Remove(number) => {
                        map.remove(&number);
                        index.remove(&[key(JOURNAL, number)]).unwrap();
                    }
                    Step::Rewrite => index.rewrite().unwrap(),
                    Step::Reopen => index = reopen(index),
                }
                prop_assert!(index.holding(JOURNAL).iter().eq(map.values()));
            }
        }
    }
}
