//! Logs that grow and rotate while they are read.

use std::fs;

use bilico_testkit::{Farm, Running, bilico, run, wait_until};
use serde_json::Value;

use super::helpers::{Logs, line};

#[test]
fn following_goes_across_rotations_new_roles_and_emptied_files() {
    let logs = Logs::new();
    let early: Vec<String> = (0..30)
        .map(|second| line(second, &format!("INFO  x early{second:02}")))
        .collect();
    logs.write(
        "a.log",
        &early.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let follower = Running::start(&mut logs.command(&["-f"]));
    let shown = follower.wait_for_output("early29");
    assert_eq!(
        shown.lines().count(),
        10,
        "it begins with the last ones: {shown}"
    );
    assert!(shown.starts_with(&early[20]), "{shown}");

    logs.append("a.log", "2026-03-01T10:01:00.000Z INFO  x ha");
    logs.append("a.log", "lf\n");
    follower.wait_for_output("half\n");

    // Three rotations between two looks, most likely; whichever way it falls, each line comes once.
    for round in 0..3 {
        logs.append(
            "a.log",
            &(line(100 + round, &format!("INFO  x before{round}")) + "\n"),
        );
        logs.rotate("a.log", 4);
        logs.append(
            "a.log",
            &(line(110 + round, &format!("INFO  x after{round}")) + "\n"),
        );
    }
    follower.wait_for_output("after2\n");

    logs.append("b.log", &(line(200, "INFO  x newcomer") + "\n"));
    follower.wait_for_output("newcomer\n");

    fs::remove_file(logs.path().join("a.log")).unwrap();
    logs.append("a.log", &(line(300, "INFO  x reborn") + "\n"));
    follower.wait_for_output("reborn\n");

    // Emptied, and noticed, before new lines are written.
    logs.write_bytes("b.log", b"");
    follower.wait_for_error("b.log was truncated");
    logs.append("b.log", &(line(400, "INFO  x emptied") + "\n"));
    follower.wait_for_output("emptied\n");

    follower.signal("TERM");
    let ended = follower.wait();
    assert_ne!(ended.code, Some(0), "ended from outside");
    for mark in [
        "half", "before0", "after0", "before1", "after1", "before2", "after2", "newcomer",
        "reborn", "emptied",
    ] {
        assert_eq!(
            ended.stdout.matches(&format!(" {mark}\n")).count(),
            1,
            "{mark} in {}",
            ended.stdout
        );
    }
    assert!(
        !ended.stdout.contains("early00"),
        "nothing is read twice: {}",
        ended.stdout
    );
}

#[test]
fn a_writer_that_rotates_all_the_time_is_followed_line_by_line() {
    let logs = Logs::new();
    logs.append("a.log", &(line(0, "INFO  n begin") + "\n"));
    let follower = Running::start(&mut logs.command(&["-f"]));
    follower.wait_for_output("begin\n");
    // Kept files are not removed, so that a follower that is held up by the machine loses nothing.
    for n in 0..2000 {
        logs.append("a.log", &format!("{}{n}\n", line(1, "INFO  n ")));
        if n % 50 == 49 {
            logs.rotate("a.log", 100);
        }
    }
    follower.wait_for_output(" 1999\n");
    follower.signal("TERM");
    let ended = follower.wait();
    let numbers: Vec<u32> = ended
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(0..2000), "{numbers:?}");
}

#[test]
fn a_file_can_be_followed_through_logs_that_rotate() {
    let farm = Farm::with(
        &[2, 1],
        &[],
        &["--log-max-size", "2KiB", "--log-keep", "100"],
    );
    for n in 0..40 {
        fs::write(farm.dir.path().join(format!("f{n}")), "x").unwrap();
    }
    let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    let sent = farm.send(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(sent.status.success(), "{sent:?}");
    wait_until("the log to be rotated", || {
        farm.dir.path().join("logs/balancer.log.2").exists()
    });
    let show = |args: &[&str]| {
        let mut command = bilico(&["logs", "--since", "1h"]);
        command.args(args).current_dir(farm.dir.path());
        let ended = run(&mut command, "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    let way = |number: &str| -> Vec<String> {
        let events = ["received", "forwarded", "stored", "delivered"];
        let shown = show(&["--number", number]);
        let found = shown.lines().filter_map(|line| {
            events
                .into_iter()
                .find(|event| line.contains(&format!(" {event} ")))
        });
        found.map(str::to_owned).collect()
    };
    wait_until(
        "the log to tell the way of the first and of the last file",
        || {
            ["1", "40"].iter().all(|number| {
                let mut way = way(number);
                way.sort();
                way == ["delivered", "forwarded", "received", "stored"]
            })
        },
    );
    let first = &farm.servers[0].address;
    let of_server: Vec<Value> = show(&["--server", first, "--file", "balancer", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        !of_server.is_empty() && of_server.iter().all(|line| line["server"] == **first),
        "{of_server:?}"
    );
}
