//! A pipe drives the prompt.

use std::process::{Command, Stdio};

use bilico_testkit::{Farm, PROMPT, Running, Terminal, run, sample_files, wait_until};

use super::helpers::{check_stored, client, script};

#[test]
fn a_pipe_drives_the_prompt_without_a_terminal() {
    let farm = Farm::start(&[3, 2, 1]);
    let ended = script(&farm, "FTP\n20\nexit\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("20 accepted, 20 delivered"),
        "{ended:?}"
    );
    assert!(
        !ended.stdout.contains(PROMPT) && !ended.stdout.contains("How many"),
        "{ended:?}"
    );
    assert!(
        !ended.stdout.contains('\x1b'),
        "no control codes: {ended:?}"
    );
    assert_eq!(ended.stderr, "", "no chatter");
    check_stored(&farm, 20);
}

#[test]
fn the_end_of_input_ends_the_prompt() {
    let farm = Farm::start(&[1]);
    for input in ["", "FTP 2\n", "FTP 2", "FTP\n2", "\n\n  \n"] {
        let ended = script(&farm, input);
        assert_eq!(ended.code, Some(0), "{input:?}: {ended:?}");
    }
    check_stored(&farm, 6);
    let ended = script(&farm, "FTP\n");
    assert_ne!(ended.code, Some(0), "the number never came: {ended:?}");
    assert!(ended.stderr.contains("error: "), "{ended:?}");
}

#[test]
fn windows_line_ends_are_line_ends() {
    let farm = Farm::start(&[1]);
    let ended = script(&farm, "FTP\r\n5\r\nsend till-receipt.json\r\nexit\r\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    check_stored(&farm, 6);
}

#[test]
fn a_mistake_in_a_script_sets_the_exit_code_and_the_rest_runs() {
    let farm = Farm::start(&[1]);
    for (count, mistake) in [
        "frobnicate\n",
        "FTP zero\n",
        "FTP\n\n",
        "send no-such-file\n",
    ]
    .iter()
    .enumerate()
    {
        let ended = script(&farm, &format!("{mistake}FTP 2\nexit\n"));
        assert_eq!(ended.code, Some(1), "{mistake:?}: {ended:?}");
        assert!(ended.stderr.contains("error: "), "{mistake:?}: {ended:?}");
        assert!(
            ended.stdout.contains("2 accepted, 2 delivered"),
            "{mistake:?}: {ended:?}"
        );
        check_stored(&farm, 2 * (count + 1));
    }
}

#[test]
fn input_that_is_not_utf8_is_an_unknown_command() {
    let farm = Farm::start(&[1]);
    let mut child = client(&farm.balancer.address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"\xff\xfe\0\x1b[2J\nFTP 1\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("unknown command") && !stderr.contains('\x1b'),
        "escaped: {stderr:?}"
    );
    check_stored(&farm, 1);
}

#[test]
fn a_closed_output_ends_the_prompt_without_a_panic() {
    let farm = Farm::start(&[1]);
    let script = r#"printf 'ls\nls\nFTP 3\nstatus\nhelp\nexit\n' | "$@" | head -1"#;
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_bilico"),
        "client",
        "--files",
        sample_files(),
    ]);
    let ended = run(shell.args(["--balancer", &farm.balancer.address]), "");
    assert!(
        !ended.stderr.contains("panicked") && ended.stdout.lines().count() == 1,
        "{ended:?}"
    );

    let mut shell = Command::new("sh");
    let script = r#""$@" >&- 2>&-; echo $?"#;
    shell.args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_bilico"),
        "client",
        "--files",
        sample_files(),
    ]);
    let ended = run(
        shell.args(["--balancer", &farm.balancer.address]),
        "help\nfrobnicate\nFTP 1\n",
    );
    assert!(!ended.stdout.contains("101"), "no panic: {ended:?}");
}

#[test]
fn a_timeout_is_reported_and_has_its_exit_code() {
    let farm = Farm::without_servers(&[2, 1]);
    let mut command = client(&farm.balancer.address);
    let ended = run(command.args(["--timeout", "300ms"]), "FTP 3\n");
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(
        ended.stderr.contains("error: no server is available") && ended.stderr.contains("3 files"),
        "{ended:?}"
    );
    assert!(
        !ended.stderr.contains("accepted 3"),
        "no progress off a terminal: {ended:?}"
    );
    let mut terminal = Terminal::start(
        farm.dir.path(),
        &[
            "client",
            "--balancer",
            &farm.balancer.address,
            "--files",
            sample_files(),
            "--timeout",
            "300ms",
        ],
    );
    terminal.expect(PROMPT);
    terminal.enter("FTP 3");
    terminal.expect("error: no server is available");
    terminal.expect(PROMPT);
}

#[test]
fn a_signal_ends_a_script_that_waits() {
    let farm = Farm::without_servers(&[2, 1]);
    for name in ["INT", "TERM"] {
        let mut running = Running::start(&mut client(&farm.balancer.address));
        let before = farm.status().accepted;
        running.write("FTP 2\nstatus\n");
        wait_until("both to be accepted", || {
            farm.status().accepted == before + 2
        });
        running.signal(name);
        let ended = running.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(
            !ended.stdout.contains("since the start"),
            "nothing more is carried out: {ended:?}"
        );
    }
}
