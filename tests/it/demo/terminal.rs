//! At a terminal.

use bilico_testkit::{PROMPT, processes_in};

use super::helpers::{Scratch, at_a_terminal, pids};

#[test]
fn a_terminal_gets_banner_prompt_and_summary() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    let shown = terminal.expect(PROMPT);
    assert_eq!(pids(&shown).len(), 4, "{shown}");
    assert!(
        shown.contains("files in") && shown.contains("FTP"),
        "{shown}"
    );
    terminal.enter("FTP 6");
    terminal.expect("6 accepted, 6 delivered");
    terminal.expect(PROMPT);
    terminal.enter("exit");
    let (code, rest) = terminal.end();
    scratch.check_nothing_runs();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!rest.contains("error"), "{rest}");
    assert_eq!(
        [1, 2, 3].map(|place| scratch.stored(place).len()),
        [3, 2, 1]
    );
    scratch.all_stored();
}

#[test]
fn ctrl_c_twice_at_a_terminal_stops_everything() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    terminal.expect(PROMPT);
    terminal.press("\x03");
    terminal.expect("again within 2 s leaves");
    terminal.expect(PROMPT);
    terminal.press("\x03");
    let (code, rest) = terminal.end();
    scratch.check_nothing_runs();
    assert_eq!(code, Some(130), "{rest}");
    assert!(!rest.contains("error"), "{rest}");
}

/// The terminal sends it to the whole foreground group, in which no role must be.
#[test]
fn ctrl_c_during_a_transfer_reaches_no_role() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    let roles = pids(&terminal.expect(PROMPT));
    for _ in 0..3 {
        terminal.enter("FTP 200000");
        terminal.expect("/200000");
        terminal.press("\x03");
        terminal.expect("no longer waiting");
        terminal.expect(PROMPT);
    }
    let mut running = processes_in(scratch.path());
    running.retain(|pid| roles.contains(pid));
    assert_eq!(running.len(), roles.len());
    terminal.enter("exit");
    assert_eq!(terminal.end().0, Some(0));
}
