//! Links, pipes and devices that others put into a file server's directory under its names. The
//! server does not follow them, wait for them, or take them for files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use bilico_testkit::{Balancer, JOURNAL, Role, Served, start_server, wait_for_line, wait_until};

/// A directory for what is planted before the server starts, and the names of the index in it.
fn planted() -> (TempDir, [std::path::PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("json_files_1");
    fs::create_dir(&files).unwrap();
    (
        dir,
        [".bilico-index", ".bilico-index.part"].map(|name| files.join(name)),
    )
}

fn pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap();
}

/// The answer to a file that a balancer with a journal sends.
fn answer(role: &Role, number: u64) -> (String, String) {
    let mut balancer = Balancer::greet(&role.address, Some(JOURNAL));
    balancer.0.greeting();
    let (first, _) = balancer.next();
    let answer = if first["request_type"] == "holding" {
        balancer.store(number, b"one");
        balancer.next().0
    } else {
        first
    };
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    (text("request_type"), text("reason"))
}

/// An acknowledgement says that the file is in the directory. A link to the same bytes does not
/// count.
#[test]
fn a_link_under_a_files_name_is_not_taken_for_the_file() {
    let server = Served::start();
    let target = server.dir.path().join("target");
    fs::write(&target, "one").unwrap();
    symlink(&target, server.files_dir().join("1_x.json")).unwrap();
    fs::hard_link(&target, server.files_dir().join("2_x.json")).unwrap();
    let mut balancer = server.reconnect(JOURNAL).0;
    balancer.put(1, b"one");
    balancer.put(2, b"one");
    fs::remove_file(&target).unwrap();
    let regular = |name: &str| {
        fs::symlink_metadata(server.files_dir().join(name)).is_ok_and(|found| found.is_file())
    };
    for name in ["1_x~2.json", "2_x~2.json"] {
        assert!(
            regular(name) && fs::read(server.files_dir().join(name)).unwrap() == b"one",
            "{name}"
        );
    }
}

/// A link that is found at the start, and one that is made while the server runs: its target must
/// stay untouched.
#[test]
fn a_link_under_the_name_of_the_index_in_the_making_is_not_followed() {
    let (dir, [_, part]) = planted();
    let target = dir.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, &part).unwrap();
    let role = start_server(dir.path(), 1, &[]);
    let served = Served { role, dir };
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    wait_for_line(
        || served.log(),
        &[
            "ERROR",
            ".bilico-index.part is a symbolic link",
            "remove it",
        ],
    );
    let (kind, reason) = answer(&served.role, 1);
    assert_eq!(kind, "bye");
    assert!(
        reason.contains(".bilico-index.part is a symbolic link"),
        "{reason}"
    );
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    fs::remove_file(&part).unwrap();
    assert_eq!(answer(&served.role, 1).0, "stored");
}

#[test]
fn a_pipe_under_a_name_of_the_index_does_not_hold_up_the_start() {
    for place in [0, 1] {
        let (dir, names) = planted();
        pipe(&names[place]);
        let served = Served {
            role: start_server(dir.path(), 1, &[]),
            dir,
        };
        let name = names[place].file_name().unwrap().to_str().unwrap();
        wait_for_line(
            || served.log(),
            &["ERROR", &format!("{name} is a named pipe"), "remove it"],
        );
        assert!(answer(&served.role, 1).1.contains("is a named pipe"));
        assert!(
            fs::symlink_metadata(&names[place]).is_ok(),
            "what is somebody else's stays"
        );
        fs::remove_file(&names[place]).unwrap();
        assert_eq!(answer(&served.role, 1).0, "stored");
    }
}

/// An index that is a link may be the index of another server.
#[test]
fn an_index_that_is_a_link_is_refused_by_name() {
    let mut served = Served::start();
    served.reconnect(JOURNAL).0.put(1, b"one");
    let identity = served.identity();
    assert_eq!(served.role.stop(), Some(0));
    let (index, elsewhere) = (
        served.files_dir().join(".bilico-index"),
        served.dir.path().join("elsewhere"),
    );
    fs::rename(&index, &elsewhere).unwrap();
    symlink(&elsewhere, &index).unwrap();
    let whole = fs::read(&elsewhere).unwrap();
    served.role.restart();
    wait_for_line(
        || served.log(),
        &["ERROR", ".bilico-index is a symbolic link", "remove it"],
    );
    assert!(answer(&served.role, 2).1.contains("is a symbolic link"));
    assert_eq!(fs::read(&elsewhere).unwrap(), whole);
    fs::remove_file(&index).unwrap();
    fs::rename(&elsewhere, &index).unwrap();
    assert_eq!(answer(&served.role, 2).0, "stored");
    assert_eq!(served.identity(), identity);
}

/// If the index is removed or replaced while the server runs, the server says so and ends.
#[test]
fn an_index_that_is_replaced_by_a_link_ends_the_server() {
    let mut served = Served::start();
    served.reconnect(JOURNAL).0.put(1, b"one");
    let (index, elsewhere) = (
        served.files_dir().join(".bilico-index"),
        served.dir.path().join("elsewhere"),
    );
    fs::rename(&index, &elsewhere).unwrap();
    symlink(&elsewhere, &index).unwrap();
    wait_until("the server to end", || served.role.ended().is_some());
    assert_eq!(served.role.ended().unwrap().code(), Some(6));
    wait_for_line(
        || served.log(),
        &["ERROR", "lost its .bilico-index", "the server stops"],
    );
}
