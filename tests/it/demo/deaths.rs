//! Roles that die while it runs.

use std::process::Command;

use bilico_testkit::{PROMPT, Running, signal, stored, wait_for};

use super::helpers::{Scratch, at_a_terminal, demo, pids, started};

/// The command with which a notice tells to start a role again.
fn command_to_restart(notices: &str) -> String {
    notices
        .split_once("start it again with:\n")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_killed_server_is_reported_and_can_be_started_again() {
    let scratch = Scratch::new();
    let mut demo = started(&scratch);
    let victim = pids(&demo.wait_for_output("Each is a process"))[0];
    let others = || {
        [2, 3]
            .map(|place| scratch.stored(place).len())
            .iter()
            .sum::<usize>()
    };
    let (first, before) = (scratch.stored(1).len(), others());
    signal(victim, "KILL");
    let notice = demo.wait_for_error("start it again with:\n  ");
    assert!(
        notice.contains(&format!("pid {victim}")) && notice.contains("signal 9"),
        "{notice}"
    );
    demo.write("FTP 12\n");
    demo.wait_for_output("12 accepted, 12 delivered");
    assert_eq!((scratch.stored(1).len(), others()), (first, before + 12));

    // As a person would: the line is copied into another terminal in the same directory.
    let restart = demo.wait_for_error("json_files_1");
    let mut again = Command::new("sh");
    let again = Running::start(
        again
            .args(["-c", &command_to_restart(&restart)])
            .current_dir(scratch.path()),
    );
    again.wait_for_output("listening on ");
    let used = || {
        demo.write("FTP 6\n");
        (scratch.stored(1).len() > first).then_some(())
    };
    wait_for("the server to be used again", used);
    again.signal("TERM");
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "all files were delivered: {ended:?}");
}

#[test]
fn a_killed_balancer_is_reported_and_sending_fails() {
    let scratch = Scratch::new();
    let mut demo = started(&scratch);
    let balancer = pids(&demo.wait_for_output("Each is a process"))[3];
    signal(balancer, "KILL");
    let notice = demo.wait_for_error("start it again with:\n  ");
    assert!(
        notice.contains("balancer") && notice.contains("signal 9"),
        "{notice}"
    );
    demo.write("FTP 2\n");
    let ended = demo.end();
    scratch.check_nothing_runs();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("error: cannot reach the balancer"),
        "{ended:?}"
    );
}

/// A person kills a server from another terminal and looks back at the prompt: a notice that waits
/// for the next line says nothing.
#[test]
fn a_killed_server_is_reported_at_once_and_typed_text_stays() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    let victim = pids(&terminal.expect(PROMPT))[0];
    terminal.press("FTP 1");
    terminal.expect("FTP 1");
    signal(victim, "KILL");
    terminal.expect("was killed by signal 9");
    terminal.expect("FTP 1");
    terminal.press("2\r");
    terminal.expect("12 accepted, 12 delivered");
    terminal.expect(PROMPT);
    assert_eq!(scratch.stored(1).len(), 0);
}
