//! Many files.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, is_full_proof as is_full};

use super::helpers::{command, files, folder, once};

/// Five thousand files, and a hundred thousand with `BILICO_PROOF=full`: in bounded memory and with
/// few descriptors, and about as fast as `bilico send -r`.
#[test]
fn a_folder_full_of_files_is_handed_over_as_fast_as_they_are_sent() {
    let many = if is_full() { 100_000 } else { 5000 };
    let farm = Farm::start(&[1, 1]);
    let folder = folder(&farm);
    for n in 0..many {
        fs::write(folder.join(format!("file-{n}")), format!("content of {n}")).unwrap();
    }
    let started = Instant::now();
    let sent = farm.send(&["-r", "in", "--quiet"]);
    let sending = started.elapsed();
    assert!(sent.status.success(), "{sent:?}");
    let started = Instant::now();
    let said = farm.dir.path().join("said");
    let mut command = command(&farm, &["--settle", "0s", "--once"]);
    let mut watcher = command
        .stdout(File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let (mut memory, mut descriptors) = (0, 0);
    let status = loop {
        if let Some(status) = watcher.try_wait().unwrap() {
            break status;
        }
        // Until it says something it may not be the program yet, but the test that starts it.
        if fs::metadata(&said).is_ok_and(|said| said.len() > 0) {
            let at = |what: &str| format!("/proc/{}/{what}", watcher.id());
            descriptors = descriptors.max(fs::read_dir(at("fd")).map_or(0, Iterator::count));
            memory = memory.max(peak(&fs::read_to_string(at("status")).unwrap_or_default()));
        }
        std::thread::sleep(Duration::from_millis(50));
        if started.elapsed() > sending * 4 + Duration::from_mins(1) {
            watcher.kill().unwrap();
        }
    };
    let watching = started.elapsed();
    assert!(status.success(), "{status} after {watching:?}");
    println!(
        "{many} files: send {sending:?}, watch {watching:?}; {memory} KiB, {descriptors} descriptors"
    );
    // They are moved: how fast a file system deletes files is its own affair.
    let left = files(&folder);
    assert!(left.len() == many && left.keys().all(|name| name.starts_with("done/")));
    let stored: usize = (0..2)
        .map(|place| fs::read_dir(farm.server_dir(place)).unwrap().count())
        .sum();
    assert!(stored >= 2 * many, "{stored}");
    assert!(memory > 0 && descriptors > 0, "it was not looked at");
    assert!(memory < 60_000 + many * 2, "{memory} KiB");
    assert!(descriptors < 64, "{descriptors}");
    assert!(
        watching < sending * 2 + Duration::from_secs(2),
        "{watching:?}, and {sending:?} by send"
    );
}

/// The most memory that a process had, in KiB.
fn peak(status: &str) -> usize {
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.map_or(0, |number| number.parse().unwrap())
}

/// Files that stay are remembered, and the memory of them is as large as the folder, not as its
/// past.
#[test]
fn the_state_stays_as_small_as_the_folder() {
    let farm = Farm::start(&[1]);
    for round in 0..3 {
        for n in 0..1000 {
            fs::write(folder(&farm).join(format!("f{n}")), format!("{round} {n}")).unwrap();
        }
        assert_eq!(once(&farm, &["--after", "leave"]).code, Some(0));
    }
    let state = folder(&farm).join(".bilico-watch/state");
    assert!(fs::metadata(&state).unwrap().len() < 2 * 1024 * 1024);
    let ended = once(&farm, &["--after", "leave"]);
    assert!(ended.stdout.contains("\"files\":0"), "{}", ended.stdout);
}
