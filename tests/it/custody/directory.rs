//! One balancer a journal, and directories that are moved away or unmounted.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{
    Client, Farm, Mount, Running, bilico, frame, mount, names_with, noise, put, wait_until,
};
use serde_json::Value;

use super::helpers::{refused, segments};
use crate::journal::{address_of, check};

/// A balancer over a server that never answers. It ends by itself. Returns its address, too.
fn watched(dir: &Path, journal: &str, more: &[&str]) -> (Running, String) {
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        "127.0.0.1:9=1",
        "--journal",
        journal,
    ];
    let balancer = Running::start(bilico(&args).args(more).current_dir(dir));
    let address = address_of(&balancer);
    (balancer, address)
}

/// Without the lock's file, a second balancer started in the same journal, and the first one
/// removed the segment that the second was writing.
#[test]
fn a_lock_whose_file_was_removed_still_locks() {
    let farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    client.put_accepted(1, None, b"x");
    for _ in 0..2 {
        fs::remove_file(farm.journal().join("lock")).unwrap();
        let second = refused(&farm);
        assert_eq!(second.code, Some(1), "{second:?}");
        assert!(
            second.stderr.contains("in use by another balancer"),
            "{second:?}"
        );
        fs::write(farm.journal().join("lock"), "").unwrap();
    }
    assert_eq!(
        check(&farm.journal()).code,
        Some(0),
        "a check locks nothing"
    );
    client.put_accepted(2, None, b"x");
}

/// The balancer removed a segment that another program had made.
#[test]
fn a_file_of_another_program_is_left_alone_and_ends_the_balancer() {
    let dir = tempfile::tempdir().unwrap();
    let (balancer, address) = watched(dir.path(), "kept", &["--segment-size", "1MiB"]);
    let mut client = Client::connect(&address);
    client.put_accepted(1, None, b"x");
    let journal = dir.path().join("kept");
    let planted = journal.join(format!("{:016x}.log", segments(&journal).len() + 1));
    fs::write(&planted, "another's").unwrap();
    let bye = feed_to_the_end(client);
    assert_eq!(bye["code"], "storage", "{bye}");
    let ended = balancer.wait();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("another program writes to this journal"),
        "{ended:?}"
    );
    assert_eq!(fs::read(&planted).unwrap(), b"another's");
}

/// Puts files until the balancer ends the connection, and returns its last message.
fn feed_to_the_end(mut client: Client) -> Value {
    let mut writing = client.wire.0.try_clone().unwrap();
    let feeding = std::thread::spawn(move || {
        let file = frame(&put(7, "x"), &noise(7, 60_000));
        while writing.write_all(&file).is_ok() {}
    });
    let bye = client.bye();
    drop(client);
    feeding.join().unwrap();
    bye
}

/// How a directory can vanish under a balancer.
fn vanish(how: &str, journal: &Path) -> bool {
    let aside = journal.with_file_name("aside");
    match how {
        "moved" => fs::rename(journal, &aside).unwrap(),
        "replaced" => {
            fs::rename(journal, &aside).unwrap();
            fs::create_dir(journal).unwrap();
        }
        "mounted over" => return mount(&["-t", "tmpfs", "none"], journal),
        "removed" => fs::remove_dir_all(journal).unwrap(),
        _ => segments(journal)
            .into_iter()
            .for_each(|segment| fs::remove_file(segment).unwrap()),
    }
    true
}

/// Files were accepted as before, and were gone after a restart.
#[test]
fn no_file_is_accepted_in_a_directory_that_was_moved() {
    for how in ["moved", "replaced", "mounted over", "removed", "emptied"] {
        let dir = tempfile::tempdir().unwrap();
        let (balancer, address) = watched(dir.path(), "kept", &[]);
        let mut client = Client::connect(&address);
        client.put_accepted(1, None, b"x");
        let journal = dir.path().join("kept");
        if !vanish(how, &journal) {
            eprintln!("SKIPPED, for this user may not mount a tmpfs");
            continue;
        }
        client.put(2, None, b"y");
        let answer = client.next();
        assert_ne!(answer["request_type"], "accepted", "{how}: {answer}");
        let ended = balancer.wait();
        assert_eq!(ended.code, Some(6), "{how}: {ended:?}");
        let said = if how == "emptied" { ".log" } else { "kept" };
        assert!(
            ended.stderr.contains(said) && ended.stderr.contains("hint: "),
            "{how}: {ended:?}"
        );
        if how == "mounted over" {
            assert!(
                Command::new("umount")
                    .arg(&journal)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        if matches!(how, "moved" | "replaced") {
            assert_eq!(
                fs::read_dir(&journal).map_or(0, Iterator::count),
                0,
                "nothing was written to another directory"
            );
            let checked = check(&dir.path().join("aside"));
            assert!(
                checked.stdout.contains("files: 1 wait")
                    || checked.stdout.contains("files: 2 wait"),
                "{checked:?}"
            );
        }
    }
}

/// No client sends anything.
#[test]
fn an_idle_balancer_notices_that_its_directory_was_moved() {
    for how in ["moved", "emptied"] {
        let dir = tempfile::tempdir().unwrap();
        let (balancer, address) = watched(dir.path(), "kept", &[]);
        let mut client = Client::connect(&address);
        client.put_accepted(1, None, b"x");
        assert!(vanish(how, &dir.path().join("kept")));
        let bye = client.bye();
        assert_eq!(bye["code"], "storage", "{how}: {bye}");
        let ended = balancer.wait();
        assert_eq!(ended.code, Some(6), "{how}: {ended:?}");
    }
}

/// The journal is on its own disk, which is unmounted while a large file comes in.
#[test]
fn a_disk_that_is_unmounted_under_a_large_file_ends_the_balancer() {
    let Some(disk) = Mount::tmpfs("64m") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let kept = disk.path().join("kept");
    let (balancer, address) = watched(dir.path(), kept.to_str().unwrap(), &[]);
    let mut client = Client::connect(&address);
    client.put_accepted(1, None, b"x");
    let content = noise(2, 8 * 1024 * 1024);
    let whole = frame(&put(2, "large"), &content);
    client.wire.write(&whole[..whole.len() / 2]);
    wait_until("a part", || !names_with(&kept, "part-").is_empty());
    assert!(
        Command::new("umount")
            .arg("-l")
            .arg(disk.path())
            .status()
            .unwrap()
            .success()
    );
    let _ = client.wire.0.write_all(&whole[whole.len() / 2..]);
    let ended = balancer.wait();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.stderr.contains("kept"), "{ended:?}");
}
