//! The prompt at a terminal: keys, signals and progress.

use bilico_testkit::{Farm, PROMPT, Role, Signal, Terminal, sample_files, signal, wait_until};

use super::helpers::{check_stored, terminal};

#[test]
fn arrow_up_repeats_the_last_command_and_backspace_corrects() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 2");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect(PROMPT);
    terminal.press("\x1b[A");
    terminal.expect("FTP 2");
    terminal.press("\r");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect(PROMPT);
    terminal.press("FTP 39");
    terminal.press("\x7f\r");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect(PROMPT);
    terminal.press("TP 4\x01F\r");
    terminal.expect("4 accepted, 4 delivered");
    terminal.expect(PROMPT);
    assert_eq!(farm.status().delivered, 11);
}

/// The answer to `How many files?` is not a command: arrow up brings the command before it.
#[test]
fn the_number_of_files_is_not_in_the_history_of_commands() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP");
    terminal.expect("How many files? ");
    terminal.enter("17");
    terminal.expect("17 delivered");
    terminal.expect(PROMPT);
    terminal.press("\x1b[A");
    terminal.expect("FTP");
    terminal.press("\r");
    terminal.expect("How many files? ");
}

/// A line editor that reads ahead and is created for each line loses text that was typed after that
/// line.
#[test]
fn lines_typed_ahead_are_all_executed() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.press("FTP 2\rFTP 3\rstatus\r");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect("5 accepted, 5 delivered since");
    terminal.expect(PROMPT);
}

/// A line editor may ask the terminal to mark what is pasted; its lines are commands all the same.
#[test]
fn pasted_lines_are_all_executed() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.paste("FTP 2\rFTP 3\rstatus\r");
    // The last line may wait for it.
    terminal.press("\r");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect("5 accepted, 5 delivered since");
}

/// It once ended the prompt, and a demo with all that it had started, whatever was typed.
#[test]
fn ctrl_c_clears_the_line_and_leaves_only_when_it_is_pressed_again() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.press("weight 5003 \x03");
    let shown = terminal.expect(PROMPT);
    assert!(
        shown.contains("weight 5003") && !shown.contains("exit"),
        "{shown}"
    );
    terminal.enter("FTP 2");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect(PROMPT);
    terminal.press("F\x03");
    terminal.expect(PROMPT);
    terminal.press("\x03");
    terminal.expect("`exit`, Ctrl-D, or Ctrl-C again within 2 s leaves");
    terminal.expect(PROMPT);
    terminal.press("\x03");
    assert_eq!(terminal.end().0, Some(130));
}

/// It was meant for the transfer, which was faster.
#[test]
fn ctrl_c_just_after_the_last_file_does_not_leave() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    for _ in 0..3 {
        terminal.enter("FTP 2");
        terminal.expect("2 accepted, 2 delivered");
        terminal.press("\x03");
        terminal.press("\x03");
        terminal.signal(Signal::SIGINT);
        terminal.expect("the transfer has ended already");
    }
    terminal.enter("FTP 3");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect(PROMPT);
    terminal.enter("exit");
    assert_eq!(terminal.end().0, Some(0));
}

/// The balancer is frozen: nobody should have to wait for its answer.
#[test]
fn ctrl_c_while_the_balancer_does_not_answer_ends_only_the_waiting() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    farm.balancer.signal("STOP");
    terminal.enter("status");
    terminal.expect("status");
    // The editor leaves the terminal to the command.
    terminal.expect("\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.press("\x03");
    terminal.expect("no longer waiting for the balancer's answer");
    terminal.expect(PROMPT);
    farm.balancer.signal("CONT");
    terminal.enter("FTP 1");
    terminal.expect("1 accepted, 1 delivered");
}

#[test]
fn ctrl_c_while_waiting_ends_only_the_waiting() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 4");
    terminal.expect("accepted 4");
    terminal.press("\x03");
    let shown = terminal.expect(PROMPT);
    assert!(
        shown.contains("4 accepted, 0 delivered") && shown.contains("no longer waiting"),
        "{shown}"
    );
    terminal.enter("status");
    let shown = terminal.expect(PROMPT);
    assert!(shown.contains("4 wait"), "{shown}");
    farm.servers.iter_mut().for_each(Role::restart);
    wait_until("all of them to arrive", || farm.status().delivered == 4);
    check_stored(&farm, 4);
    terminal.enter("FTP 2");
    terminal.expect("2 accepted, 2 delivered");
}

#[test]
fn ctrl_d_ends_like_exit() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.press("\x04");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn sigterm_ends_the_prompt_at_any_time() {
    let farm = Farm::without_servers(&[2, 1]);
    let mut idle = terminal(&farm);
    idle.signal(Signal::SIGTERM);
    assert_eq!(idle.end().0, Some(130));
    let mut waiting = terminal(&farm);
    waiting.enter("FTP 2");
    waiting.expect("accepted 2");
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.end().0, Some(130));
}

#[test]
fn progress_is_shown_while_files_are_under_way() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 5");
    terminal.expect("0/5");
    let shown = terminal.expect("accepted 5");
    assert!(!shown.contains(PROMPT), "{shown}");
    terminal.expect("delivered 0");
    farm.servers.iter_mut().for_each(Role::restart);
    terminal.expect("5 accepted, 5 delivered");
    terminal.expect(PROMPT);
}

#[test]
fn progress_tells_why_nothing_moves() {
    let farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 5");
    terminal.expect("accepted 5");
    terminal.expect("no server");
}

/// Typed letters once pushed the progress line on: each left another copy of it behind.
#[test]
fn keys_typed_while_files_are_sent_wait_unseen() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 5");
    terminal.expect("accepted 5");
    terminal.press("xyzzy\r");
    farm.servers.iter_mut().for_each(Role::restart);
    let shown = terminal.expect("5 accepted, 5 delivered");
    assert!(
        !shown.contains("xyzzy"),
        "it is shown in the progress line: {shown:.300?}"
    );
    terminal.expect("error: unknown command \"xyzzy\"");
    terminal.expect(PROMPT);
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let farm = Farm::start(&[1]);
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    for end in ["exit\r", "\x04", "\x03\x03", "TERM"] {
        let script = r#"before=$(stty -g); sh -c 'echo "pid $$."; exec "$@"' sh "$@"
            [ "$before" = "$(stty -g)" ] && echo the same || echo another"#;
        let mut terminal = Terminal::run(farm.dir.path(), script, &args);
        terminal.expect("pid ");
        let pid = terminal.expect(".").parse().unwrap();
        terminal.expect(PROMPT);
        if end == "TERM" {
            signal(pid, end);
        } else {
            terminal.press(end);
        }
        let (_, shown) = terminal.end();
        assert!(shown.contains("the same"), "after {end:?}: {shown:?}");
    }
}

#[test]
fn a_dumb_terminal_is_enough() {
    let farm = Farm::start(&[1]);
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let mut terminal = Terminal::run(farm.dir.path(), r#"TERM=dumb exec "$@""#, &args);
    terminal.expect(PROMPT);
    terminal.enter("FTP 3");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect(PROMPT);
    terminal.enter("exit");
    assert_eq!(terminal.end().0, Some(0));
}
