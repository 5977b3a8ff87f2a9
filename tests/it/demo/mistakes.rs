//! Starts that fail: each says why, and leaves nothing running.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bilico_testkit::{DEMO_ON_FREE_PORTS, Running, bilico, processes_in, run, sample_files};

use super::helpers::{Scratch, demo, script, started};

const NOTHING: [&str; 0] = [];

/// What a demo has left in its directory.
fn left(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_running() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let taken = format!("127.0.0.1:{port}");
    let server = format!("{taken}=2");
    for args in [
        [
            "--listen",
            &taken,
            "--server",
            "127.0.0.1:0=3",
            "--server",
            "127.0.0.1:0=2",
        ],
        [
            "--listen",
            "127.0.0.1:0",
            "--server",
            "127.0.0.1:0=3",
            "--server",
            &server,
        ],
    ] {
        let scratch = Scratch::new();
        let mut command = bilico(&["demo", "--files", sample_files()]);
        let started = Instant::now();
        let ended = run(command.args(args).current_dir(scratch.path()), "FTP 3\n");
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "the error is not held back: {:?}",
            started.elapsed()
        );
        scratch.check_nothing_runs();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .starts_with(&format!("error: port {port} is in use")),
            "{ended:?}"
        );
        let flag = if args[1] == taken {
            "--listen"
        } else {
            "--server"
        };
        assert!(
            ended.stderr.contains("\nhint: ") && ended.stderr.contains(flag),
            "{ended:?}"
        );
        assert_eq!(ended.stdout, "", "it does not claim to run");
        assert_eq!(left(&scratch), NOTHING);
    }
}

#[test]
fn a_folder_without_files_is_refused_and_nothing_is_left_running() {
    for folder in ["empty", "missing"] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("empty")).unwrap();
        let mut command = bilico(&DEMO_ON_FREE_PORTS);
        let ended = run(
            command
                .args(["--files", folder])
                .current_dir(scratch.path()),
            "FTP 3\n",
        );
        scratch.check_nothing_runs();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(folder),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("\nhint: ") && ended.stderr.contains("--files"),
            "{ended:?}"
        );
        assert_eq!(ended.stdout, "", "nothing is started before");
        assert_eq!(left(&scratch), ["empty"]);
    }
}

#[test]
fn invalid_flags_are_named_and_nothing_is_left_running() {
    for (flags, named) in [
        (&["--work-delay", "soon"][..], "soon"),
        (&["--overload-margin", "nonsense"], "nonsense"),
        (&["--server", "127.0.0.1:5001=x"], "\"x\""),
        (
            &[
                "--server",
                "127.0.0.1:5001=1",
                "--server",
                "127.0.0.1:5001=2",
            ],
            "127.0.0.1:5001",
        ),
        (&["--log-level", "loud"], "loud"),
        (&["--timeout", "0"], "'0'"),
    ] {
        let scratch = Scratch::new();
        let ended = run(demo(&scratch).args(flags), "");
        scratch.check_nothing_runs();
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(named),
            "{flags:?}: {ended:?}"
        );
    }
}

#[test]
fn a_second_demo_in_the_same_directory_is_refused_and_the_first_goes_on() {
    let scratch = Scratch::new();
    let mut first = started(&scratch);
    let mut running = processes_in(scratch.path());
    let second = script(&scratch, "FTP 1\n");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.starts_with("error: ")
            && second.stderr.contains("another server uses this directory"),
        "{second:?}"
    );
    let mut still_running = processes_in(scratch.path());
    running.sort_unstable();
    still_running.sort_unstable();
    assert_eq!(still_running, running);
    first.write("FTP 2\n");
    let ended = first.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scratch.all_stored().len(), 3);
}

/// The role names its own flag in the hint, and the demo has another one for the same thing. It used
/// to mend the sentence about addresses, word by word, and missed the one about directories.
#[test]
fn a_hint_from_a_role_names_a_flag_that_the_demo_has() {
    let scratch = Scratch::new();
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "none",
        "--server",
        "127.0.0.1:1=1",
    ];
    let balancer = Running::start(bilico(&args).current_dir(scratch.path()));
    balancer.wait_for_output("listening on");
    let demo = script(&scratch, "");
    assert_eq!(demo.code, Some(1), "{demo:?}");
    assert!(
        demo.stderr.contains("another balancer") && demo.stderr.contains("pass --dir "),
        "{demo:?}"
    );
    assert!(!demo.stderr.contains("--journal"), "{demo:?}");
    // What the other balancer has written stays, and nothing comes beside it.
    assert_eq!(left(&scratch), ["journal", "logs"]);
}

/// The servers have started, and made their directories, when the balancer cannot.
#[test]
fn a_start_that_fails_late_leaves_nothing() {
    for is_secure in [false, true] {
        let scratch = Scratch::new();
        let dir = scratch.path().join("new/place");
        fs::create_dir(scratch.path().join("old")).unwrap();
        let mut command = demo(&scratch);
        command
            .arg("--dir")
            .arg(&dir)
            .args(["--log-dir", "old/logs"]);
        // It is the balancer's, which refuses it.
        command.env("BILICO_QUEUE_FILES", "nonsense");
        if is_secure {
            command.arg("--secure");
        }
        let ended = run(&mut command, "");
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
        scratch.check_nothing_runs();
        assert_eq!(left(&scratch), ["old"], "{ended:?}");
        assert_eq!(fs::read_dir(scratch.path().join("old")).unwrap().count(), 0);
    }
}
