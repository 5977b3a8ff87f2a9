//! `bilico demo`: one command starts everything, and nothing of it is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{
    Ended, PROMPT, Running, Terminal, bilico, processes_in, run, sample_files, samples, signal,
    stored, wait_for, wait_until,
};

/// A directory to run demos in; whatever still runs there at the end is killed.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The files that the server in this place has stored, counted from 1.
    fn stored(&self, place: usize) -> BTreeMap<String, Vec<u8>> {
        stored(&self.path().join(format!("json_files_{place}")))
    }

    /// All stored files by their number, each checked to be the content of its payload.
    fn all_stored(&self) -> BTreeMap<u64, String> {
        let (mut all, samples) = (BTreeMap::new(), samples());
        for (name, content) in (1..=3).flat_map(|place| self.stored(place)) {
            let (number, title) = name.split_once('_').unwrap();
            assert_eq!(
                String::from_utf8(content).unwrap(),
                samples[title],
                "{name}"
            );
            assert!(
                all.insert(number.parse().unwrap(), title.to_owned())
                    .is_none(),
                "{name} is there twice"
            );
        }
        all
    }

    fn check_nothing_runs(&self) {
        assert_eq!(
            processes_in(self.path()),
            Vec::<u32>::new(),
            "nothing is left running"
        );
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for pid in processes_in(self.path()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

const FREE_PORTS: [&str; 11] = [
    "demo",
    "--listen",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
    "--server",
    "127.0.0.1:0=3",
    "--server",
    "127.0.0.1:0=2",
    "--server",
    "127.0.0.1:0=1",
];

/// A demo on free ports with the sample files.
fn demo(scratch: &Scratch) -> Command {
    let mut command = bilico(&FREE_PORTS);
    command
        .args(["--files", sample_files()])
        .current_dir(scratch.path());
    command
}

/// How a demo ends that gets this input.
fn script(scratch: &Scratch, input: &str) -> Ended {
    run(&mut demo(scratch), input)
}

/// A demo that has sent one file and waits for more commands.
fn started(scratch: &Scratch) -> Running {
    let mut demo = Running::start(&mut demo(scratch));
    demo.write("FTP 1\n");
    demo.wait_for_output("1 accepted, 1 delivered");
    demo
}

/// A demo at a terminal.
fn at_a_terminal(scratch: &Scratch) -> Terminal {
    let mut args = FREE_PORTS.to_vec();
    args.extend(["--files", sample_files()]);
    Terminal::start(scratch.path(), &args)
}

/// The process ids that a banner names, the balancer's last.
fn pids(banner: &str) -> Vec<u32> {
    let roles = banner
        .lines()
        .filter(|line| line.starts_with("server ") || line.starts_with("balancer "));
    roles
        .map(|line| {
            line.split_once(" pid ")
                .unwrap()
                .1
                .split_whitespace()
                .next()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

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
        assert_ne!(ended.code, Some(0), "{ended:?}");
        wait_until("the children to end", || {
            processes_in(scratch.path()).is_empty()
        });
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
    }
}

#[test]
fn a_folder_without_files_fails_clearly_and_nothing_is_left_running() {
    for folder in ["empty", "missing"] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("empty")).unwrap();
        let mut command = bilico(&FREE_PORTS);
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
    }
}

#[test]
fn flags_that_make_no_sense_are_named_and_nothing_is_left_running() {
    for (flags, named) in [
        (&["--work-delay", "soon"][..], "soon"),
        (&["--overload-margin", "nonsense"], "nonsense"),
        (&["--server", "127.0.0.1:5001=x"], "`x`"),
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
fn a_killed_server_is_told_its_files_go_to_the_others_and_it_can_be_started_again() {
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
fn a_killed_balancer_is_told_and_sending_fails() {
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
}

#[test]
fn a_reader_that_has_gone_leaves_nothing_behind() {
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
            .args(FREE_PORTS)
            .args(["--files", sample_files()])
            .current_dir(scratch.path()),
        "",
    );
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    wait_until("all to end", || processes_in(scratch.path()).is_empty());
}

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
fn ctrl_c_at_a_terminal_stops_everything() {
    let scratch = Scratch::new();
    let mut terminal = at_a_terminal(&scratch);
    terminal.expect(PROMPT);
    terminal.press("\x03");
    let (code, rest) = terminal.end();
    scratch.check_nothing_runs();
    assert_eq!(code, Some(130), "{rest}");
    assert!(!rest.contains("error"), "{rest}");
}

/// A person kills a server from another terminal and looks back at the prompt: a notice that waits
/// for the next line says nothing.
#[test]
fn a_killed_server_is_told_at_a_terminal_at_once_and_what_is_typed_stays() {
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

#[test]
fn files_that_wait_at_the_end_are_told_with_their_number_and_kept() {
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
