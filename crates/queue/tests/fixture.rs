//! A journal that an earlier version wrote is opened, and everything in it is found.
//!
//! `tests/fixtures/journal-v1` is a journal of format version 1. It must be readable for ever: see
//! `tests/fixtures/README.md`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bilico_core::durability::Durability;
use bilico_core::file::{Attempt, History, Meta};
use bilico_queue::RealDisk;
use bilico_queue::backlog_entry::{ReadBack, read_back};
use bilico_queue::content::{self, Part};
use bilico_queue::disk::{Disk, Space};
use bilico_queue::journal::{Journal, JournalConfig, Op};
use bilico_queue::record::{Accepted, Content, Death, End, Ended};
use bilico_queue::recovery::{self, Recovered};
use bytes::Bytes;

const CONFIG: JournalConfig = JournalConfig {
    durability: Durability::Disk,
    segment_size: Some(1024 * 1024),
};

/// The size of the large file, whose content does not fit into a record.
const LARGE: usize = 70_000;

/// The number of a file that ended and is forgotten.
const FORGOTTEN: u64 = 8;

/// The number of the large file, and the id of its content file.
const LARGE_NUMBER: u64 = 6;

/// Bytes behind the last batch that are no record, as a crash leaves them.
const TORN: &[u8] = b"bytes of a record that was never synced";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/journal-v1")
}

fn content_of(number: u64) -> Bytes {
    let len = match number {
        2 => 0,
        LARGE_NUMBER => LARGE,
        _ => 100 + usize::try_from(number % 1000).unwrap() * 10,
    };
    let byte = |at: usize| u8::try_from((at as u64 * 31 + number * 7) % 251).unwrap();
    (0..len).map(byte).collect::<Vec<u8>>().into()
}

fn meta(number: u64) -> Arc<Meta> {
    let content = content_of(number);
    Arc::new(Meta {
        title: format!("però {number}.json").into(),
        key: (!number.is_multiple_of(4)).then(|| format!("key-{number}").into()),
        from: "192.0.2.7:40000".into(),
        size: content.len() as u64,
        crc32c: crc32c::crc32c(&content),
        accepted_ms: 1_795_000_000_000 + number,
    })
}

fn attempt(at_ms: u64) -> Attempt {
    Attempt {
        at_ms,
        server: "192.0.2.8:5001".into(),
        reason: "disk full".into(),
    }
}

fn death() -> Death {
    Death {
        at_ms: 1_795_000_100_000,
        reason: "too large for every server".into(),
    }
}

fn history(attempts: u64, is_failure: bool) -> History {
    let mut history = History::default();
    for at_ms in 0..attempts {
        history.add(attempt(at_ms), is_failure);
    }
    history
}

/// The history of a dead letter that waits again.
fn replayed() -> History {
    let mut history = history(1, true);
    history.replayed(death().at_ms, &death().reason);
    history
}

fn accept(number: u64) -> Op {
    Op::Accept(Box::new(Accepted {
        number,
        meta: meta(number),
        history: History::default(),
        death: None,
        content: if number == LARGE_NUMBER {
            Content::Own(LARGE_NUMBER)
        } else {
            Content::Inline(content_of(number))
        },
    }))
}

fn fail(number: u64, at_ms: u64, is_failure: bool) -> Op {
    Op::Attempt {
        number,
        attempt: attempt(at_ms),
        is_failure,
    }
}

/// How each of the files ended that did.
fn ends() -> Vec<Ended> {
    let ended = |number, end| Ended {
        number,
        at_ms: 1_795_000_200_000 + number,
        end,
        meta: meta(number),
        history: History::default(),
    };
    let delivered = |identity: Option<&str>| End::Delivered {
        server: "192.0.2.8:5001".into(),
        identity: identity.map(Arc::from),
        confirmed: identity.is_some(),
    };
    vec![
        ended(1, delivered(Some("00112233445566778899aabbccddeeff"))),
        ended(4, delivered(None)),
        ended(
            5,
            End::Dropped {
                reason: "too large for every server".into(),
            },
        ),
    ]
}

/// What happened to the files that wait or are dead letters.
fn changes(after_adoption: u64) -> BTreeMap<u64, (History, Option<Death>)> {
    BTreeMap::from([
        (2, (history(3, false), None)),
        (3, (history(2, true), Some(death()))),
        (LARGE_NUMBER, (History::default(), None)),
        (7, (replayed(), None)),
        (after_adoption, (History::default(), None)),
    ])
}

fn open(dir: &Path) -> (Journal, Recovered) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir).unwrap());
    recovery::open(disk, CONFIG).unwrap()
}

/// Opens the journal, which begins a segment, and commits these operations. The large file's
/// content comes first: the next recovery would remove content that no record names.
fn write(dir: &Path, ops: Vec<Op>) {
    let (mut journal, _) = open(dir);
    let has_large = |op: &Op| matches!(op, Op::Accept(file) if file.number == LARGE_NUMBER);
    if ops.iter().any(has_large) {
        upload(dir);
    }
    journal.prepare().unwrap();
    for op in ops {
        journal.apply(op);
    }
    journal.commit().unwrap();
    let space = Space {
        total: u64::MAX,
        available: u64::MAX,
    };
    while journal.clean(space).unwrap() > 0 {
        journal.commit().unwrap();
    }
    journal.mark().unwrap();
}

fn upload(dir: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir).unwrap());
    let mut part = Part::create(disk, 1).unwrap();
    part.write(&content_of(LARGE_NUMBER)).unwrap();
    part.finish(LARGE_NUMBER, Durability::Disk).unwrap();
}

/// Writes the fixture, which must not be there yet: a format that has been written is not written
/// again.
#[test]
#[ignore = "it writes the fixture of today's format"]
fn write_the_fixture() {
    let dir = fixture();
    fs::create_dir(&dir).expect("the fixture is there already");
    let [delivered, old_style, dropped] = <[Ended; 3]>::try_from(ends()).unwrap();
    let end = |ended| Op::End(Box::new(ended));
    let bury = |number| Op::Bury {
        number,
        death: death(),
    };
    // The next start forgets all of the first segment, records that, and removes it.
    let forgotten = Ended {
        number: FORGOTTEN,
        meta: meta(FORGOTTEN),
        ..delivered.clone()
    };
    write(&dir, vec![accept(FORGOTTEN), end(forgotten)]);
    let forget = std::iter::once(Op::Forget(vec![FORGOTTEN]));
    let fails = (0..3).map(|at_ms| fail(2, at_ms, false));
    write(
        &dir,
        forget.chain((1..=5).map(accept)).chain(fails).collect(),
    );
    write(
        &dir,
        vec![
            accept(LARGE_NUMBER),
            end(delivered),
            fail(3, 0, true),
            fail(3, 1, true),
            bury(3),
            bury(5),
        ],
    );
    write(
        &dir,
        vec![
            accept(7),
            fail(7, 0, true),
            bury(7),
            end(old_style),
            end(dropped),
        ],
    );
    write(&dir, vec![Op::Replay { number: 7 }]);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&dir).unwrap());
    let adopted = recovery::adopt(disk, CONFIG).unwrap().unwrap();
    write(&dir, vec![accept(adopted.next_number)]);
    let last = segments(&dir).pop().unwrap();
    let torn = [fs::read(&last).unwrap(), TORN.to_vec()].concat();
    fs::write(&last, torn).unwrap();
    // Room on a disk is no part of the format.
    fs::remove_file(dir.join("reserve")).unwrap();
}

/// The paths of the segments, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    found.sort();
    found
}

/// The bytes of all files in a directory.
fn bytes_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let named = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| named(entry.unwrap()))
        .collect()
}

/// Checks every file of a journal that was found in `dir`.
fn check_files(dir: &Path, recovered: &Recovered, after_adoption: u64) {
    let places = recovered
        .files
        .iter()
        .map(|(number, _)| (number, recovered.location(number).unwrap()))
        .collect();
    let mut expected = changes(after_adoption);
    for (number, back) in read_back(&recovered.journal, places, true) {
        let ReadBack::File(file) = back else {
            panic!("file {number}: {back:?}")
        };
        let (history, death) = expected
            .remove(&number)
            .expect("a file that should be there");
        let changes = recovered.changes.get(&number).cloned().unwrap_or_default();
        assert_eq!(
            (changes.history, changes.death),
            (history, death),
            "{number}"
        );
        assert_eq!(file.meta, meta(number));
        let content = match file.content {
            Content::Inline(content) => content,
            Content::Own(id) => fs::read(dir.join(content::name(id))).unwrap().into(),
        };
        assert_eq!(content, content_of(number), "{number}");
    }
    assert!(expected.is_empty(), "missing: {:?}", expected.keys());
    assert_eq!(recovered.ended, ends());
}

#[test]
fn a_journal_of_format_version_1_is_read_whole() {
    let before = bytes_of(&fixture());
    let identity = String::from_utf8(before["journal-id"].clone()).unwrap();
    let ids: Vec<&str> = identity
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    let hex = |id: [u8; 16]| format!("{:032x}", u128::from_be_bytes(id));

    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in &before {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (journal, recovered) = open(dir.path());
    assert_eq!(ids, [hex(recovered.journal), hex(recovered.known_as)]);
    let after_adoption = recovery::SKIPPED + FORGOTTEN + 1;
    check_files(dir.path(), &recovered, after_adoption);
    assert!(recovered.report.is_sound(), "{:?}", recovered.report);
    let torn = recovered.report.torn.expect("the torn tail");
    assert_eq!(torn.len, TORN.len() as u64);
    assert_eq!(
        fs::read(dir.path().join(torn.aside.unwrap())).unwrap(),
        TORN
    );
    assert!(recovered.next_number > after_adoption);
    for number in (1..=7).chain([after_adoption]) {
        let found = meta(number).key.as_ref().map(|key| recovered.keys.get(key));
        assert!(found.is_none_or(|found| found == Some(number)), "{number}");
    }

    // What this version writes behind it, it reads back.
    drop(journal);
    let (_, again) = open(dir.path());
    check_files(dir.path(), &again, after_adoption);
    assert!(again.report.torn.is_none());
    assert_eq!(
        bytes_of(&fixture()),
        before,
        "opening a copy changed the fixture"
    );
}

/// A journal of a later format is refused, whichever segment says so, and nothing is changed.
#[test]
fn a_journal_of_an_unknown_version_is_refused_and_left_alone() {
    for place in 0..segments(&fixture()).len() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in bytes_of(&fixture()) {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let segment = segments(dir.path()).remove(place);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[7] = 2;
        let crc = crc32c::crc32c(&bytes[..56]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        fs::write(&segment, bytes).unwrap();
        let before = bytes_of(dir.path());

        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).unwrap());
        let checked = recovery::check(&*disk).map(drop).unwrap_err();
        let adopted = recovery::adopt(disk.clone(), CONFIG).map(drop).unwrap_err();
        let opened = recovery::open(disk, CONFIG).map(drop).unwrap_err();
        let name = segment.file_name().unwrap().to_str().unwrap();
        let expected = format!(
            "{name} has version 2 of the journal's format: this program reads version 1; \
             use the version of Bilico that wrote it, or a later one"
        );
        for error in [checked, adopted, opened] {
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(bytes_of(dir.path()), before);
    }
}
