//! Logs that are read once.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use bilico_testkit::{bilico, run};
use serde_json::{Value, json};

use super::helpers::{Logs, line};

/// The same line in JSON.
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
fn lines_of_all_files_come_in_the_order_of_time() {
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
fn filters_work_on_both_formats_and_combine() {
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
fn damaged_lines_are_shown_and_do_no_harm() {
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
fn missing_files_are_named() {
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
fn a_closed_output_ends_it_without_an_error() {
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
        bilico_testkit::program().display()
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(logs.path())
        .env(bilico_testkit::ACT_AS_BILICO, "1");
    let ended = run(&mut command, "");
    assert_eq!(
        (ended.stdout.lines().count(), ended.stderr.as_str()),
        (1, ""),
        "{ended:?}"
    );
}
