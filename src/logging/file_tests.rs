//! The log's file when others move it, when something else has its name, and when it cannot be
//! written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tracing::info;

use super::tests::{config, file_names, log_through};
use super::*;

/// Everything that was logged, of all files of the log, oldest first.
fn all_lines(dir: &Path) -> usize {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files
        .map(|path| fs::read_to_string(path).unwrap().lines().count())
        .sum()
}

/// What a listener hears.
type Heard = Arc<Mutex<Vec<(Level, String)>>>;

fn listening(guard: &LogGuard) -> Heard {
    let heard = Heard::default();
    let told = heard.clone();
    guard.listen(move |level, text| told.lock().unwrap().push((level, text.to_owned())));
    heard
}

#[test]
fn rotation_stops_at_a_name_that_is_not_its_own_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bilico.log.2")).unwrap();
    log_through(
        &LogConfig {
            max_bytes: 1000,
            keep: 3,
            ..config(dir.path())
        },
        500,
    );
    assert_eq!(all_lines(dir.path()), 500);
    assert!(dir.path().join("bilico.log.2").is_dir());
}

#[test]
fn with_nothing_to_keep_others_rotate() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bilico.log.9"), "theirs\n").unwrap();
    log_through(
        &LogConfig {
            max_bytes: 1000,
            keep: 0,
            ..config(dir.path())
        },
        200,
    );
    assert_eq!(file_names(dir.path()), ["bilico.log", "bilico.log.9"]);
    assert_eq!(all_lines(dir.path()), 201);
}

#[test]
fn a_link_is_followed_and_neither_renamed_nor_replaced() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("x.log");
    fs::write(&target, "").unwrap();
    symlink(&target, dir.path().join("bilico.log")).unwrap();
    log_through(
        &LogConfig {
            max_bytes: 1000,
            keep: 3,
            ..config(dir.path())
        },
        200,
    );
    assert_eq!(file_names(dir.path()), ["bilico.log"]);
    assert_eq!(fs::read_to_string(&target).unwrap().lines().count(), 200);
    assert!(dir.path().join("bilico.log").is_symlink());
}

#[test]
fn a_file_that_was_moved_is_left_when_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (subscriber, guard) = subscriber(&config(dir.path())).unwrap();
    let path = dir.path().join("bilico.log");
    tracing::subscriber::with_default(subscriber, || {
        info!("before");
        while fs::read_to_string(&path).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
        fs::rename(&path, dir.path().join("moved")).unwrap();
        guard.names().reopen();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "",
            "it is there before the next line"
        );
        info!("after");
    });
    drop(guard);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .ends_with(" INFO  after\n")
    );
    assert!(
        fs::read_to_string(dir.path().join("moved"))
            .unwrap()
            .ends_with(" INFO  before\n")
    );
}

#[test]
fn a_full_disk_is_told_while_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bilico.log");
    symlink("/dev/full", &path).unwrap();
    let (subscriber, guard) = subscriber(&config(dir.path())).unwrap();
    let heard = listening(&guard);
    tracing::subscriber::with_default(subscriber, || {
        info!("lost");
        while heard.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
    });
    let (level, text) = heard.lock().unwrap().remove(0);
    assert_eq!(level, Level::ERROR);
    assert!(
        text.contains("bilico.log: No space left") && text.ends_with("1 line was lost so far"),
        "{text}"
    );
    assert_eq!(guard.lost_lines(), 1);
}
