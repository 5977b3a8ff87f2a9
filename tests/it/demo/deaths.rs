//! Roles that die while it runs.

use std::process::Command;
use std::time::{Duration, Instant};

use bilico_testkit::{PROMPT, Running, signal, wait_until};

use super::helpers::{Scratch, at_a_terminal, pids, started};

/// The command in a notice that starts a role again.
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

    // A person would copy the line into another terminal in the same directory.
    let restart = demo.wait_for_error("json_files_1");
    let mut again = Command::new("sh");
    let again = Running::start(
        again
            .args(["-c", &command_to_restart(&restart)])
            .current_dir(scratch.path()),
    );
    again.wait_for_output("listening on ");
    let rounds = |demo: &Running| demo.wait_for_output("").matches("6 accepted, ").count();
    wait_until("the server to be used again", || {
        let before = rounds(&demo);
        demo.write("FTP 6\n");
        // One round at a time: others would still have to be sent at the end.
        wait_until("the files to be sent", || rounds(&demo) > before);
        scratch.stored(1).len() > first
    });
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
/// for the next line comes too late.
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

/// The notice once came after the transfer had given up, a minute later, and `status` then advised
/// to start a second demo on the same ports.
#[test]
fn a_death_during_a_transfer_is_told_above_the_progress_line_at_once() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    let roles = pids(&terminal.expect(PROMPT));
    roles[1..3].iter().for_each(|pid| signal(*pid, "KILL"));
    terminal.expect("was killed by signal 9");
    terminal.expect("was killed by signal 9");
    signal(roles[0], "STOP");
    terminal.enter("FTP 5");
    terminal.expect("accepted 5");
    let killed = Instant::now();
    signal(roles[3], "KILL");
    terminal.expect(&format!("(pid {}) was killed by signal 9", roles[3]));
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    terminal.expect("reconnecting …");
    terminal.press("\x03");
    terminal.expect(PROMPT);
    terminal.enter("status");
    terminal.expect("error: cannot reach the balancer");
    let advice = terminal.expect(PROMPT);
    assert!(
        advice.contains("start it again with:") && !advice.contains("bilico demo"),
        "{advice}"
    );
    signal(roles[0], "CONT");
}
