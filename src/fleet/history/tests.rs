use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::line::Line;
use super::*;
use crate::fleet_core::Minute;

const START: u64 = 1_790_000_040;

fn who(name: &str) -> Identity {
    Identity::Agent(name.into())
}

fn tell(histories: &Histories, name: &str, cpu: f32) {
    let facts = Facts {
        cpu: Some(cpu),
        ..Facts::default()
    };
    histories.told(&who(name), Duration::from_secs(5), &facts);
}

fn config(dir: &Path) -> HistoryConfig {
    HistoryConfig {
        dir: Some(dir.to_owned()),
        ..HistoryConfig::default()
    }
}

fn lines(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("history.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn lines_are_read_as_they_are_written() {
    let minute = Minute {
        time: START,
        member: who("è \"a\""),
        samples: 12,
        figures: vec![(
            Figure::NetRx,
            Summary {
                avg: 1.5,
                min: 0.1,
                max: 3e9,
            },
        )],
    };
    let text = String::from_utf8(line::of_minute(&minute)).unwrap();
    assert_eq!(
        text,
        "{\"time\":\"2026-09-21T14:14:00Z\",\"member\":\"agent:è \\\"a\\\"\",\"samples\":12,\
         \"net_rx\":{\"avg\":1.5,\"min\":0.1,\"max\":3000000000.0}}\n"
    );
    assert_eq!(
        line::read(text.trim().as_bytes()),
        Some(Line::Minute(minute))
    );
    for what in [Change::Was(who("b")), Change::Forgotten] {
        let note = Note {
            time: START,
            member: who("a"),
            what,
        };
        let text = line::of_note(&note);
        assert_eq!(line::read(text.trim_ascii()), Some(Line::Note(note)));
    }
}

#[test]
fn what_is_no_line_is_damaged() {
    let good = r#"{"time":"2026-09-21T14:14:00Z","member":"agent:a","samples":1,"cpu":{"avg":0.5,"min":0.5,"max":0.5}}"#;
    assert!(line::read(good.as_bytes()).is_some());
    for length in 0..good.len() {
        assert_eq!(line::read(&good.as_bytes()[..length]), None, "{length}");
    }
    for bad in [
        "[]",
        "null",
        "{}",
        &good.replace("agent:a", "a"),
        &good.replace("2026", "26"),
        &good.replace("2026", "1926"),
        &good.replace(":1,", ":-1,"),
        &good.replace("{\"avg\":0.5", "{\"avg\":null"),
        &good.replace("{\"avg\":0.5,\"min\":0.5,\"max\":0.5}", "[1,2,3]"),
        r#"{"time":"2026-09-21T14:14:00Z","member":"agent:a"}"#,
    ] {
        assert_eq!(line::read(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(
        line::read(br#"{"time":"x","level":"WARN","message":"3 lines were lost"}"#),
        Some(Line::Message)
    );
    let later = good.replace("}}", ",\"p99\":1},\"later\":[1,{\"a\":2}]}");
    assert!(line::read(later.as_bytes()).is_some(), "{later}");
}

#[test]
fn what_is_damaged_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let line = |seconds: u64, name: &str| {
        line::of_minute(&Minute {
            time: START + seconds,
            member: who(name),
            samples: 12,
            figures: vec![(
                Figure::Cpu,
                Summary {
                    avg: 0.5,
                    min: 0.25,
                    max: 0.75,
                },
            )],
        })
    };
    let old = dir.path().join("history.jsonl.1");
    let new = dir.path().join("history.jsonl");
    let was = Note {
        time: START + 60,
        member: who("new"),
        what: Change::Was(who("old")),
    };
    let gone = Note {
        time: START + 60,
        member: who("gone"),
        what: Change::Forgotten,
    };
    let long = vec![b' '; 40_000];
    let parts = [
        line(0, "old"),
        line(0, "gone"),
        line(0, "old")[..30].to_vec(),
    ];
    fs::write(&old, parts.concat()).unwrap();
    let parts = [
        b"\xff\xfe\n\n".to_vec(),
        long,
        line(60, "old"),
        line::of_note(&was),
        line::of_note(&gone),
        line(60, "old"),
        line(120, "new"),
        // Another clock.
        line(u64::from(u32::MAX), "new"),
        line(180, "new")[..90].to_vec(),
    ];
    fs::write(&new, parts.concat()).unwrap();
    let mut history = History::new(64 << 20, false);
    let files = [dir.path().join("missing"), dir.path().to_owned(), old, new];
    let found = read::read(files, &mut history, START + 200, &|| false);
    assert_eq!((found.lines, found.damaged), (7, 4), "{found:?}");
    assert_eq!(found.unreadable.len(), 1, "{found:?}");
    let week = Duration::from_hours(168);
    let known = |name| history.averages(&who(name), week, START + 200);
    assert_eq!(known("gone"), None);
    assert!(known("old").is_some() && known("new").is_some());
}

#[test]
fn history_outlives_the_balancer() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("a/b");
    let first = Histories::new(&config(&place));
    for _ in 0..3 {
        tell(&first, "a", 0.5);
    }
    tell(&first, "b", 0.25);
    tell(&first, "c", 0.25);
    first.renamed(&who("b"), &who("d"));
    first.forgotten(&who("c"));
    first.close();
    first.close();
    let written = lines(&place);
    // A minute may have ended meanwhile.
    assert!((4..=6).contains(&written.len()), "{written:?}");

    // A loss of power has cut the last line.
    let path = place.join("history.jsonl");
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"time\":\"20").unwrap();
    let second = Histories::new(&config(&place));
    let hour = Duration::from_hours(1);
    wait(|| second.averages(&who("a"), hour).is_some());
    assert!(
        (second.averages(&who("a"), hour).unwrap().figures[&Figure::Cpu].avg - 0.5).abs() < 1e-6
    );
    assert!(second.averages(&who("d"), hour).is_some());
    assert!(second.averages(&who("b"), hour).is_none());
    assert!(second.averages(&who("c"), hour).is_none());
    tell(&second, "e", 0.75);
    second.close();
    let again = lines(&place);
    assert_eq!(
        again[written.len()],
        "{\"time\":\"20",
        "half a line stays alone"
    );
    assert!(again[written.len() + 1].contains("agent:e"), "{again:?}");
}

/// Nothing is lost but history, and it goes on where it can.
#[test]
fn a_directory_that_vanishes_or_cannot_be_used_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let blocked = Histories::new(&config(&file.join("below")));
    tell(&blocked, "a", 0.5);
    blocked.close();
    assert!(
        blocked
            .averages(&who("a"), Duration::from_mins(1))
            .is_some()
    );

    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    std::os::unix::fs::symlink("/dev/full", full.join("history.jsonl")).unwrap();
    let histories = Histories::new(&config(&full));
    tell(&histories, "a", 0.5);
    histories.close();
    assert!(
        histories
            .averages(&who("a"), Duration::from_mins(1))
            .is_some()
    );
}

/// Members that have told something in each of many minutes.
const MANY: (u64, u64) = (60, 2_000);

fn many() -> impl Iterator<Item = Minute> {
    let (members, minutes) = MANY;
    let all = (0..minutes).flat_map(move |minute| (0..members).map(move |it| (minute, it)));
    all.map(|(minute, member)| {
        let value = f32::from(u16::try_from(minute % 97 + member).unwrap());
        Minute {
            time: START + minute * 60,
            member: who(&format!("{member:0100}")),
            samples: 1,
            figures: vec![(
                Figure::Disk,
                Summary {
                    avg: value,
                    min: value,
                    max: value + 1.0,
                },
            )],
        }
    })
}

#[test]
fn files_are_rotated_by_size_and_read_back_in_order() {
    struct Many(AtomicU64, Mutex<Vec<History>>);

    impl disk::Source for Many {
        fn take(&self, _all: bool) -> disk::Taken {
            let is_first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
            disk::Taken {
                minutes: many().filter(|_| is_first).collect(),
                ..disk::Taken::default()
            }
        }

        fn absorb(&self, read: History) {
            self.1.lock().unwrap().push(read);
        }

        fn now(&self) -> u64 {
            START + MANY.1 * 60
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Many(AtomicU64::new(0), Mutex::default()));
    for lives in 1..=2 {
        let disk = disk::Disk::start(dir.path().to_owned(), 64 << 20, source.clone());
        wait(|| source.1.lock().unwrap().len() == lives);
        disk.close();
        // The end of the balancer waits for a moment only.
        wait(|| dir.path().join("history.jsonl.1").exists() && Arc::strong_count(&source) == 1);
    }
    let size = fs::metadata(dir.path().join("history.jsonl.1"))
        .unwrap()
        .len();
    assert!((16 << 20..17 << 20).contains(&size), "{size}");

    let mut written = History::new(64 << 20, false);
    assert!(many().all(|minute| written.restore(&minute)));
    let mut read = source.1.lock().unwrap().pop().unwrap();
    let (now, week) = (START + MANY.1 * 60, Duration::from_hours(168));
    for member in 0..MANY.0 {
        let who = who(&format!("{member:0100}"));
        let of = |history: &mut History| history.columns(&who, &[], week, None, now);
        let (found, expected) = (of(&mut read), of(&mut written));
        assert!(found.is_some() && found == expected, "{member}");
    }
}

/// What an earlier balancer has written was once taken over under names that were no longer right.
#[test]
fn what_changes_during_the_read_changes_what_was_read() {
    let shared = Arc::new(Shared::new(ByteSize(64 << 20), true));
    let histories = Histories {
        shared: shared.clone(),
        disk: None,
    };
    let mut read = History::new(64 << 20, false);
    for name in ["a", "gone"] {
        let cpu = Facts {
            cpu: Some(0.5),
            ..Facts::default()
        };
        read.told(&who(name), Duration::from_secs(5), &cpu, now());
    }
    histories.renamed(&who("a"), &who("b"));
    histories.renamed(&who("b"), &who("c"));
    histories.forgotten(&who("gone"));
    shared.absorb(read);
    let hour = Duration::from_hours(1);
    assert!(histories.averages(&who("c"), hour).is_some());
    for name in ["a", "b", "gone"] {
        assert_eq!(histories.averages(&who(name), hour), None, "{name}");
    }
    assert_eq!(shared.take(true).notes.len(), 3, "they are still written");
}

/// Whoever reads a report of it looks for a directory of the history.
#[test]
fn a_directory_that_cannot_be_used_is_called_the_historys() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let opened =
        crate::logging::DataFile::open("history", &file, "history.jsonl", (1, 1), |_, _| {});
    let error = opened.unwrap_err().to_string();
    let expected = format!(
        "the history directory {} is not a directory",
        file.display()
    );
    assert_eq!(error, expected);
}

#[track_caller]
fn wait(is: impl Fn() -> bool) {
    let ends = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < ends, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
