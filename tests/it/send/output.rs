//! What it prints, and flags.

use std::fs;
use std::process::Command;

use bilico_testkit::{Farm, Terminal, bilico, run, wait_until};

use super::helpers::{command, hash, make_pipe, objects, send, without_keys};

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let farm = Farm::start(&[1]);
    farm.write("a \"quoted\".txt", "abc");
    farm.write("empty", "");
    make_pipe(&farm, "pipe");
    let args = ["a \"quoted\".txt", "pipe", "empty", "--json"];
    let ended = send(&farm, &args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let server = &farm.servers[0].address;
    let delivered = |path: &str, content: &str, number: u64| {
        serde_json::json!({
            "path": path, "title": path, "size": content.len(), "bytes": content.len(), "hash": hash(content),
            "crc32c": format!("{:08x}", crc32c::crc32c(content.as_bytes())), "state": "delivered", "number": number, "request_number": number, "server": server, "confirmed": true,
        })
    };
    let unreadable = serde_json::json!({
        "path": "pipe", "title": "pipe", "size": 0, "bytes": 0, "state": "unreadable", "reason": "not a regular file",
    });
    let expected = [
        delivered("a \"quoted\".txt", "abc", 1),
        unreadable,
        delivered("empty", "", 2),
    ];
    assert_eq!(without_keys(&ended.stdout), expected);
}

#[test]
fn json_reports_each_of_three_thousand_files() {
    let farm = Farm::start(&[3, 2, 1]);
    for file in 0..3000 {
        farm.write(format!("many/{file}"), file.to_string());
    }
    let ended = send(&farm, &["-r", "many", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let objects = objects(&ended.stdout);
    assert_eq!(objects.len(), 3000);
    for object in &objects {
        let title = object["path"]
            .as_str()
            .unwrap()
            .strip_prefix("many/")
            .unwrap();
        let place = farm
            .servers
            .iter()
            .position(|server| object["server"] == *server.address)
            .unwrap();
        let path = farm
            .server_dir(place)
            .join(format!("{}_{title}", object["request_number"]));
        assert_eq!(fs::read_to_string(path).unwrap(), title, "{object}");
    }
}

#[test]
fn quiet_prints_only_errors() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    make_pipe(&farm, "pipe");
    let ended = send(&farm, &["-q", "a.txt"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    let ended = send(&farm, &["-q", "a.txt", "pipe"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr, "error: pipe: not a regular file\n");
    let ended = send(&farm, &["-q", "--json", "a.txt"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(2), ""),
        "{ended:?}"
    );
}

#[test]
fn the_environment_names_the_balancer_and_the_flag_beats_it() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    let mut by_environment = bilico(&["send", "a.txt"]);
    by_environment
        .current_dir(farm.dir.path())
        .env("BILICO_BALANCER", &farm.balancer.address);
    assert_eq!(run(&mut by_environment, "").code, Some(0));
    let ended = run(
        command(&farm, &["a.txt"]).env("BILICO_BALANCER", "127.0.0.1:1"),
        "",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(farm.status().delivered, 2);
}

#[test]
fn invalid_flags_are_exit_code_2_and_named_with_their_value() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    for (args, named) in [
        (&["a.txt", "--balancer", "nonsense"][..], "nonsense"),
        (
            &["a.txt", "--balancer", "127.0.0.1:70000"],
            "127.0.0.1:70000",
        ),
        (&["a.txt", "--timeout", "0"], "'0'"),
        (&["a.txt", "--timeout", "soon"], "soon"),
        (&["a.txt", "--timeout", "-1s"], "-1"),
        (&["a.txt", "--wait", "never"], "never"),
        (&["a.txt", "--retry", "soon"], "soon"),
        (&["a.txt", "--key-prefix", ""], "0 bytes"),
        (&["a.txt", "--key-prefix", &"p".repeat(129)], "129 bytes"),
        (
            &["a.txt", "--key-prefix", "p", "./a.txt"],
            "a.txt and ./a.txt",
        ),
        (&["a.txt", "--frobnicate"], "--frobnicate"),
        (&[], "PATHS"),
    ] {
        let mut command = bilico(&["send"]);
        let ended = run(command.args(args).current_dir(farm.dir.path()), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(named),
            "{args:?}: {ended:?}"
        );
        assert_eq!(ended.stdout, "");
    }
    let mut command = bilico(&["send", "a.txt"]);
    let ended = run(
        command
            .env("BILICO_BALANCER", "nonsense")
            .current_dir(farm.dir.path()),
        "",
    );
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("nonsense"), "{ended:?}");
}

#[test]
fn progress_is_on_a_terminals_standard_error_only() {
    let mut farm = Farm::without_servers(&[1]);
    farm.write("a.txt", "a");
    let args = [
        "send",
        "--balancer",
        &farm.balancer.address,
        "a.txt",
        "a.txt",
        "--json",
    ];
    let mut terminal = Terminal::run(farm.dir.path(), r#"exec "$@" > out"#, &args);
    terminal.expect("accepted 2");
    let quiet = ["send", "--balancer", &farm.balancer.address, "a.txt", "-q"];
    let quiet = Terminal::run(farm.dir.path(), r#"exec "$@""#, &quiet);
    wait_until("the quiet one's file to be accepted", || {
        farm.status().accepted == 3
    });
    farm.servers[0].restart();
    assert_eq!(terminal.end().0, Some(0));
    let out = fs::read_to_string(farm.dir.path().join("out")).unwrap();
    assert_eq!(objects(&out).len(), 2);
    assert_eq!(
        quiet.end(),
        (Some(0), String::new()),
        "quiet on a terminal, too"
    );
}

#[test]
fn a_closed_output_ends_it_without_a_panic() {
    let farm = Farm::start(&[1]);
    for file in 0..300 {
        farm.write(format!("many/{file}"), "x");
    }
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#""$@" | head -1"#,
        "sh",
        env!("CARGO_BIN_EXE_bilico"),
        "send",
        "-r",
        "many",
        "--json",
    ]);
    let ended = run(
        shell
            .args(["--balancer", &farm.balancer.address])
            .current_dir(farm.dir.path()),
        "",
    );
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_eq!(objects(&ended.stdout).len(), 1);
}
