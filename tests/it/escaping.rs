//! Text from outside on a terminal: whatever bytes a name, a reason or a file holds, they are
//! escaped.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bilico::text::is_printable;
use serde_json::{Value, json};

use bilico_testkit::{Ended, Farm, Wire, bilico, frame, pretend, put, run};

/// Text that would set a terminal's title, forge a line of ours, reverse the text, and act as a C1
/// control.
const HOSTILE: &str = "a\x1b]0;pwned\x07\nhint: run rm -rf\n\u{202e}gpj\u{9b}31m";

/// The same as it must be shown.
const SHOWN: &str = "a\\u{1b}]0;pwned\\u{7}\\nhint: run rm -rf\\n\\u{202e}gpj\\u{9b}31m";

#[track_caller]
fn is_harmless(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        assert!(
            text.chars().all(|c| c == '\n' || is_printable(c)),
            "{ended:?}"
        );
        assert!(!text.contains("\nhint: run"), "{ended:?}");
    }
}

/// A balancer that refuses everything with this reason.
fn refusing(reason: &'static str) -> String {
    let hello = json!({"request_type": "hello", "role": "balancer"});
    pretend(&hello, move |mut wire| {
        while let Some((header, _)) = wire.message() {
            let answer = match header["request_type"].as_str() {
                Some("put" | "offer") => {
                    json!({"request_type": "refused", "id": header["id"], "code": "too_large",
                        "reason": reason})
                }
                _ => continue,
            };
            wire.say(&answer);
        }
    })
}

/// An admin listener that refuses all with this reason.
fn refusing_operators(reason: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = json!({"error": reason, "hint": reason}).to_string();
            let head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

fn command(dir: &Path, args: &[&str]) -> Ended {
    run(bilico(args).current_dir(dir), "")
}

#[test]
fn a_refusal_from_outside_and_a_name_do_nothing_to_the_terminal_of_send() {
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"\xff\x1b]0;pwned\x07\nerror: forged");
    fs::write(dir.path().join(name), "x").unwrap();
    let balancer = refusing(HOSTILE);
    let mut send = bilico(&["send", "--balancer", &balancer]);
    let ended = run(
        send.arg(name).arg("missing\x1b[2J").current_dir(dir.path()),
        "",
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    is_harmless(&ended);
    let expected =
        format!("error: \\xff\\u{{1b}}]0;pwned\\u{{7}}\\nerror: forged: refused: {SHOWN}\n");
    assert!(ended.stderr.contains(&expected), "{ended:?}");
    assert!(ended.stderr.contains("missing\\u{1b}[2J: "), "{ended:?}");

    fs::write(dir.path().join("plain"), "x").unwrap();
    let ended = command(
        dir.path(),
        &["send", "--json", "--balancer", &balancer, "plain"],
    );
    is_harmless(&ended);
    let line: Value = serde_json::from_str(ended.stdout.trim_end()).unwrap();
    assert_eq!(line["reason"], HOSTILE, "JSON says the same");

    let admin = refusing_operators(HOSTILE);
    let ended = command(dir.path(), &["queue", "show", "1", "--admin", &admin]);
    is_harmless(&ended);
    // Lines of its own stay lines, indented so that they pass for none of ours.
    let shown = SHOWN.replace("\\n", "\n  ");
    assert_eq!(ended.stderr, format!("error: {shown}\nhint: {shown}\n"));
    let ended = run(
        bilico(&["client", "--balancer", &balancer, "--files", "."]).current_dir(dir.path()),
        "ls\nsend plain\nexit\n",
    );
    is_harmless(&ended);
    assert!(
        ended.stdout.contains("pwned\\u{7}") && ended.stderr.contains(SHOWN),
        "{ended:?}"
    );
}

#[test]
fn titles_and_logs_do_nothing_to_the_terminals_of_operators() {
    let farm = Farm::without_servers(&[1]);
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(&put(1, HOSTILE), b"x"));
    wire.frame_of("accepted");
    let dir = farm.dir.path();
    fs::write(
        dir.join("logs/other.log"),
        b"\xff\x1b]0;pwned\x07 \xc2\x9b31m\n",
    )
    .unwrap();
    let claim = json!({
        "path": HOSTILE, "title": HOSTILE, "key": "k", "size": 1, "state": "delivered", "number": 9,
        "hash": blake3::hash(b"x").to_hex().as_str(),
    });
    fs::write(dir.join("receipts"), format!("{claim}\n")).unwrap();
    let admin = farm.balancer.admin.as_ref().unwrap();
    for (args, part) in [
        (&["queue", "show", "1", "--admin", admin][..], "pwned"),
        (&["queue", "ls", "--admin", admin], SHOWN),
        (
            &["queue", "ls", "--json", "--admin", admin],
            "\\u001b]0;pwned",
        ),
        (
            &["logs", "--file", "other"],
            "\\xff\\u{1b}]0;pwned\\u{7} \\u{9b}31m\n",
        ),
        (&["logs", "--file", "other", "--json"], "pwned"),
        (&["verify", "--receipts", "receipts", "json_files_1"], SHOWN),
        (&["status", "--admin", admin], "servers"),
        (&["events", "--admin", admin], "started"),
    ] {
        let ended = command(dir, args);
        is_harmless(&ended);
        assert!(ended.stdout.contains(part), "{args:?}: {ended:?}");
    }
}
