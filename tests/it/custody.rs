//! The journal's directory in the hands of others: bits that flip in what tells which journal it
//! is, files that are removed, replaced or planted, a directory that is moved, and a journal that
//! is to go on under a new identity.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::journal::{address_of, check, is_segment};
use bilico_testkit::{
    Client, Ended, Farm, Mount, Running, bilico, frame, mount, names_with, noise, put, run,
    wait_for_line, wait_until,
};

const FILES: u64 = 40;

/// A journal of one segment with 40 files, its balancer killed; and the farm.
fn one_segment() -> Farm {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=FILES {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 1000)),
            id
        );
    }
    farm.balancer.kill();
    assert_eq!(segments(&farm.journal()).len(), 1);
    farm
}

fn segments(journal: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| is_segment(path));
    paths.sort();
    paths
}

/// Runs a balancer that cannot start in the farm's directory.
fn refused(farm: &Farm) -> Ended {
    let server = format!("{}=1", farm.servers[0].address);
    run(
        bilico(&["balancer", "--listen", "127.0.0.1:0", "--server", &server])
            .current_dir(farm.dir.path()),
        "",
    )
}

/// A balancer over a server that is never there, in a process that ends by itself, with its
/// address.
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

// ---------------------------------------------------------------- which journal it is

/// One flipped bit in `journal-id`, or none of it: all records failed their checksums, the whole
/// journal counted as a torn tail, `queue check` said `sound`, and numbers began at 1 again.
#[test]
fn a_damaged_or_missing_identity_costs_no_file_and_is_told() {
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

/// A link was followed, and a pipe waited for.
#[test]
fn what_is_no_regular_file_is_refused_by_its_name() {
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
            // Nobody who checks opens the lock or the reserve.
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

/// All segments were gone, and the balancer began with number 1 as if nothing had ever been there.
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

/// What was cut was gone, and told of in passing.
#[test]
fn what_is_cut_as_torn_is_kept_aside_and_told() {
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

/// Of large content only the size was looked at.
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

// ---------------------------------------------------------------- one balancer a journal

/// With the lock's file gone, a second balancer started in the same journal, and the first removed
/// the segment that the second was writing.
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

/// A segment that was there already was removed: it was another program's.
#[test]
fn a_file_that_another_program_made_is_left_alone_and_ends_the_balancer() {
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

/// Puts files until the balancer ends the connection, and gives its last word.
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

// ---------------------------------------------------------------- its directory is moved

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

/// Files were accepted as before, and a restart found none of them.
#[test]
fn no_file_is_accepted_in_a_directory_that_has_gone() {
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

/// Nobody sends anything.
#[test]
fn an_idle_balancer_notices_that_its_directory_has_gone() {
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

/// The journal lies on a disk of its own that is unmounted while a large file comes.
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

// ---------------------------------------------------------------- it goes on under a new identity

fn adopt(journal: &Path) -> Ended {
    run(bilico(&["queue", "adopt"]).arg(journal), "")
}

fn copy_of(journal: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A journal from a backup gave numbers again that the server knew: new files were taken for those
/// that it had.
#[test]
fn a_journal_from_a_backup_goes_on_once_it_is_adopted() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=3 {
        assert_eq!(client.put_accepted(id, None, &noise(id, 1000)), id);
    }
    farm.balancer.kill();
    let (journal, backup) = (farm.journal(), farm.dir.path().join("backup"));
    copy_of(&journal, &backup);
    farm.balancer.restart();
    let mut client = farm.client();
    for id in 4..=6 {
        assert_eq!(client.put_accepted(id, None, &noise(id, 1000)), id);
    }
    farm.servers[0].restart();
    wait_until("all to be stored", || farm.stored(0).len() == 6);
    farm.balancer.kill();
    fs::remove_dir_all(&journal).unwrap();
    copy_of(&backup, &journal);

    let before = fs::read_to_string(journal.join("journal-id")).unwrap();
    let adopted = adopt(&journal);
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    assert!(
        adopted.stdout.contains("3 wait") && adopted.stdout.contains("a second time"),
        "{adopted:?}"
    );
    let after = fs::read_to_string(journal.join("journal-id")).unwrap();
    assert!(
        after.starts_with(&before) && after.lines().count() == 2,
        "records keep their identity: {after}"
    );
    assert!(
        adopted
            .stdout
            .contains(&after.lines().nth(1).unwrap()[..32]),
        "{adopted:?}"
    );
    let checked = check(&journal);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    farm.balancer.restart();
    let mut client = farm.client();
    for id in 7..=9 {
        assert_eq!(
            client.put_accepted(id, None, &noise(id, 1000)),
            1_000_000 + id - 3
        );
    }
    wait_until("the queue to be empty", || farm.status().queue.files() == 0);
    let stored: Vec<Vec<u8>> = farm.stored(0).into_values().collect();
    for id in 1..=9 {
        assert!(stored.contains(&noise(id, 1000)), "file {id}");
    }
}

/// Nothing is made, locked or written where nobody asked for it.
#[test]
fn only_a_journal_that_nobody_uses_is_adopted() {
    let farm = Farm::without_servers(&[1]);
    farm.client().put_accepted(1, None, b"x");
    let before = fs::read(farm.journal().join("journal-id")).unwrap();
    let used = adopt(&farm.journal());
    assert_eq!(used.code, Some(1), "{used:?}");
    assert!(
        used.stderr.contains("in use by another balancer"),
        "{used:?}"
    );
    assert_eq!(fs::read(farm.journal().join("journal-id")).unwrap(), before);

    let empty = farm.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for dir in [&empty, &farm.dir.path().join("missing")] {
        let none = adopt(dir);
        assert_eq!(none.code, Some(1), "{none:?}");
        assert!(none.stderr.contains(dir.to_str().unwrap()), "{none:?}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    assert!(!farm.dir.path().join("missing").exists());
}

/// What servers know the journal by stands in one place only: without it no balancer goes on, but
/// it can be adopted again.
#[test]
fn an_adopted_journal_that_has_lost_its_name_is_refused_until_it_is_adopted_again() {
    let mut farm = one_segment();
    assert_eq!(adopt(&farm.journal()).code, Some(0));
    let path = farm.journal().join("journal-id");
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ended = refused(&farm);
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stderr.contains("journal-id") && ended.stderr.contains("bilico queue adopt"),
        "{ended:?}"
    );
    assert_eq!(check(&farm.journal()).code, Some(6));
    let again = adopt(&farm.journal());
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(
        fs::read(farm.journal().join("damaged-journal-id")).unwrap(),
        bytes
    );
    farm.balancer.restart();
    assert_eq!(farm.status().queue.files() as u64, FILES);
    assert_eq!(check(&farm.journal()).code, Some(0));
}
