//! `docs/examples/backup.sh`, and the restore that `docs/backup.md` describes, with real processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Ended, Farm, Role, Running, bilico, names_with, program, run, wait_until};
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/backup.sh");

fn titles(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{prefix}-{n}")).collect()
}

fn write(farm: &Farm, titles: &[String]) {
    for title in titles {
        farm.write(title, format!("content of {title}"));
    }
}

/// A command that sends these files, waits for this receipt, and keeps it.
fn sending(farm: &Farm, receipts: &str, wait: &str, titles: &[String]) -> Command {
    let mut command = bilico(&["send", "--balancer", &farm.balancer.address]);
    command
        .args([
            "--receipts",
            receipts,
            "--wait",
            wait,
            "--retry",
            "1m",
            "-q",
        ])
        .args(titles)
        .current_dir(farm.dir.path());
    command
}

fn send(farm: &Farm, receipts: &str, wait: &str, titles: &[String]) {
    write(farm, titles);
    let ended = run(&mut sending(farm, receipts, wait, titles), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// The script, with a balancer that the test stops and starts when it is told to by a file.
fn script(farm: &Farm, args: &[&str]) -> Command {
    let ask = |what: &str| {
        format!(
            "touch {what}-it; until [ -e {what}ped ]; do sleep 0.05; done; rm {what}-it {what}ped"
        )
    };
    let mut command = Command::new("sh");
    command
        .arg(SCRIPT)
        .args(args)
        .env("BILICO", program())
        .env("STOP", ask("stop"))
        .env("START", ask("start"))
        .current_dir(farm.dir.path());
    command
}

/// Waits until the script asks for something, does it, and says so.
fn obey(dir: &Path, what: &str, act: impl FnOnce()) {
    wait_until("the script to ask", || {
        dir.join(format!("{what}-it")).exists()
    });
    act();
    fs::write(dir.join(format!("{what}ped")), "").unwrap();
}

fn back_up_journal(farm: &mut Farm, to: &str) -> Ended {
    let running = Running::start(&mut script(farm, &["journal", "journal", to]));
    let dir = farm.dir.path().to_owned();
    obey(&dir, "stop", || assert_eq!(farm.balancer.stop(), Some(0)));
    obey(&dir, "start", || farm.balancer.restart());
    running.end()
}

fn verify(farm: &Farm, receipts: &str) -> Value {
    let mut command = bilico(&["verify", "--receipts", receipts, "--json"]);
    for server in 0..farm.servers.len() {
        command.arg(farm.server_dir(server));
    }
    let ended = run(command.current_dir(farm.dir.path()), "");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The titles of these findings.
fn found(report: &Value, kind: &str) -> BTreeSet<String> {
    let findings = report[kind].as_array().unwrap().iter();
    findings
        .map(|finding| finding["receipt"]["title"].as_str().unwrap().to_owned())
        .collect()
}

fn set(titles: &[String]) -> BTreeSet<String> {
    titles.iter().cloned().collect()
}

fn delivered(farm: &Farm, count: usize) {
    wait_until("all to be stored", || farm.all_stored().len() >= count);
}

#[test]
fn a_cluster_comes_back_from_a_backup_that_was_made_while_files_passed() {
    let mut farm = Farm::start(&[1, 1]);
    let dir = farm.dir.path().to_owned();
    let (before, waiting) = (titles("before", 30), titles("waiting", 10));
    let (during, after) = (titles("during", 60), titles("after", 10));
    send(&farm, "r", "delivered", &before);
    farm.servers.iter_mut().for_each(Role::kill);
    send(&farm, "r", "accepted", &waiting);

    let ended = back_up_journal(&mut farm, "backup-journal");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("sound"), "{ended:?}");
    assert_eq!(
        names_with(&dir, "journal"),
        ["journal"],
        "no links are left"
    );

    farm.servers.iter_mut().for_each(Role::restart);
    delivered(&farm, 40);
    write(&farm, &during);
    let sender = Running::start(&mut sending(&farm, "r", "delivered", &during));
    for n in [1, 2] {
        let (files, to) = (format!("json_files_{n}"), format!("backup-files-{n}"));
        let ended = run(&mut script(&farm, &["files", &files, &to]), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(sender.end().code, Some(0));
    send(&farm, "r", "delivered", &after);
    assert_eq!(verify(&farm, "r")["clean"], true, "before anything is lost");

    // The disaster, and the restore.
    farm.balancer.kill();
    farm.servers.iter_mut().for_each(Role::kill);
    for lost in ["journal", "json_files_1", "json_files_2"] {
        fs::remove_dir_all(dir.join(lost)).unwrap();
    }
    for (backup, place) in [
        ("backup-journal", "journal"),
        ("backup-files-1", "json_files_1"),
        ("backup-files-2", "json_files_2"),
    ] {
        let status = Command::new("cp")
            .arg("-a")
            .args([dir.join(backup), dir.join(place)])
            .status();
        assert!(status.unwrap().success());
    }
    let adopted = run(bilico(&["queue", "adopt", "journal"]).current_dir(&dir), "");
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    farm.servers.iter_mut().for_each(Role::restart);
    farm.balancer.restart();
    farm.wait_until_up();
    wait_until("what waited to be delivered", || {
        let queue = farm.status().queue;
        queue.ready + queue.delayed + queue.in_flight == 0
    });

    let report = verify(&farm, "r");
    let (missing, double) = (found(&report, "missing"), found(&report, "double"));
    let later = set(&[during, after.clone()].concat());
    assert!(
        missing.is_subset(&later) && missing.is_superset(&set(&after)),
        "only what came after the backup is missing: {missing:?}"
    );
    assert!(
        double.is_subset(&set(&waiting)),
        "only what waited in the backed-up journal can be there twice: {double:?}"
    );
    assert_eq!(found(&report, "differing"), BTreeSet::new());

    // What clients still have is sent again, under receipts of its own.
    let again: Vec<String> = missing.into_iter().collect();
    send(&farm, "again", "delivered", &again);
    let stored = [farm.stored(0), farm.stored(1)];
    for title in later.iter().chain(&before).chain(&waiting) {
        let suffix = format!("_{title}");
        let mut names = stored.iter().flat_map(|files| files.keys());
        assert!(names.any(|name| name.ends_with(&suffix)), "{title}");
    }
}

#[test]
fn a_backup_that_fails_leaves_the_balancer_running_and_nothing_behind() {
    let mut farm = Farm::start(&[1]);
    let dir = farm.dir.path().to_owned();
    fs::create_dir(dir.join("taken")).unwrap();
    let ended = run(&mut script(&farm, &["journal", "journal", "taken"]), "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("taken is there already"), "{ended:?}");
    assert!(
        !dir.join("stop-it").exists(),
        "the balancer was not stopped for it"
    );

    // What cannot be linked fails after the balancer was stopped.
    let running = Running::start(&mut script(&farm, &["journal", "no-journal", "to"]));
    obey(&dir, "stop", || assert_eq!(farm.balancer.stop(), Some(0)));
    obey(&dir, "start", || farm.balancer.restart());
    assert_eq!(running.end().code, Some(1));
    assert!(!dir.join("to").exists());
    send(&farm, "r", "delivered", &titles("x", 1));
}
