//! Which journal it is, and damage to its identity and its files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

use bilico_testkit::{Farm, names_with, noise, wait_for_line};

use super::helpers::{FILES, one_segment, refused, segments};
use crate::journal::check;

/// With one flipped bit in `journal-id`, or without the file, all records failed their checksums:
/// the whole journal counted as a torn tail, `queue check` said `sound`, and numbers began at 1
/// again.
#[test]
fn a_damaged_or_missing_identity_costs_no_file_and_is_reported() {
    for case in ["flipped", "empty", "missing"] {
        let mut farm = one_segment();
        let path = farm.journal().join("journal-id");
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        match case {
            "flipped" => bytes[5] ^= 0x04,
            _ => bytes.clear(),
        }
        if case == "missing" {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, &bytes).unwrap();
        }
        let checked = check(&farm.journal());
        assert_eq!(checked.code, Some(6), "{case}: {checked:?}");
        assert!(
            checked.stderr.contains("journal-id") && checked.stdout.contains("40 wait"),
            "{case}: {checked:?}"
        );
        farm.balancer.restart();
        assert_eq!(farm.status().queue.files() as u64, FILES, "{case}");
        wait_for_line(|| farm.log(), &["ERROR", "journal-id"]);
        assert_eq!(
            farm.client().put_accepted(1, None, b"new"),
            FILES + 1,
            "{case}: numbers go on"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            before,
            "{case}: it is written again"
        );
        let aside = farm.journal().join("damaged-journal-id");
        assert_eq!(
            fs::read(&aside).ok(),
            (case != "missing").then_some(bytes),
            "{case}"
        );
        farm.balancer.kill();
        let checked = check(&farm.journal());
        assert_eq!(checked.code, Some(0), "{case}: {checked:?}");
    }
}

/// The balancer followed a link, and waited for a pipe.
#[test]
fn what_is_not_a_regular_file_is_refused_by_its_name() {
    let farm = one_segment();
    let (journal, dir) = (farm.journal(), farm.dir.path().to_owned());
    let segment = segments(&journal)
        .remove(0)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let content = format!("content-{:016x}", 7);
    for name in ["journal-id", &segment, &content, "reserve", "lock"] {
        let path = journal.join(name);
        let kept = dir.join("elsewhere");
        let was_there = fs::rename(&path, &kept).is_ok();
        if !was_there {
            fs::write(&kept, "x").unwrap();
        }
        for kind in ["link", "directory", "pipe"] {
            match kind {
                "link" => symlink(&kept, &path).unwrap(),
                "directory" => fs::create_dir(&path).unwrap(),
                _ => assert!(
                    Command::new("mkfifo")
                        .arg(&path)
                        .status()
                        .unwrap()
                        .success()
                ),
            }
            let ended = refused(&farm);
            assert_eq!(ended.code, Some(6), "{name} as a {kind}: {ended:?}");
            assert!(
                ended.stderr.contains(name) && ended.stderr.contains("regular file"),
                "{name}, {kind}: {ended:?}"
            );
            let checked = check(&journal);
            // `queue check` does not open the lock and the reserve.
            assert_eq!(checked.code, Some(6), "{name} as a {kind}: {checked:?}");
            assert!(
                checked.stderr.contains(name),
                "{name} as a {kind}: {checked:?}"
            );
            if kind == "directory" {
                fs::remove_dir(&path)
            } else {
                fs::remove_file(&path)
            }
            .unwrap();
        }
        if was_there {
            fs::rename(&kept, &path)
        } else {
            fs::remove_file(&kept)
        }
        .unwrap();
    }
    assert_eq!(check(&journal).code, Some(0));
}

/// All segments were gone, and the balancer began with number 1 as in a new journal.
#[test]
fn a_journal_whose_segments_are_gone_is_refused() {
    for case in ["gone", "cut"] {
        let farm = one_segment();
        for segment in segments(&farm.journal()) {
            if case == "gone" {
                fs::remove_file(segment)
            } else {
                fs::write(segment, "BILICOJ")
            }
            .unwrap();
        }
        for _ in 0..2 {
            let ended = refused(&farm);
            assert_eq!(ended.code, Some(6), "{case}: {ended:?}");
            assert!(
                ended.stderr.contains("segments") && ended.stderr.contains("gone"),
                "{case}: {ended:?}"
            );
            let checked = check(&farm.journal());
            assert_eq!(checked.code, Some(6), "{case}: {checked:?}");
        }
    }
}

/// The bytes that were cut were lost, with no more than a line in the log.
#[test]
fn a_torn_tail_is_set_aside_and_reported() {
    let mut farm = one_segment();
    let segment = segments(&farm.journal()).remove(0);
    let torn = noise(1, 777);
    let len = fs::metadata(&segment).unwrap().len();
    fs::File::options()
        .append(true)
        .open(&segment)
        .unwrap()
        .write_all(&torn)
        .unwrap();
    let checked = check(&farm.journal());
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("777 bytes at the end"),
        "{checked:?}"
    );
    farm.balancer.restart();
    wait_for_line(|| farm.log(), &["WARN", "777", "torn-"]);
    let names = names_with(&farm.journal(), "torn-");
    assert_eq!(names, [format!("torn-{:016x}-{len:08x}", 1)]);
    assert_eq!(fs::read(farm.journal().join(&names[0])).unwrap(), torn);
    assert_eq!(farm.status().queue.files() as u64, FILES);
}

/// Only the size of large content was checked.
#[test]
fn a_check_reads_large_content() {
    let mut farm = Farm::without_servers(&[1]);
    farm.client().put_accepted(1, None, &noise(1, 100_000));
    farm.balancer.kill();
    assert_eq!(check(&farm.journal()).code, Some(0));
    let name = names_with(&farm.journal(), "content-").remove(0);
    let mut bytes = fs::read(farm.journal().join(&name)).unwrap();
    bytes[77_777] ^= 1;
    fs::write(farm.journal().join(&name), bytes).unwrap();
    let checked = check(&farm.journal());
    assert_eq!(checked.code, Some(6), "{checked:?}");
    assert!(checked.stderr.contains(&name), "{checked:?}");
}
