//! What is no file to hand over, and what cannot be put away.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use bilico_testkit::{Farm, wait_until};

use super::helpers::{drop_in, events, folder, handed_over, names, once, titles, watch};

#[test]
fn what_is_no_file_is_told_once_and_left_alone() {
    let farm = Farm::start(&[1]);
    let folder = folder(&farm);
    farm.write("outside", "secret");
    symlink(farm.dir.path().join("outside"), folder.join("link")).unwrap();
    symlink(farm.dir.path(), folder.join("loop")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    drop_in(&farm, "good", "x");
    let watcher = watch(&farm, &["--settle", "100ms", "--poll=50ms", "-r"]);
    watcher.wait_for_output(&handed_over("good"));
    std::thread::sleep(Duration::from_millis(500));
    watcher.signal("INT");
    let ended = watcher.wait();
    let skipped = events(&ended.stdout, "skipped");
    assert_eq!(skipped.len(), 3, "{ended:?}");
    let reason = |name: &str| {
        let of = skipped.iter().find(|line| line["path"] == name).unwrap();
        of["reason"].as_str().unwrap().to_owned()
    };
    assert!(
        reason("link").contains("a symbolic link") && reason("loop").contains("a symbolic link")
    );
    assert!(reason("pipe").contains("a named pipe"));
    assert_eq!(titles(&farm).len(), 1);
    assert_eq!(once(&farm, &[]).code, Some(1), "something is left alone");
}

#[test]
fn names_that_are_not_text_stay_different() {
    let farm = Farm::start(&[1]);
    let folder = folder(&farm);
    for name in [
        &b"a\xff"[..],
        b"a\xfe",
        b"a\\xff",
        "è".as_bytes(),
        b"new\nline",
    ] {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let ended = once(&farm, &["--after", "delete"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let events = events(&ended.stdout, "handed_over");
    let paths: std::collections::BTreeSet<_> = events
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert_eq!(farm.all_stored().len(), 5);
    assert!(names(&folder).is_empty());
}

#[test]
fn a_file_that_the_balancer_refuses_goes_to_the_failed_ones_with_its_reason() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "8MiB", "--max-json", "1MiB"]);
    drop_in(&farm, "sub/large", vec![7; 9 * 1024 * 1024]);
    drop_in(&farm, "small", "x");
    let ended = once(&farm, &["-r"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(events(&ended.stdout, "failed").len(), 1, "{ended:?}");
    let there = names(&folder(&farm));
    assert_eq!(
        there,
        ["done/small", "failed/sub/large", "failed/sub/large.reason"]
    );
    let reason = fs::read_to_string(folder(&farm).join("failed/sub/large.reason")).unwrap();
    assert!(reason.starts_with("refused: "), "{reason}");
    assert_eq!(once(&farm, &["-r"]).code, Some(0), "it is not tried again");
}

#[test]
fn a_name_that_is_taken_is_not_overwritten_and_a_place_that_is_none_is_told_once() {
    let farm = Farm::start(&[1]);
    for round in ["one", "two", "three"] {
        drop_in(&farm, "a.txt", round);
        assert_eq!(once(&farm, &[]).code, Some(0));
    }
    let there = names(&folder(&farm));
    assert_eq!(there, ["done/a-2.txt", "done/a-3.txt", "done/a.txt"]);
    // The place is a file by now: what was handed over waits, and nothing is sent twice.
    fs::remove_dir_all(folder(&farm).join("done")).unwrap();
    let watcher = watch(&farm, &["--settle", "0s"]);
    watcher.wait_for_output("\"started\"");
    fs::remove_dir(folder(&farm).join("done")).unwrap();
    fs::write(folder(&farm).join("done"), "in the way").unwrap();
    drop_in(&farm, "b.txt", "b");
    drop_in(&farm, "c.txt", "c");
    watcher.wait_for_output("\"stuck\"");
    std::thread::sleep(Duration::from_millis(2500));
    fs::remove_file(folder(&farm).join("done")).unwrap();
    let both =
        || names(&folder(&farm)).ends_with(&["done/b.txt".to_owned(), "done/c.txt".to_owned()]);
    wait_until("both to be put away", both);
    watcher.signal("TERM");
    let ended = watcher.wait();
    assert_eq!(events(&ended.stdout, "stuck").len(), 1, "{ended:?}");
    assert!(
        titles(&farm).values().take(2).map(Vec::len).sum::<usize>() <= 4,
        "{:?}",
        titles(&farm)
    );
    assert_eq!(titles(&farm)["b.txt"].len(), 1);
}

#[test]
fn a_damaged_state_is_told_with_its_remedy() {
    let farm = Farm::start(&[1]);
    drop_in(&farm, "a", "a");
    assert_eq!(once(&farm, &["--after", "leave"]).code, Some(0));
    let path = folder(&farm).join(".bilico-watch/state");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("begun", "bogus", 1)).unwrap();
    let ended = once(&farm, &["--after", "leave"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("state:2: it is damaged"), "{ended:?}");
    assert!(
        ended.stderr.contains("hint: move the file away"),
        "{ended:?}"
    );
    assert_eq!(titles(&farm).len(), 1);
}
