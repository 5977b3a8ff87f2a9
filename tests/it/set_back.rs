//! A file server's directory is moved, copied, or restored from a backup: the server notices and
//! reports it, and no file is lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use bilico_testkit::{
    Balancer, JOURNAL, Mount, Role, Served, frame, mount, start_server, stored, wait_for_line,
    wait_until,
};

fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap()
            .success()
    );
}

fn index(served: &Served) -> std::path::PathBuf {
    served.files_dir().join(".bilico-index")
}

/// Waits until a server has ended, and returns its exit code.
fn end(role: &mut Role) -> Option<i32> {
    wait_until("the server to end", || role.ended().is_some());
    role.ended().unwrap().code()
}

/// The path leads to another directory, as after a mistaken `mv` or a restore.
#[test]
fn a_server_whose_directory_is_replaced_acknowledges_nothing_more_and_ends() {
    let mut served = Served::start();
    let (files, aside) = (served.files_dir(), served.dir.path().join("aside"));
    let mut balancer = served.reconnect(JOURNAL).0;
    balancer.put(1, b"one");
    fs::rename(&files, &aside).unwrap();
    fs::create_dir(&files).unwrap();
    balancer.store(2, b"two");
    loop {
        let (answer, _) = balancer.next();
        assert_ne!(answer["request_type"], "stored", "{answer}");
        if answer["request_type"] == "bye" {
            break;
        }
    }
    assert_eq!(end(&mut served.role), Some(6));
    wait_for_line(
        || served.log(),
        &[
            "ERROR",
            "json_files_1 was replaced by another one",
            "the server stops",
        ],
    );
    assert!(
        stored(&files).is_empty(),
        "nothing begins in another directory by itself"
    );
    assert_eq!(stored(&aside).into_keys().collect::<Vec<_>>(), ["1_x.json"]);
    fs::remove_dir(&files).unwrap();
    fs::rename(&aside, &files).unwrap();
    served.role.restart();
    assert_eq!(
        served.reconnect(JOURNAL).1,
        [[1, 3, crc32c::crc32c(b"one").into()]]
    );
}

/// No client sends anything.
#[test]
fn an_idle_server_whose_directory_is_moved_away_ends() {
    let mut served = Served::start();
    fs::rename(served.files_dir(), served.dir.path().join("aside")).unwrap();
    assert_eq!(end(&mut served.role), Some(6));
    wait_for_line(
        || served.log(),
        &[
            "ERROR",
            "json_files_1 was moved or removed",
            "the server stops",
        ],
    );
    assert!(!served.files_dir().exists());
}

#[test]
fn a_server_over_whose_directory_something_is_mounted_ends() {
    let Some(_allowed) = Mount::tmpfs("1m") else {
        return;
    };
    let mut served = Served::start();
    let files = served.files_dir();
    assert!(mount(&["-t", "tmpfs", "-o", "size=1m", "none"], &files));
    let code = end(&mut served.role);
    assert!(
        Command::new("umount")
            .arg("-l")
            .arg(&files)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(code, Some(6));
    wait_for_line(
        || served.log(),
        &["ERROR", "one was mounted or unmounted", "the server stops"],
    );
}

/// Two journals of one identity give the same number to two files. The balancer says which one it
/// means.
#[test]
fn a_drop_of_another_file_with_the_same_number_removes_nothing() {
    let mut served = Served::start();
    let (mut balancer, _) = served.reconnect(JOURNAL);
    balancer.put(1, b"one");
    balancer.put(2, b"two");
    let order = |number: u64, content: &[u8]| {
        let (size, sum) = (content.len(), crc32c::crc32c(content));
        frame(
            &json!({"request_type": "drop", "request_number": number, "size": size, "crc32c": sum})
                .to_string(),
            b"",
        )
    };
    balancer.0.write(&order(1, b"another"));
    balancer.expect("dropped", 1);
    balancer.0.write(&order(2, b"two"));
    balancer.expect("dropped", 2);
    assert_eq!(served.names(), ["1_x.json"]);
    wait_for_line(
        || served.log(),
        &[
            "ERROR",
            "another file is stored under its number",
            "number=1",
            "7 bytes",
            "3 bytes",
        ],
    );
    served.crash();
    assert_eq!(
        served.reconnect(JOURNAL).1,
        [[1, 3, crc32c::crc32c(b"one").into()]],
        "it is still told of"
    );
}

/// A content that was changed in place has the same name and size.
#[test]
fn a_drop_of_a_file_whose_content_was_changed_removes_nothing() {
    let served = Served::start();
    let (mut balancer, _) = served.reconnect(JOURNAL);
    balancer.put(1, b"one");
    fs::write(served.files_dir().join("1_x.json"), "two").unwrap();
    balancer.drop_file(1);
    balancer.expect("dropped", 1);
    assert_eq!(
        fs::read(served.files_dir().join("1_x.json")).unwrap(),
        b"two"
    );
    wait_for_line(
        || served.log(),
        &["WARN", "not dropped", "its content was changed"],
    );
}

/// How a balancer finds out that its journal was set back.
#[test]
fn the_highest_number_is_told_when_nothing_is_held_any_more() {
    let mut served = Served::start();
    let seen = |served: &Served| {
        let (header, content) = served.link(JOURNAL).next();
        assert_eq!(
            (&header["request_type"], content),
            (&json!("holding"), vec![])
        );
        header["seen"].clone()
    };
    assert_eq!(seen(&served), json!(0));
    let (mut balancer, _) = served.reconnect(JOURNAL);
    balancer.put(7, b"one");
    balancer.put(3, b"two");
    balancer.confirm(&[3, 7]);
    assert_eq!(seen(&served), json!(7));
    served.crash();
    assert_eq!(seen(&served), json!(7));
}

/// The instance tells two processes with one identity apart.
#[test]
fn each_process_says_which_it_is() {
    let mut served = Served::start();
    let instance = |served: &Served| {
        let mut wire = bilico_testkit::Wire::connect(&served.role.address);
        wire.write(br#"{"request_type": "bilico"}"#);
        let hello: Value = serde_json::from_str(&wire.greeting().0).unwrap();
        hello["instance"].as_str().unwrap().to_owned()
    };
    let before = instance(&served);
    assert!(
        before.len() == 32 && before.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{before}"
    );
    assert_eq!(instance(&served), before);
    served.crash();
    assert_ne!(instance(&served), before);
}

#[test]
fn a_directory_that_is_a_copy_is_told_once() {
    let mut served = Served::start();
    served.reconnect(JOURNAL).0.put(1, b"one");
    assert_eq!(served.role.stop(), Some(0));
    let (files, aside) = (served.files_dir(), served.dir.path().join("aside"));
    fs::rename(&files, &aside).unwrap();
    fs::rename(&aside, &files).unwrap();
    served.role.restart();
    assert!(
        !served.log().contains("WARN"),
        "only moved, which changes nothing: {}",
        served.log()
    );
    assert_eq!(served.role.stop(), Some(0));
    fs::rename(&files, &aside).unwrap();
    copy(&aside, &files);
    fs::remove_file(files.join("1_x.json")).unwrap();
    served.role.restart();
    wait_for_line(
        || served.log(),
        &[
            "WARN",
            "the directory was copied, restored or moved",
            "remove .bilico-index",
        ],
    );
    wait_for_line(
        || served.log(),
        &["WARN", "not here", "missing=1", "1_x.json"],
    );
    served.crash();
    served.crash();
    assert_eq!(
        served.log().matches("the directory was copied").count(),
        1,
        "{}",
        served.log()
    );
}

/// An index of yesterday beside the files of today, put back in place as `cp` does.
#[test]
fn an_index_that_is_older_than_the_files_is_told_with_how_many() {
    let mut served = Served::start();
    served.reconnect(JOURNAL).0.put(1, b"one");
    let backup = fs::read(index(&served)).unwrap();
    let (mut balancer, _) = served.reconnect(JOURNAL);
    for number in 2..=4 {
        balancer.put(number, b"later");
    }
    drop(balancer);
    assert_eq!(served.role.stop(), Some(0));
    fs::write(index(&served), backup).unwrap();
    served.role.restart();
    wait_for_line(
        || served.log(),
        &[
            "WARN",
            "newer than all that the index knows",
            "files=3",
            "highest=4",
            "known=1",
        ],
    );
    served.crash();
    assert_eq!(
        served
            .log()
            .matches("newer than all that the index knows")
            .count(),
        1,
        "{}",
        served.log()
    );
}

/// The index does not record files of balancers without a journal.
#[test]
fn nothing_is_told_of_a_directory_that_is_as_it_was_left() {
    let mut served = Served::start();
    let (mut balancer, _) = served.reconnect(JOURNAL);
    balancer.put(1, b"one");
    balancer.put(2, b"two");
    balancer.confirm(&[1]);
    let mut nobody = Balancer::greet(&served.role.address, None);
    nobody.0.greeting();
    nobody.put(70, b"of nobody");
    fs::remove_file(served.files_dir().join("2_x.json")).unwrap();
    served.crash();
    wait_for_line(
        || served.log(),
        &["INFO", "are not here any more", "missing=1", "2_x.json"],
    );
    assert!(!served.log().contains("WARN"), "{}", served.log());
}

/// The index was removed.
#[test]
fn an_index_that_is_missing_beside_files_is_told() {
    let mut served = Served::start();
    served.reconnect(JOURNAL).0.put(1, b"one");
    assert_eq!(served.role.stop(), Some(0));
    fs::remove_file(index(&served)).unwrap();
    served.role.restart();
    wait_for_line(
        || served.log(),
        &["WARN", "a new index is begun beside files", "files=1"],
    );
}

/// A server without an index whose directory has files is not new.
#[test]
fn a_new_directory_is_nothing_to_tell_of() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served {
        role: start_server(dir.path(), 1, &[]),
        dir,
    };
    wait_for_line(|| served.log(), &["INFO", "a new index is begun"]);
    assert!(!served.log().contains("WARN"), "{}", served.log());
}
