//! `bilico send --receipts` and `bilico verify`: servers have the files that receipts name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use bilico_testkit::{Ended, Farm, Running, bilico, run, sized, wait_until};

const RECEIPTS: &str = "receipts.jsonl";

/// Runs `bilico send --receipts` with these arguments.
fn send(farm: &Farm, args: &[&str]) -> Ended {
    let mut command = bilico(&[
        "send",
        "--balancer",
        &farm.balancer.address,
        "--receipts",
        RECEIPTS,
    ]);
    run(command.args(args).current_dir(farm.dir.path()), "")
}

/// Runs `bilico verify` on the farm's receipts and directories.
fn verify(farm: &Farm, args: &[&str]) -> Ended {
    let mut command = bilico(&["verify", "--receipts", RECEIPTS]);
    for server in 0..farm.servers.len() {
        command.arg(farm.server_dir(server));
    }
    run(command.args(args).current_dir(farm.dir.path()), "")
}

/// The receipts in the farm's directory, all of which must be whole lines.
fn receipts(farm: &Farm) -> Vec<Value> {
    let (receipts, torn) = receipts_of_a_killed_client(farm);
    assert_eq!(torn, "");
    receipts
}

/// The receipts in the farm's directory, and what is behind the last whole line: the kernel may end
/// the write of a process that is killed between two pages.
fn receipts_of_a_killed_client(farm: &Farm) -> (Vec<Value>, String) {
    let text = fs::read_to_string(farm.dir.path().join(RECEIPTS)).unwrap();
    let end = text.rfind('\n').map_or(0, |last| last + 1);
    let (whole, torn) = text.split_at(end);
    let receipts = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (receipts, torn.to_owned())
}

/// A stored file of the farm's, by the end of its name.
fn find(farm: &Farm, title: &str) -> PathBuf {
    let dirs = (0..farm.servers.len()).map(|server| farm.server_dir(server));
    let mut paths = dirs
        .flat_map(|dir| fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.to_string_lossy().ends_with(&format!("_{title}")))
        .unwrap()
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap().join(name)
}

#[test]
fn what_was_sent_is_there_and_every_damage_is_told() {
    let farm = Farm::start(&[2, 1]);
    for file in 0..200 {
        farm.write(format!("many/{file}"), format!("content of {file}"));
    }
    farm.write("large.bin", vec![7; 3 << 20]);
    farm.write(
        "payload.json",
        r#"{"title": "inner/title", "content": "è"}"#,
    );
    assert_eq!(send(&farm, &["-r", "many", "large.bin"]).code, Some(0));
    assert_eq!(
        send(&farm, &["--json-payload", "payload.json", "large.bin"]).code,
        Some(1)
    );
    assert_eq!(receipts(&farm).len(), 203);
    let ended = verify(&farm, &[]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert_eq!(
        ended.stdout,
        "203 receipts, 202 stored files: 202 match; no findings\n"
    );

    fs::remove_file(find(&farm, "17")).unwrap();
    fs::write(find(&farm, "18"), "damaged").unwrap();
    let inner = find(&farm, "inner%2Ftitle");
    let name = inner.file_name().unwrap().to_str().unwrap().to_owned();
    fs::copy(&inner, beside(&inner, &format!("{name}~2"))).unwrap();
    fs::copy(&inner, beside(&inner, "9999_stranger")).unwrap();
    fs::write(beside(&inner, ".bilico-1-1.part"), "ha").unwrap();
    let ended = verify(&farm, &[]);
    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let found = |line: usize, parts: &[&str]| parts.iter().all(|part| lines[line].contains(part));
    assert!(
        found(0, &["missing:", "many/17", "delivered", "\"17\""]),
        "{ended:?}"
    );
    assert!(
        found(
            1,
            &[
                "double:",
                "inner%2Ftitle",
                "inner%2Ftitle~2",
                "payload.json"
            ]
        ),
        "{ended:?}"
    );
    assert!(found(2, &["differing:", "_18", "many/18"]), "{ended:?}");
    assert!(found(3, &["unexpected:", "9999_stranger"]), "{ended:?}");
    assert!(found(4, &["partial:", ".bilico-1-1.part"]), "{ended:?}");
    assert!(found(
        5,
        &[
            "203 receipts, 203 stored files",
            "1 missing, 1 double, 1 differing, 1 unexpected, 1 partial"
        ]
    ));
    let report: Value =
        serde_json::from_str(&verify(&farm, &["--json", "--others"]).stdout).unwrap();
    assert_eq!(
        (&report["clean"], &report["others"], &report["stored"]),
        (&false.into(), &1.into(), &200.into())
    );
    assert_eq!(report["missing"][0]["receipt"]["title"], "17");
    assert_eq!(report["unexpected"], serde_json::json!([]));
}

#[test]
fn receipts_tell_each_file_once_whatever_became_of_it() {
    let farm = Farm::without_servers(&[1]);
    farm.write("a", "a");
    let ended = send(
        &farm,
        &["a", "gone", "--timeout", "300ms", "--key-prefix", "k/"],
    );
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let [gone, a] = &receipts(&farm)[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (&a["state"], &a["key"], &a["number"]),
        (&"accepted".into(), &"k/a".into(), &1.into())
    );
    assert_eq!(
        (&a["hash"], &a["size"]),
        (&blake3::hash(b"a").to_string().into(), &1.into())
    );
    assert_eq!(
        (&gone["state"], &gone["key"], gone.get("hash")),
        (&"unreadable".into(), &"k/gone".into(), None)
    );
    let ended = verify(&farm, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stdout
            .starts_with("missing: (a: accepted as \"a\", number 1)\n"),
        "{ended:?}"
    );
}

#[test]
fn receipts_that_cannot_be_written_end_it_before_anything_is_sent() {
    let farm = Farm::start(&[1]);
    farm.write("a", "a");
    farm.write("letter", "Dear Anna");
    farm.write("diary", "Monday\nTuesday\n");
    let made = Command::new("mkfifo")
        .arg(farm.dir.path().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    for (path, code, reason) in [
        ("none/receipts", 1, "No such file"),
        (".", 2, "it is a directory"),
        ("pipe", 2, "it is not a regular file"),
        (
            "letter",
            2,
            "letter is not a file of receipts: it ends with \"Dear Anna\"",
        ),
        (
            "diary",
            2,
            "diary is not a file of receipts: its first line is \"Monday\"",
        ),
    ] {
        let mut command = bilico(&[
            "send",
            "--balancer",
            &farm.balancer.address,
            "--receipts",
            path,
            "a",
        ]);
        let ended = run(command.current_dir(farm.dir.path()), "");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(reason),
            "{ended:?}"
        );
    }
    assert_eq!(
        fs::read_to_string(farm.dir.path().join("diary")).unwrap(),
        "Monday\nTuesday\n"
    );
    assert_eq!(farm.status().accepted, 0);
    assert_eq!(
        fs::read_to_string(farm.dir.path().join("letter")).unwrap(),
        "Dear Anna"
    );
}

/// A final receipt is in the file a moment later: a client that is killed leaves whole lines and at
/// most one torn one, which the next client cuts off.
#[test]
fn a_killed_client_leaves_lines_of_what_was_final() {
    let farm = Farm::start(&[1]);
    for file in 0..sized(1500, 3000) {
        farm.write(format!("many/{file}"), vec![b'x'; 2000]);
    }
    let mut known = 0;
    for _ in 0..3 {
        let mut command = bilico(&[
            "send",
            "--balancer",
            &farm.balancer.address,
            "--receipts",
            RECEIPTS,
            "-r",
            "many",
        ]);
        let before =
            fs::metadata(farm.dir.path().join(RECEIPTS)).map_or(0, |metadata| metadata.len());
        let running = Running::start(command.current_dir(farm.dir.path()));
        let grown = || {
            fs::metadata(farm.dir.path().join(RECEIPTS))
                .is_ok_and(|metadata| metadata.len() > before)
        };
        wait_until("the first receipts", grown);
        running.signal("KILL");
        running.wait();
        let (after, torn) = receipts_of_a_killed_client(&farm);
        assert!(torn.is_empty() || torn.starts_with('{'), "{torn:?}");
        assert!(after.len() >= known, "{known}, then {after:?}");
        assert!(after.iter().all(|receipt| receipt["state"] == "delivered"));
        known = after.len();
    }
    wait_until("all to be delivered", || farm.status().queue.files() == 0);
    let report: Value =
        serde_json::from_str(&verify(&farm, &["--json", "--others"]).stdout).unwrap();
    assert_eq!(
        (&report["clean"], &report["stored"]),
        (&true.into(), &known.into()),
        "{report}"
    );
}

#[test]
fn what_cannot_be_compared_is_an_error_and_not_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad"), "{}\n").unwrap();
    fs::write(dir.path().join("good"), "").unwrap();
    for (args, code, reason) in [
        (
            &["--receipts", "gone", "."][..],
            1,
            "cannot read the receipts in gone",
        ),
        (&["--receipts", "bad", "."], 1, "bad, line 1"),
        (
            &["--receipts", "good", "gone"],
            1,
            "cannot read the directory gone",
        ),
        (&["--receipts", "good", ".", "."], 1, "is named twice"),
        (&["--receipts", "good"], 2, "DIR"),
        (&["."], 2, "--receipts"),
    ] {
        let ended = run(bilico(&["verify"]).args(args).current_dir(dir.path()), "");
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(code), ""),
            "{args:?}: {ended:?}"
        );
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(reason),
            "{args:?}: {ended:?}"
        );
    }
}
