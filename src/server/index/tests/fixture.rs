//! The directory of a server of the first version of the format, as it lies in `tests/fixtures`.

use super::*;

/// A copy of the fixture, which opening changes.
fn copy_of_fixture() -> tempfile::TempDir {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/index-v1");
    let dir = quick_dir();
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

fn stored(number: u64, content: &[u8], name: &str, shared: bool) -> (u64, IndexEntry) {
    let entry = IndexEntry {
        size: content.len() as u64,
        crc32c: crc32c::crc32c(content),
        name: name.into(),
        shared,
    };
    (number, entry)
}

/// What an earlier program has stored must not be stored again, nor be removed in place of another
/// file, because a newer one reads its index otherwise.
#[test]
fn an_index_of_version_1_is_read_as_it_was_written() {
    let dir = copy_of_fixture();
    let expected = [
        stored(1, b"one", "1_x.json", false),
        stored(4, "perché\r\n".as_bytes(), "4_è un file.txt", false),
        stored(5, b"same", "5_x.json", true),
        stored(6, b"mine", "6_x~2.json", false),
        // Announced, and published just before the server was killed.
        stored(7, b"seven", "7_seven.json", false),
    ];
    for restart in 0..2 {
        let index = open(dir.path());
        assert_eq!(&**index.identity(), "22635086535f7f0aa5c542061fa5d943");
        for (number, entry) in &expected {
            assert_eq!(index.get(&key(JOURNAL, *number)), Some(entry), "{restart}");
            let content = fs::read(dir.path().join(&*entry.name)).unwrap();
            assert_eq!(crc32c::crc32c(&content), entry.crc32c);
        }
        let (_, other) = stored(1, b"of another journal", "1_b.json", false);
        assert_eq!(index.get(&key(OTHER, 1)), Some(&other));
        let numbers = |journal: &str| {
            let files = index.files_of(journal).into_iter();
            files
                .map(|StoredFile(number, ..)| number)
                .collect::<Vec<_>>()
        };
        // 2 was confirmed, 3 dropped, and 8 announced and never published.
        assert_eq!(numbers(JOURNAL), [1, 4, 5, 6, 7]);
        assert_eq!(numbers(OTHER), [1]);
        assert_eq!(index.seen(JOURNAL), Some(8));
        assert_eq!(index.seen(OTHER), Some(1));
        assert_eq!(index.seen(NOBODY), Some(9));
        assert_eq!(index.seen("a journal that stored nothing here"), Some(0));
    }
    assert!(dir.path().join("2_due.json").exists());
}

#[test]
fn an_index_of_another_version_says_what_to_do_and_stays_as_it_is() {
    let dir = copy_of_fixture();
    let text = format!("bilico-index 2 {JOURNAL}");
    let first = format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()));
    let before = fs::read_to_string(dir.path().join(NAME)).unwrap();
    let (_, rest) = before.split_once('\n').unwrap();
    let newer = first + rest;
    fs::write(dir.path().join(NAME), &newer).unwrap();
    let files = names(dir.path());
    let error = Index::open(&opened(dir.path())).unwrap_err().to_string();
    for part in [
        "version 2",
        "only version 1",
        "use the program that wrote it, or move .bilico-index away",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), newer);
    assert_eq!(names(dir.path()), files);
}
