//! Output that cannot be written: commands report it.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use bilico_testkit::{Farm, bilico};

const FULL: &str =
    "error: cannot write to standard output: No space left on device (os error 28)\n";

/// Every command that prints and ends by itself, for a farm with an admin listener.
fn commands(farm: &Farm) -> Vec<Command> {
    let (balancer, admin) = (
        &*farm.balancer.address,
        farm.balancer.admin.as_deref().unwrap(),
    );
    let commands: &[&[&str]] = &[
        &["--help"],
        &["-h"],
        &["--version"],
        &["help", "send"],
        &["send", "--help"],
        &["completions", "bash"],
        &["man"],
        &["man", "queue", "ls"],
        &["config", "show", "balancer"],
        &["config", "show", "--json"],
        &["send", "--balancer", balancer, "a"],
        &["send", "--balancer", balancer, "a", "--json"],
        &["queue", "ls", "--admin", admin],
        &["queue", "dead", "--admin", admin],
        &["queue", "show", "1", "--admin", admin],
        &["queue", "replay", "--all", "--admin", admin],
        &["status", "--admin", admin],
        &["status", "--admin", admin, "--json"],
        &["weight", "1", "2", "--admin", admin],
        &["drain", "1", "--admin", admin],
        &["undrain", "1", "--admin", admin],
        &["events", "--admin", admin],
        &["logs"],
        &["logs", "--json"],
        &["verify", "--receipts", "receipts", "json_files_1"],
        &["verify", "--receipts", "receipts", "json_files_1", "--json"],
        &["bench", "--balancer", balancer, "--files", "1"],
        &[
            "balancer",
            "--server",
            "127.0.0.1:1=1",
            "--listen",
            "127.0.0.1:0",
            "--journal",
            "other",
        ],
        &["server", "--dir", "other_files", "--listen", "127.0.0.1:0"],
    ];
    let command = |args: &&[&str]| {
        let mut command = bilico(args);
        command.current_dir(farm.dir.path());
        command
    };
    commands.iter().map(command).collect()
}

fn farm() -> Farm {
    let farm = Farm::with(&[1], &[], &["--admin", "127.0.0.1:0"]);
    std::fs::write(farm.dir.path().join("a"), "a").unwrap();
    let sent = farm.send(&["a", "--receipts", "receipts"]);
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    farm
}

/// On a full disk, `--help` once ended with exit code 0, and other commands with 1 and no message.
#[test]
fn output_that_cannot_be_written_is_an_error_that_says_so() {
    let farm = farm();
    let mut wrong = Vec::new();
    for mut command in commands(&farm) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let Output { status, stderr, .. } =
            command.stdin(Stdio::null()).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        if status.code() != Some(1) || !stderr.ends_with(FULL) {
            wrong.push(format!("{command:?}: {status}, {stderr:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reader_that_has_gone_has_seen_enough() {
    let farm = farm();
    for mut command in commands(&farm) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let Output { status, stderr, .. } = command
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(
            !stderr.contains("error") && !stderr.contains("panicked"),
            "{command:?}: {stderr}"
        );
        assert!(
            matches!(status.code(), Some(0 | 1)),
            "{command:?}: {status}"
        );
    }
}

/// A note that cannot be written once ended the process in a panic.
#[test]
fn standard_error_that_cannot_be_written_harms_nothing() {
    let farm = farm();
    let receipts = farm.dir.path().join("receipts");
    let torn = [&*std::fs::read(&receipts).unwrap(), br#"{"path":"b"#].concat();
    std::fs::write(&receipts, torn).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = bilico(&["verify", "--receipts", "receipts", "json_files_1"]);
    let ended = command
        .current_dir(farm.dir.path())
        .stderr(full)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
