//! The core, told what happens; and the state on disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::entry::{Entry, Stage};
use super::error::WatchError;
use super::file::{Found, Ident};
use super::folder::{Folder, How, Next};
use super::record::Record;
use super::state::State;

const SETTLE: Duration = Duration::from_secs(2);

fn found(path: &str, inode: u64, written: i64) -> Found {
    Found {
        path: Path::new(path).into(),
        ident: Ident {
            inode,
            born: Some(inode),
            written: (written, 0),
            size: 10,
        },
        device: 1,
        touched: (written, 0),
    }
}

/// A folder, and its clock.
struct World {
    folder: Folder,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(vec![], vec![])
    }

    fn with(entries: Vec<Entry>, kept: Vec<u128>) -> Self {
        Self {
            folder: Folder::new(SETTLE, entries, kept, 0),
            now: Instant::now(),
        }
    }

    fn look(&mut self, found: &Found, how: How) -> Next {
        self.folder.look(found.clone(), (0, true), how, self.now)
    }

    /// Time passes, and files that are due are looked at again: they are as given.
    fn pass(&mut self, time: Duration, as_now: &[&Found]) {
        self.now += time;
        for path in self.folder.due(self.now) {
            match as_now.iter().find(|found| found.path == path) {
                Some(found) => drop(self.look(found, How::There)),
                None => self.folder.gone(&path),
            }
        }
    }

    /// The paths of the files that are taken now.
    fn take(&mut self) -> Vec<String> {
        let taken = self.folder.take(true, ("p", "s"), 0);
        let numbers = taken.map_or_else(Vec::new, |(_, numbers)| numbers);
        let path = |n| {
            self.folder
                .entry(n)
                .unwrap()
                .found
                .path
                .display()
                .to_string()
        };
        numbers.into_iter().map(path).collect()
    }
}

#[test]
fn a_file_is_taken_when_it_stayed_the_same_for_long_enough() {
    let mut world = World::new();
    let (first, second) = (found("a", 1, 1), found("a", 1, 2));
    world.look(&first, How::There);
    world.pass(SETTLE / 2, &[]);
    assert_eq!(world.take(), [""; 0]);
    world.pass(SETTLE / 2, &[&second]);
    assert_eq!(world.take(), [""; 0], "it was written to");
    world.pass(SETTLE, &[&second]);
    assert_eq!(world.take(), ["a"]);
    assert_eq!(world.take(), [""; 0]);
    world.look(&second, How::Closed);
    world.pass(SETTLE, &[&second]);
    assert_eq!(world.take(), [""; 0], "it is under way");
}

#[test]
fn what_is_renamed_into_place_is_taken_at_once_and_what_was_closed_soon() {
    let mut world = World::new();
    let (whole, closed, gone) = (found("a", 1, 1), found("b", 2, 1), found("c", 3, 1));
    world.look(&whole, How::Whole);
    world.look(&closed, How::There);
    world.look(&closed, How::Closed);
    world.look(&gone, How::Closed);
    assert_eq!(world.take(), ["a"]);
    world.pass(SETTLE / 10, &[&closed]);
    assert_eq!(world.take(), ["b"]);
    assert_eq!(world.folder.waiting(), 0);
}

#[test]
fn a_file_that_takes_the_name_of_another_is_new() {
    let mut world = World::new();
    let (old, new) = (found("a", 1, 1), found("a", 2, 1));
    world.look(&old, How::Whole);
    world.look(&new, How::There);
    assert_eq!(world.take(), [""; 0]);
    world.pass(SETTLE, &[&new]);
    assert_eq!(world.take(), ["a"]);
    let again = found("a", 3, 1);
    world.look(&again, How::Whole);
    assert_eq!(world.take(), ["a"], "while the one before is under way");
    let keys: std::collections::BTreeSet<_> =
        world.folder.entries().map(|e| e.key.clone()).collect();
    assert_eq!(keys.len(), 2);
}

#[test]
fn a_renamed_file_is_the_same() {
    let mut world = World::new();
    world.look(&found("a", 1, 1), How::Whole);
    world.take();
    world.look(&found("b", 1, 1), How::Whole);
    assert_eq!(world.take(), [""; 0]);
    assert!(world.folder.missed(1));
    assert_eq!(&*world.folder.entry(1).unwrap().place, Path::new("b"));
    // It stays, and is renamed once more.
    world.folder.keep(1).unwrap();
    world.look(&found("c", 1, 1), How::Whole);
    assert_eq!(world.take(), [""; 0]);
    world.look(&found("c", 1, 2), How::Whole);
    assert_eq!(world.take(), ["c"], "it was written to");
}

#[test]
fn only_what_two_looks_in_a_row_did_not_find_is_gone() {
    let kept = [found("k", 7, 1), found("gone", 8, 1)];
    let mut world = World::with(vec![], kept.iter().map(|f| f.ident.fingerprint()).collect());
    for (sees, gone) in [(false, 0), (true, 1), (false, 0), (false, 1)] {
        world.folder.begin_scan();
        if sees {
            world.look(&kept[0], How::There);
        }
        assert_eq!(world.folder.end_scan(|_| true).kept.len(), gone);
    }
}

#[test]
fn an_unreadable_file_is_left_alone_until_it_is_touched() {
    let mut world = World::new();
    let file = found("a", 1, 1);
    world.look(&file, How::Whole);
    world.take();
    world.folder.trouble(1, world.now);
    world.look(&file, How::Whole);
    assert_eq!(world.take(), [""; 0]);
    let touched = Found {
        touched: (9, 9),
        ..file
    };
    world.look(&touched, How::Whole);
    assert_eq!(world.take(), ["a"]);
}

fn begun(state: &mut State, world: &mut World, file: &Found) -> u64 {
    world.look(file, How::Whole);
    let (_, taken) = world.folder.take(true, ("p", "s"), 5).unwrap();
    let entry = world.folder.entry(taken[0]).unwrap();
    entry.records().for_each(|record| state.add(&record));
    taken[0]
}

#[test]
fn the_state_comes_back_whole_torn_and_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("state");
    let (mut state, known) = State::open(dir.path(), &home).unwrap();
    let mut world = World::new();
    let done = begun(&mut state, &mut world, &found("done", 1, 1));
    let kept = begun(&mut state, &mut world, &found("kept", 2, 1));
    begun(&mut state, &mut world, &found("begun", 3, 1));
    let closed = begun(&mut state, &mut world, &found("closed", 4, 1));
    state.add(&Record::Done {
        n: done,
        number: 77,
    });
    let (_, file) = world.folder.keep(kept).unwrap();
    state.add(&Record::Kept {
        n: Some(kept),
        file,
    });
    state.add(&Record::Closed { n: closed });
    state.sync().unwrap();
    assert!(matches!(
        State::open(dir.path(), &home),
        Err(WatchError::Locked(_))
    ));
    let id = known.id.clone();
    drop(state);
    for round in ["whole", "torn", "rewritten"] {
        let path = home.join("state");
        if round == "torn" {
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_slice(b"0123abcd {\"closed\":");
            fs::write(&path, bytes).unwrap();
        }
        let (mut state, known) = State::open(dir.path(), &home).unwrap();
        assert_eq!(known.torn > 0, round == "torn");
        assert_eq!((&known.id, known.last), (&id, 4), "{round}");
        let stages: Vec<_> = known
            .entries
            .values()
            .map(|entry| (entry.n, entry.stage.clone()))
            .collect();
        assert_eq!(
            stages,
            [(1, Stage::Done { number: 77 }), (3, Stage::Queued)]
        );
        assert!(known.kept.contains(&file) && known.kept.len() == 1);
        let key = known.entries[&3].key.clone();
        assert_eq!(key, found("begun", 3, 1).key("p", "s"));
        let entries = known.entries.values().flat_map(Entry::records);
        // The highest number must not come back: an entry with it may be found aside.
        let last = world.folder.entry(3).unwrap();
        let records: Vec<_> = entries.chain([Record::Kept { n: None, file }]).collect();
        assert_eq!(last.n, 3);
        if round == "torn" {
            state.rewrite(&id, 4, records.into_iter()).unwrap();
        }
    }
}

#[test]
fn a_damaged_state_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("state");
    let (mut state, _) = State::open(dir.path(), &home).unwrap();
    let mut world = World::new();
    for n in 1..=5 {
        begun(&mut state, &mut world, &found(&format!("f{n}"), n, 1));
    }
    state.sync().unwrap();
    drop(state);
    let path = home.join("state");
    let whole = fs::read(&path).unwrap();
    for place in 0..whole.len() - 1 {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let error = State::open(dir.path(), &home).unwrap_err();
        assert!(
            matches!(error, WatchError::Damaged { .. }),
            "byte {place}: {error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let text = String::from_utf8(whole).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    fs::write(&path, rest).unwrap();
    let error = State::open(dir.path(), &home).unwrap_err().to_string();
    assert!(error.contains("identity is missing"), "{error}");
}
