//! A run from its start to its end.

use std::fs;
use std::process::Command;

use bilico_testkit::{
    DEMO_ON_FREE_PORTS, PROMPT, Running, bilico, processes_in, run, sample_files, signal,
    wait_until,
};

use super::helpers::{Scratch, at_a_terminal, demo, pids, script, started};

#[test]
fn a_pipe_starts_uses_and_stops_everything() {
    let scratch = Scratch::new();
    let ended = script(&scratch, "FTP\n60\nexit\n");
    scratch.check_nothing_runs();
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("60 accepted, 60 delivered"),
        "{}",
        ended.stdout
    );
    let summary = ended.stdout.split_once("60 delivered").unwrap().1;
    for (banner, cells) in ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("server "))
        .zip([["3", "30"], ["2", "20"], ["1", "10"]])
    {
        let address = banner.split_whitespace().nth(1).unwrap();
        let row = summary
            .lines()
            .find(|line| line.trim_start().starts_with(address))
            .unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>()[1..3],
            cells,
            "{summary}"
        );
    }
    assert_eq!(
        [1, 2, 3].map(|place| scratch.stored(place).len()),
        [30, 20, 10]
    );
    let files = scratch.all_stored();
    assert_eq!(
        files.keys().copied().collect::<Vec<_>>(),
        (1..=60).collect::<Vec<_>>()
    );
    let log = fs::read_to_string(scratch.path().join("logs/balancer.log")).unwrap();
    for (number, title) in files {
        for event in ["received", "forwarded", "delivered"] {
            let start = format!(" {event} number={number} title={title} ");
            assert_eq!(
                log.lines().filter(|line| line.contains(&start)).count(),
                1,
                "{start}"
            );
        }
    }
}

/// Outside the repository it once failed for want of a folder, after it had started everything.
#[test]
fn it_needs_no_files_and_its_banner_says_how_to_start_over() {
    let scratch = Scratch::new();
    let mut command = bilico(&DEMO_ON_FREE_PORTS);
    let ended = run(command.current_dir(scratch.path()), "FTP 12\nexit\n");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert_eq!(scratch.all_stored().len(), 12);
    let over = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("To start over: exit, then "));
    let removed = run(
        Command::new("sh")
            .args(["-c", over.unwrap()])
            .current_dir(scratch.path()),
        "",
    );
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "{ended:?}"
    );
}

#[test]
fn the_banner_tells_what_runs_where() {
    let scratch = Scratch::new();
    let demo = started(&scratch);
    let banner = demo.wait_for_output("Each is a process");
    let pids = pids(&banner);
    assert_eq!(pids.len(), 4, "{banner}");
    let mut running = processes_in(scratch.path());
    running.retain(|pid| *pid != demo.pid());
    running.sort_unstable();
    let mut named = pids.clone();
    named.sort_unstable();
    assert_eq!(running, named, "{banner}");
    for line in banner.lines().filter(|line| line.contains(" pid ")) {
        let log = line.split_once("  log ").unwrap().1;
        assert!(scratch.path().join(log).is_file(), "{line}");
    }
    assert!(
        banner.contains("json_files_1") && banner.contains("weight 3"),
        "{banner}"
    );
    assert_eq!(demo.end().code, Some(0));
}

#[test]
fn the_end_of_input_stops_everything() {
    let scratch = Scratch::new();
    for input in ["", "FTP 3\n", "FTP 3"] {
        let ended = script(&scratch, input);
        scratch.check_nothing_runs();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{input:?}"
        );
        assert_eq!(pids(&ended.stdout).len(), 4);
    }
    assert_eq!(scratch.all_stored().len(), 6);
}

#[test]
fn a_signal_stops_everything() {
    for name in ["INT", "TERM"] {
        let scratch = Scratch::new();
        let demo = started(&scratch);
        demo.signal(name);
        let ended = demo.wait();
        scratch.check_nothing_runs();
        assert_eq!(ended.code, Some(130), "{ended:?}");
    }
}

#[test]
fn the_children_of_a_killed_demo_end_by_themselves() {
    let scratch = Scratch::new();
    let demo = started(&scratch);
    assert_eq!(processes_in(scratch.path()).len(), 5);
    demo.signal("KILL");
    demo.wait();
    wait_until("the children to end", || {
        processes_in(scratch.path()).is_empty()
    });
}

#[test]
fn a_signal_during_the_start_leaves_nothing_behind() {
    for children in [1, 2, 4] {
        let scratch = Scratch::new();
        let demo = Running::start(&mut demo(&scratch));
        wait_until("some children", || {
            processes_in(scratch.path()).len() > children
        });
        // Not SIGINT, which is ignored where a script runs these tests in the background.
        demo.signal("TERM");
        let ended = demo.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        wait_until("the children to end", || {
            processes_in(scratch.path()).is_empty()
        });
        let left = fs::read_dir(scratch.path()).unwrap().count();
        // The balancer may have listened by then: what it was handed stays.
        assert!(left == 0 || children == 4, "{left} entries: {ended:?}");
    }
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let scratch = Scratch::new();
    assert_eq!(script(&scratch, "FTP 60\n").code, Some(0));
    let first = scratch.all_stored();
    assert_eq!(script(&scratch, "FTP 6\n").code, Some(0));
    let both = scratch.all_stored();
    assert_eq!(both.len(), 66, "numbers go on, nothing is overwritten");
    assert_eq!(
        both.keys().copied().take(60).collect::<Vec<_>>(),
        (1..=60).collect::<Vec<_>>()
    );
    assert!(first.iter().all(|(number, title)| both[number] == *title));
    scratch.check_nothing_runs();
}

#[test]
fn a_closed_output_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"printf 'FTP 3\nhelp\nhelp\nexit\n' | "$@" | head -1"#,
        "sh",
        env!("CARGO_BIN_EXE_bilico"),
    ]);
    let ended = run(
        shell
            .args(DEMO_ON_FREE_PORTS)
            .args(["--files", sample_files()])
            .current_dir(scratch.path()),
        "",
    );
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    wait_until("all to end", || processes_in(scratch.path()).is_empty());
}

#[test]
fn files_that_wait_at_the_end_are_counted_and_kept() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    let roles = pids(&terminal.expect(PROMPT));
    roles[..3].iter().for_each(|pid| signal(*pid, "KILL"));
    terminal.enter("FTP 3");
    terminal.expect("accepted 3");
    terminal.press("\x03");
    terminal.expect(PROMPT);
    terminal.enter("exit");
    let (code, rest) = terminal.end();
    scratch.check_nothing_runs();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("3 files are not delivered yet"), "{rest}");
    let mut terminal = at_a_terminal(&scratch);
    terminal.expect(PROMPT);
    wait_until("all of them to arrive", || {
        (1..=3).map(|n| scratch.stored(n).len()).sum::<usize>() == 3
    });
}

/// It once took three times as many files as README says: all servers were up in each of six runs.
#[test]
fn the_recipe_for_overload_in_the_readme_shows_it() {
    let readme = include_str!("../../../README.md").replace('\n', " ");
    let between = |start: &str| {
        let (_, rest) = readme.split_once(start).unwrap();
        rest.split_once('`').unwrap().0
    };
    let flags = between("-- demo --work-delay ");
    let files = between("`FTP ");
    let scratch = Scratch::new();
    let mut command = demo(&scratch);
    command.arg("--work-delay").args(flags.split_whitespace());
    let mut demo = Running::start(&mut command);
    demo.write(&format!("FTP {files}\n"));
    demo.wait_for_output(&format!("{files} accepted, {files} delivered"));
    wait_until("an overloaded server", || {
        demo.write("status\n");
        let shown = demo.wait_for_output("since the start");
        shown.lines().any(|line| line.contains(" overloaded "))
    });
    demo.signal("TERM");
    assert_eq!(demo.wait().code, Some(130));
}
