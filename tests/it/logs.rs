//! `bilico logs`: the rotated files of all roles as one log, filtered and followed. And what the
//! command line says of itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Ended, Farm, Running, bilico, run, wait_until};

/// A directory of logs.
struct Logs(TempDir);

impl Logs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, lines: &[&str]) {
        self.write_bytes(name, (lines.join("\n") + "\n").as_bytes());
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path().join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Moves the files of a log on by one number, as its writer does.
    fn rotate(&self, name: &str, keep: usize) {
        let path = |n: usize| {
            self.path().join(if n == 0 {
                name.to_owned()
            } else {
                format!("{name}.{n}")
            })
        };
        let _ = fs::remove_file(path(keep));
        for n in (0..keep).rev() {
            let _ = fs::rename(path(n), path(n + 1));
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = bilico(&["logs", "--dir", self.path().to_str().unwrap()]);
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args), "")
    }

    /// The lines that it shows, which are all it has to say.
    #[track_caller]
    fn lines(&self, args: &[&str]) -> Vec<String> {
        let ended = self.run(args);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{args:?}: {}",
            ended.stdout
        );
        ended.stdout.lines().map(str::to_owned).collect()
    }

    /// The last word of each line that it shows.
    #[track_caller]
    fn words(&self, args: &[&str]) -> Vec<String> {
        let lines = self.lines(args);
        lines
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect()
    }
}

/// A line of the first minutes of an hour of a day in the past.
fn line(second: u32, rest: &str) -> String {
    format!(
        "2026-03-01T10:{:02}:{:02}.000Z {rest}",
        second / 60,
        second % 60
    )
}

/// The same as JSON.
fn json_line(second: u32, level: &str, mut fields: Value) -> String {
    fields["time"] = json!(format!(
        "2026-03-01T10:{:02}:{:02}.000Z",
        second / 60,
        second % 60
    ));
    fields["level"] = json!(level);
    fields.to_string()
}

/// Two roles over three files, one of them in JSON, with a panic, noise and half a line in them.
fn mixed() -> Logs {
    let logs = Logs::new();
    logs.write(
        "balancer.log.2",
        &[
            &line(0, "INFO  listening a"),
            &line(4, "INFO  received number=1 title=x"),
        ],
    );
    logs.write(
        "balancer.log.1",
        &[&line(
            6,
            "INFO  forwarded number=1 title=x server=127.0.0.1:5001 c=1 d=c",
        )],
    );
    logs.append(
        "balancer.log",
        &(line(10, "WARN  server=is down server=127.0.0.1:5002") + "\n"),
    );
    logs.append(
        "balancer.log",
        "thread 'x' panicked at y:\n  number=7 because\n",
    );
    logs.append(
        "balancer.log",
        &(line(14, "ERROR number number=17 title=\"a b\" title2=i") + "\n"),
    );
    logs.append("balancer.log", "2026-03-01T10:00:1");
    logs.write(
        "server-5001.log",
        &[
            &json_line(2, "INFO", json!({"message": "started"})),
            &json_line(
                8,
                "INFO",
                json!({"message": "stored", "number": 1, "title": "x"}),
            ),
            &json_line(12, "WARN", json!({"message": "slow", "number": 17})),
        ],
    );
    logs.write("notes.txt", &["no log"]);
    logs.write("balancer.log.old", &["no rotated log"]);
    logs
}

#[test]
fn lines_of_all_files_come_in_the_order_of_time_as_they_stand() {
    let logs = mixed();
    let lines = logs.lines(&[]);
    let read = |name: &str| fs::read_to_string(logs.path().join(name)).unwrap();
    let names = [
        "balancer.log.2",
        "balancer.log.1",
        "balancer.log",
        "server-5001.log",
    ];
    let all: BTreeSet<String> = names
        .iter()
        .flat_map(|name| read(name).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines.iter().cloned().collect::<BTreeSet<_>>(),
        all,
        "each line, and nothing else"
    );
    assert_eq!(lines.len(), all.len());
    let order: Vec<&str> = lines
        .iter()
        .map(|line| {
            let marks = [
                "listening",
                "started",
                "received",
                "forwarded",
                "stored",
                "is down",
                "panicked",
                "because",
            ];
            let marks = [&marks[..], &["slow", "number=17", "10:00:1"]].concat();
            marks
                .into_iter()
                .find(|mark| line.contains(mark) && (line.len() > 20 || *mark != "number=17"))
                .unwrap()
        })
        .collect();
    let expected = [
        "listening",
        "started",
        "received",
        "forwarded",
        "stored",
        "is down",
        "panicked",
        "because",
        "slow",
    ];
    assert_eq!(order, [&expected[..], &["number=17", "10:00:1"]].concat());
}

#[test]
fn filters_take_both_formats_and_hold_together() {
    let logs = mixed();
    assert_eq!(logs.lines(&["--number", "1"]).len(), 3);
    assert_eq!(
        logs.lines(&["--number", "17"]).len(),
        3,
        "and half a line behind it"
    );
    assert_eq!(
        logs.lines(&["--number", "7"]),
        Vec::<String>::new(),
        "no number by its digits, none in a panic"
    );
    assert_eq!(
        logs.lines(&["--level", "warn"]).len(),
        6,
        "what belongs to a line goes with it"
    );
    assert_eq!(logs.lines(&["--level", "ERROR"]).len(), 2);
    for server in ["127.0.0.1:5002", ":5002", "5002"] {
        let lines = logs.lines(&["--server", server]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].contains("is down") && lines[2].ends_with("because"),
            "{lines:?}"
        );
    }
    let both = logs.lines(&["--server", "5001"]);
    assert_eq!(
        both.len(),
        4,
        "the balancer's line about it, and its own three: {both:?}"
    );
    assert_eq!(logs.lines(&["--server", "5001", "--number", "17"]).len(), 1);
    assert_eq!(logs.lines(&["--file", "server-5001"]).len(), 3);
    assert_eq!(
        logs.lines(&["--file", "server-5001", "--file", "balancer"])
            .len(),
        logs.lines(&[]).len()
    );
    assert_eq!(logs.lines(&["--since", "2026-03-01T10:00:08Z"]).len(), 7);
    assert_eq!(logs.lines(&["--since", "1m"]), Vec::<String>::new());
    let last = logs.lines(&["-n", "2", "--level", "info", "--file", "server-5001"]);
    assert!(last.len() == 2 && last[1].contains("slow"), "{last:?}");
    assert_eq!(logs.lines(&["-n", "0"]), Vec::<String>::new());
}

#[test]
fn json_comes_out_of_both_formats() {
    let logs = mixed();
    let objects: Vec<Value> = logs
        .lines(&["--json"])
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 11);
    let forwarded = objects
        .iter()
        .find(|object| object["message"] == "forwarded")
        .unwrap();
    let expected = json!({
        "time": "2026-03-01T10:00:06.000Z", "level": "INFO", "message": "forwarded",
        "number": 1, "title": "x", "server": "127.0.0.1:5001", "c": 1, "d": "c",
    });
    assert_eq!(forwarded, &expected);
    let stored = objects
        .iter()
        .find(|object| object["message"] == "stored")
        .unwrap();
    assert_eq!(
        (&stored["number"], &stored["level"]),
        (&json!(1), &json!("INFO"))
    );
    let damaged: Vec<&Value> = objects
        .iter()
        .filter(|object| object["level"].is_null())
        .collect();
    assert_eq!(
        damaged[0],
        &json!({"file": "balancer", "text": "thread 'x' panicked at y:"})
    );
    assert_eq!(damaged.len(), 3);
}

#[test]
fn what_damaged_files_hold_is_shown_and_harms_nothing() {
    let logs = Logs::new();
    logs.write_bytes(
        "a.log.1",
        b"\xff\xfe\0 no text\n\n\n2026-03-01T10:00:00.000Z INFO  x first\nno end",
    );
    let long = "x".repeat(3 << 20);
    logs.write(
        "a.log",
        &[
            &line(1, &format!("INFO  {long} long")),
            &line(2, "INFO  x last"),
        ],
    );
    fs::create_dir(logs.path().join("b.log")).unwrap();
    let ended = logs.run(&[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(
        ended.stdout.contains(&format!(" {long} long\n")),
        "a long line stays one"
    );
    assert!(
        ended.stdout.contains("no end\n2026-03-01T10:00:01"),
        "half a line gets an end"
    );
    assert_eq!(logs.words(&["--level", "info"]).last().unwrap(), "last");
    logs.write("empty.log", &[]);
    logs.write_bytes("empty.log", b"");
    assert_eq!(logs.lines(&["--file", "empty"]), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_named() {
    let logs = mixed();
    for (args, parts) in [
        (
            &["--file", "server-5009"][..],
            &["has no log named \"server-5009\"", "server-5001"][..],
        ),
        (
            &["--dir", "/nowhere"],
            &["error: cannot read the directory /nowhere", "hint: "],
        ),
    ] {
        let mut command = bilico(&["logs"]);
        command.args(args);
        let ended = if args[0] == "--dir" {
            run(&mut command, "")
        } else {
            logs.run(args)
        };
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            parts.iter().all(|part| ended.stderr.contains(part)),
            "{ended:?}"
        );
    }
    let empty = Logs::new().run(&[]);
    assert!(
        empty.code == Some(1) && empty.stderr.contains("has no log files"),
        "{empty:?}"
    );
    for args in [
        &["--since", "yesterday"][..],
        &["--level", "loud"],
        &["--number", "-1"],
        &["-n", "99999999"],
    ] {
        let ended = logs.run(args);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {ended:?}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let logs = Logs::new();
    let lines: Vec<String> = (0..20_000)
        .map(|second| line(second % 3600, "INFO  again and again"))
        .collect();
    logs.write(
        "a.log",
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let script = format!(
        "{} logs --dir . | head -n 1",
        crate::harness::program().display()
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(logs.path())
        .env(crate::harness::ACT_AS_BILICO, "1");
    let ended = run(&mut command, "");
    assert_eq!(
        (ended.stdout.lines().count(), ended.stderr.as_str()),
        (1, ""),
        "{ended:?}"
    );
}

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

    // Emptied, and seen to be, before something new is written.
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
fn the_way_of_a_file_through_real_logs_that_rotate() {
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
    assert!(
        farm.dir.path().join("logs/balancer.log.2").exists(),
        "the log was rotated"
    );
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

/// The subcommands that a help text lists.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = run(bilico(path).arg("--help"), "").stdout;
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let names = list
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_has_completions_and_a_manual_page() {
    let commands = subcommands(&[]);
    assert!(
        ["demo", "queue", "logs", "man", "completions"]
            .iter()
            .all(|name| commands.iter().any(|c| c == name))
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&mut bilico(&["completions", shell]), "");
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{shell}"
        );
        for command in &commands {
            assert!(
                ended.stdout.contains(command.as_str()),
                "{command} for {shell}"
            );
        }
    }
    let script = run(&mut bilico(&["completions", "bash"]), "").stdout;
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(format!(
        "{script}\nCOMP_WORDS=(bilico que); COMP_CWORD=1; _bilico bilico que bilico; echo \"${{COMPREPLY[@]}}\""
    ));
    assert_eq!(
        run(&mut bash, "").stdout.trim(),
        "queue",
        "bash completes by it"
    );

    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let ended = run(&mut bilico(&["man", "--dir", pages.to_str().unwrap()]), "");
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    let page = |name: &str| fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
    assert!(page("bilico").contains(".TH"), "a page of man");
    for command in &commands {
        assert!(
            page(&format!("bilico-{command}")).contains("SYNOPSIS"),
            "{command}"
        );
        for below in subcommands(&[command]) {
            assert!(
                page(&format!("bilico-{command}-{below}")).contains("SYNOPSIS"),
                "{command} {below}"
            );
        }
        let printed = run(&mut bilico(&["man", command]), "");
        assert!(
            printed.code == Some(0) && printed.stdout.contains("SYNOPSIS"),
            "{command}: {printed:?}"
        );
    }
    let unknown = run(&mut bilico(&["man", "frobnicate"]), "");
    assert!(
        unknown.code == Some(2) && unknown.stderr.contains("hint: "),
        "{unknown:?}"
    );
    assert_eq!(run(&mut bilico(&["completions", "tcsh"]), "").code, Some(2));
}
