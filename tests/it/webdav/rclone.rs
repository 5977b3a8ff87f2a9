//! rclone itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bilico_testkit::{Farm, by_title, noise, sized, wait_until};

use crate::users::Locked;

/// The files of the test.
const FILES: usize = 200;

/// rclone with the doorway at this address as its remote `b:`. `None` where there is none.
fn rclone(dir: &Path, admin: &str, vendor: &str, args: &[&str]) -> Option<Command> {
    if Command::new("rclone").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "rclone is missing");
        // Past the capture of the test's output: a skipped test must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED, for there is no rclone");
        return None;
    }
    let mut command = Command::new("rclone");
    command
        .args(["--config", "", "--cache-dir", "cache"])
        .args(["--retries", "10", "--retries-sleep", "300ms"])
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env("no_proxy", "*")
        .env("RCLONE_CONFIG_B_TYPE", "webdav")
        .env("RCLONE_CONFIG_B_URL", format!("http://{admin}/files/"))
        .env("RCLONE_CONFIG_B_VENDOR", vendor)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap() + &said
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of files, by the titles that they are to get.
fn tree(dir: &Path, files: usize) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for n in 0..files {
        let folder = match n % 4 {
            0 => "",
            1 => "a/",
            2 => "a/b c/",
            _ => "ü&%2F/d/",
        };
        let content = noise(n as u64, if n % 50 == 7 { 150_000 } else { 10 * n });
        let path = dir.join("tree").join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("f{n}.bin")), &content).unwrap();
        all.insert(format!("{folder}f{n}.bin"), content);
    }
    all
}

/// The titles as servers write them into names.
fn as_stored(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let name = |title: &str| {
        let name = bilico::server::name::stored_name(1, title);
        name.split_once('_').unwrap().1.to_owned()
    };
    files
        .iter()
        .map(|(title, content)| (name(title), content.clone()))
        .collect()
}

/// That each file is on the servers, and once.
#[track_caller]
fn assert_each_once(farm: &Farm, files: &BTreeMap<String, Vec<u8>>) {
    wait_until("all to be delivered", || {
        let status = farm.status();
        status.queue.files() == 0 && farm.all_stored().len() >= files.len()
    });
    let stored = farm.all_stored();
    assert_eq!(stored.len(), files.len(), "each once");
    assert!(by_title(stored) == as_stored(files), "as they were sent");
}

#[test]
fn two_hundred_files_are_stored_once_each_however_often_they_are_copied() {
    for vendor in ["other", "owncloud"] {
        let farm = Farm::start(&[1, 2]);
        let dir = farm.dir.path().to_owned();
        let admin = farm.balancer.admin.clone().unwrap();
        let run = |args: &[&str]| {
            let mut command = rclone(&dir, &admin, vendor, args)?;
            Some(command.output().unwrap())
        };
        let mut files = tree(&dir, FILES);
        let Some(copied) = run(&["copy", "tree", "b:", "--stats-one-line", "-v"]) else {
            return;
        };
        let said = good(&copied);
        assert!(!said.contains("ERROR"), "{said}");
        assert_each_once(&farm, &files);
        let listed = good(&run(&["lsf", "-R", "--files-only", "b:"]).unwrap());
        assert_eq!(listed.lines().count(), FILES, "{listed}");
        assert!(listed.contains("ü&%2F/d/f3.bin"), "{listed}");
        for again in [
            &["copy", "tree", "b:"][..],
            &["copy", "--ignore-times", "tree", "b:"],
        ] {
            good(&run(again).unwrap());
            assert_each_once(&farm, &files);
        }
        // With times and checksums it finds what has changed, though not in size.
        let changed = dir.join("tree/a/f1.bin");
        let mut content = fs::read(&changed).unwrap();
        content[0] ^= 1;
        fs::write(&changed, &content).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_mins(1);
        let file = fs::File::options().write(true).open(&changed).unwrap();
        file.set_modified(later).unwrap();
        good(&run(&["copy", "tree", "b:"]).unwrap());
        let both = FILES + usize::from(vendor == "owncloud");
        wait_until("the new one to be stored", || {
            farm.all_stored().len() == both
        });
        if vendor == "owncloud" {
            let checked = good(&run(&["check", "--one-way", "tree", "b:"]).unwrap());
            assert!(checked.contains("0 differences"), "{checked}");
        }
        files.insert("a/f1.bin".to_owned(), content);
        assert!(run(&["deletefile", "b:a/f1.bin"]).unwrap().status.code() != Some(0));
        assert_eq!(farm.all_stored().len(), both);
    }
}

/// It stored the file three times and called that a failure.
#[test]
fn one_file_is_copied_once_with_and_without_a_look_before() {
    let farm = Farm::start(&[1]);
    let dir = farm.dir.path();
    fs::write(dir.join("h.txt"), b"hello").unwrap();
    let admin = farm.balancer.admin.clone().unwrap();
    let url = format!("http://{admin}/files/");
    let blind = [
        "--webdav-url",
        &url,
        "--no-check-dest",
        "--ignore-checksum",
        "--ignore-size",
    ];
    let dup = [&["copyto", "h.txt", ":webdav:dup.txt"][..], &blind].concat();
    let Some(mut command) = rclone(dir, &admin, "other", &dup) else {
        return;
    };
    good(&command.output().unwrap());
    let run = |vendor: &str, args: &[&str], input: &str| {
        let mut command = rclone(dir, &admin, vendor, args).unwrap();
        let spawned = command.stdin(Stdio::piped()).spawn();
        let mut running = Running(spawned.unwrap());
        let _ = running.0.stdin.take().unwrap().write_all(input.as_bytes());
        let mut said = String::new();
        std::io::Read::read_to_string(running.0.stderr.as_mut().unwrap(), &mut said).unwrap();
        assert!(running.0.wait().unwrap().success(), "{args:?}: {said}");
    };
    run("other", &["copyto", "h.txt", "b:deep/er/one.txt"], "");
    run("other", &["rcat", "b:piped.txt"], "from a pipe");
    run("owncloud", &["rcat", "b:streamed.txt"], "in chunks");
    run("other", &["moveto", "h.txt", "b:moved.txt"], "");
    assert!(!dir.join("h.txt").exists());
    wait_until("all to be delivered", || farm.status().delivered == 5);
    let titles: Vec<_> = by_title(farm.stored(0)).into_keys().collect();
    assert_eq!(
        titles,
        [
            "deep%2Fer%2Fone.txt",
            "dup.txt",
            "moved.txt",
            "piped.txt",
            "streamed.txt"
        ]
    );
}

#[test]
fn a_balancer_that_is_killed_meanwhile_gets_each_file_once() {
    for round in 0..sized(2, 20) {
        let vendor = ["other", "owncloud"][round % 2];
        let mut farm = Farm::start(&[1, 1]);
        let dir = farm.dir.path().to_owned();
        let admin = farm.balancer.admin.clone().unwrap();
        let files = tree(&dir, FILES);
        let args = ["copy", "tree", "b:", "--low-level-retries", "20"];
        let Some(mut command) = rclone(&dir, &admin, vendor, &args) else {
            return;
        };
        let mut running = Running(command.spawn().unwrap());
        for kill in 1..=3 {
            wait_until("some to be on their way", || {
                farm.all_stored().len() >= kill * 30 + round
            });
            farm.balancer.kill();
            farm.balancer.restart();
        }
        let mut said = String::new();
        std::io::Read::read_to_string(running.0.stderr.as_mut().unwrap(), &mut said).unwrap();
        assert!(running.0.wait().unwrap().success(), "{said}");
        assert_each_once(&farm, &files);
    }
}

#[test]
fn a_token_lets_in_and_each_user_sees_what_they_sent() {
    let locked = Locked::start();
    let dir = locked.dir.path();
    let admin = locked.balancer.admin.clone().unwrap();
    let (anna, ben) = (locked.user("anna", "sender"), locked.user("ben", "sender"));
    tree(dir, 20);
    let run = |token: &str, args: &[&str]| {
        let mut command = rclone(dir, &admin, "other", args)?;
        command.env("RCLONE_CONFIG_B_BEARER_TOKEN", token);
        Some(command.output().unwrap())
    };
    let Some(copied) = run(&anna, &["copy", "tree", "b:"]) else {
        return;
    };
    good(&copied);
    let listed = |token: &str| good(&run(token, &["lsf", "-R", "--files-only", "b:"]).unwrap());
    assert_eq!(listed(&anna).lines().count(), 20);
    assert_eq!(listed(&ben), "");
    good(&run(&anna, &["copy", "--ignore-times", "tree", "b:"]).unwrap());
    good(&run(&ben, &["copy", "tree", "b:"]).unwrap());
    wait_until("those of both to be stored", || locked.stored().len() == 40);
    let bad = run("bil_nonsense", &["copy", "--retries", "1", "tree", "b:"]).unwrap();
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && said.contains("401"), "{said}");
}
