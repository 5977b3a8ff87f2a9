//! Which files are sent, and under which titles.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, Running, noise, wait_until};

use super::helpers::{command, make_pipe, objects, send};

#[test]
fn any_file_arrives_byte_for_byte() {
    let farm = Farm::start(&[1]);
    let files: [(&str, Vec<u8>); 6] = [
        ("every byte.bin", (0..=255).collect()),
        ("empty", vec![]),
        ("noise.bin", noise(1, 5 * 1024 * 1024)),
        ("due parole, è così.txt", "perché no?\r\n".into()),
        ("😀", vec![0]),
        (
            "payload.json",
            br#"{"title": "t", "content": "not unwrapped"}"#.to_vec(),
        ),
    ];
    for (name, content) in &files {
        farm.write(name, content);
    }
    let names = files.each_ref().map(|(name, _)| *name);
    let ended = send(&farm, &names);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("6 accepted, 6 delivered"),
        "{}",
        ended.stdout
    );
    let stored = farm.all_stored();
    assert_eq!(stored.len(), files.len());
    for (number, (name, content)) in files.iter().enumerate() {
        assert!(
            stored[&format!("{}_{name}", number + 1)] == *content,
            "{name}"
        );
    }
}

#[test]
fn a_file_sent_twice_is_two_files() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    assert_eq!(send(&farm, &["a.txt", "./a.txt"]).code, Some(0));
    assert_eq!(send(&farm, &["a.txt"]).code, Some(0));
    let names: Vec<String> = farm.all_stored().into_keys().collect();
    assert_eq!(names, ["1_a.txt", "2_a.txt", "3_a.txt"]);
}

#[test]
fn payloads_are_unwrapped_and_other_files_are_named() {
    let farm = Farm::start(&[1]);
    farm.write(
        "good.json",
        r#"{"title": "inner title.txt", "content": "così \u00e8\n"}"#,
    );
    farm.write(
        "buono.txt",
        r#"{"titolo": "sotto/sopra", "contenuto": "sì"}"#,
    );
    for (name, content) in [
        ("text.json", "no JSON"),
        ("list.json", "[]"),
        ("untitled.json", r#"{"content": "x"}"#),
        ("empty.json", ""),
        ("numbers.json", r#"{"title": "x", "content": 5}"#),
        ("latin1.json", "{\"title\": \"x\", \"content\": \"\u{0}\"}"),
    ] {
        farm.write(name, content);
        let ended = send(&farm, &["--json-payload", "good.json", name, "buono.txt"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(name),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("2 accepted, 2 delivered, 1 unreadable"),
            "{ended:?}"
        );
    }
    assert_eq!(
        send(&farm, &["--json-payload", "good.json", "buono.txt"]).code,
        Some(0)
    );
    let stored = farm.all_stored();
    assert_eq!(stored["13_inner title.txt"], "così è\n".as_bytes());
    assert_eq!(stored["14_sotto%2Fsopra"], "sì".as_bytes());
}

#[test]
fn directories_need_r_and_titles_are_relative_paths() {
    let farm = Farm::start(&[1]);
    farm.write("top/a.txt", "a");
    farm.write("top/sub/deeper/b.txt", "b");
    farm.write("top/sub/.hidden", "c");
    farm.write(
        Path::new("top").join(OsStr::from_bytes(b"latin\xe8.txt")),
        "d",
    );
    farm.write("alone.txt", "e");
    fs::create_dir(farm.dir.path().join("top/empty")).unwrap();
    // A link to itself.
    std::os::unix::fs::symlink("..", farm.dir.path().join("top/sub/up")).unwrap();
    let ended = send(&farm, &["-r", "top/", "alone.txt"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("error: top/sub/up: not sent: it is a symbolic link\n")
            && ended
                .stderr
                .contains("error: 1 link left out\nhint: --follow"),
        "{ended:?}"
    );
    let mut stored: Vec<(String, Vec<u8>)> = farm
        .all_stored()
        .into_iter()
        .map(|(name, content)| (name.split_once('_').unwrap().1.into(), content))
        .collect();
    stored.sort();
    let expected = [
        ("a.txt", "a"),
        ("alone.txt", "e"),
        ("latin%5Cxe8.txt", "d"),
        ("sub%2F.hidden", "c"),
        ("sub%2Fdeeper%2Fb.txt", "b"),
    ];
    assert_eq!(
        stored,
        expected.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()))
    );
}

#[test]
fn a_directory_without_r_is_an_error_with_a_hint() {
    let farm = Farm::start(&[1]);
    farm.write("top/a.txt", "a");
    let ended = send(&farm, &["top/a.txt", "top"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: top is a directory")
            && ended.stderr.contains("hint: pass -r"),
        "{ended:?}"
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(farm.status().accepted, 0);
}

#[test]
fn an_empty_directory_is_a_warning() {
    let farm = Farm::start(&[1]);
    fs::create_dir(farm.dir.path().join("empty")).unwrap();
    let ended = send(&farm, &["-r", "empty"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("0 accepted, 0 delivered"),
        "{ended:?}"
    );
    assert_eq!(
        ended.stderr,
        "warning: nothing to send: no files in empty\n"
    );
    let quiet = send(&farm, &["-r", "empty", "-q"]);
    assert_eq!(
        (quiet.code, &*quiet.stderr, &*quiet.stdout),
        (Some(0), "", "")
    );
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    for args in [
        &["missing.txt"][..],
        &["a.txt", "missing.txt"],
        &["-r", "missing.txt"],
        &["a.txt/missing.txt"],
    ] {
        let ended = send(&farm, args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains("missing.txt"),
            "{ended:?}"
        );
    }
}

#[test]
fn paths_that_are_not_files_are_named_and_never_waited_for() {
    let farm = Farm::start(&[1]);
    make_pipe(&farm, "pipe");
    farm.write("a.txt", "a");
    let started = Instant::now();
    for other in ["pipe", "/dev/zero", "/dev/stdin"] {
        let ended = send(&farm, &[other, "a.txt"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains(&format!("error: {other}: not a regular file")),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("1 accepted, 1 delivered, 1 unreadable"),
            "{ended:?}"
        );
    }
    // Among the files of a directory it was once left out without a word.
    make_pipe(&farm, "top");
    fs::remove_file(farm.dir.path().join("top")).unwrap();
    farm.write("top/a.txt", "a");
    make_pipe(&farm, "top/pipe");
    let ended = send(&farm, &["-r", "top"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "error: top/pipe: not sent: it is a fifo\nerror: 1 fifo left out\n"
    );
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

/// A file that shrinks while it is sent is no longer the file that was announced. It must be named,
/// and the others go on.
#[test]
fn a_file_that_shrinks_is_named_or_sent_as_it_is_then() {
    let farm = Farm::start(&[1]);
    farm.write("shrinking.log", "");
    let path = fs::canonicalize(farm.dir.path())
        .unwrap()
        .join("shrinking.log");
    let file = fs::File::options().write(true).open(&path).unwrap();
    farm.write("a.txt", "a");
    for changed in ["fail", "retry"] {
        file.set_len(400 * 1024 * 1024).unwrap();
        let running = Running::start(&mut command(
            &farm,
            &["shrinking.log", "a.txt", "--changed", changed],
        ));
        let fds = format!("/proc/{}/fd", running.pid());
        let is_open = || {
            let links = fs::read_dir(&fds)
                .unwrap()
                .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
            links.into_iter().any(|link| link == path)
        };
        wait_until("the file to be open", is_open);
        farm.balancer.signal("STOP");
        file.set_len(0).unwrap();
        // It connects again for the other file, which works only once the balancer goes on.
        farm.balancer.signal("CONT");
        let ended = running.wait();
        if changed == "fail" {
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended
                    .stderr
                    .contains("error: shrinking.log: not sent: it changed"),
                "{ended:?}"
            );
            assert!(
                ended
                    .stdout
                    .contains("1 accepted, 1 delivered, 1 changed while they were read"),
                "{ended:?}"
            );
            assert_eq!(farm.all_stored().into_values().collect::<Vec<_>>(), [b"a"]);
        } else {
            assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
            assert_eq!(
                farm.all_stored()
                    .into_values()
                    .map(|content| content.len())
                    .sum::<usize>(),
                2
            );
            assert_eq!(farm.all_stored().len(), 3);
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_with_the_reason_and_the_others_go() {
    let farm = Farm::with(&[1], &[], &["--queue-bytes", "1MiB", "--max-json", "64KiB"]);
    farm.write("large.bin", noise(1, 2 * 1024 * 1024));
    farm.write("a.txt", "a");
    let ended = send(&farm, &["large.bin", "a.txt", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("error: large.bin: refused: "),
        "{ended:?}"
    );
    let [large, small] = &objects(&ended.stdout)[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (&large["state"], &small["state"]),
        (&"refused".into(), &"delivered".into())
    );
    assert!(large["reason"].is_string(), "{large}");
}
