//! `bilico status --watch`.

use std::fs;
use std::path::Path;

use bilico::protocol::status::{ServerReport, ServerState};
use bilico_testkit::{
    Farm, Role, Running, Terminal, processes_in, signal, start_balancer, status, wait_for,
    wait_until,
};
use serde_json::Value;

use super::helpers::{admin, command, printed, send};

#[test]
fn a_watch_without_a_terminal_prints_again_and_survives_a_restart() {
    let mut farm = Farm::start(&[1]);
    let tables = Running::start(&mut command(&farm.balancer, &["status", "--watch"]));
    let lines = Running::start(&mut command(
        &farm.balancer,
        &["status", "--watch", "--json"],
    ));
    tables.wait_for_output("can get files");
    lines.wait_for_output("\"overview\"");
    farm.balancer.kill();
    tables.wait_for_error("away");
    farm.balancer.restart();
    tables.wait_for_error("back");
    lines.wait_for_error("back");
    send(&farm, 7, &[]);
    tables.wait_for_output("7 delivered");
    wait_until("the number in JSON", || {
        lines.wait_for_output("{").contains("\"delivered\":7")
    });
    lines.signal("TERM");
    let ended = lines.wait();
    assert_ne!(ended.code, Some(0));
    let whole = ended
        .stdout
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok());
    assert_eq!(
        whole.count(),
        ended.stdout.lines().count(),
        "a document a line"
    );
}

/// Runs a command at a terminal; after it, the terminal's modes and its exit code are shown.
fn at_a_terminal(balancer: &Role, dir: &Path, size: &str, args: &[&str]) -> Terminal {
    // Ctrl-C goes to the whole group; the shell must survive it.
    let script =
        format!(r#"trap : INT; stty {size}; "$@"; code=$?; stty -a; echo "ended with $code.""#);
    Terminal::run(
        dir,
        &script,
        &[args, &["--admin", admin(balancer)]].concat(),
    )
}

/// Waits for the command's end. It must have left the alternate screen and restored the terminal's
/// modes.
#[track_caller]
fn check_given_back(mut terminal: Terminal, code: i32) {
    terminal.expect("\x1b[?25h\x1b[?1049l");
    let modes = terminal.expect(&format!("ended with {code}."));
    for mode in [" icanon", " echo ", "susp = ^Z", "quit = ^\\"] {
        assert!(modes.contains(mode), "{mode} in {modes}");
    }
    assert_eq!(terminal.end().0, Some(0));
}

/// The watching process in this directory.
fn watcher(dir: &Path) -> u32 {
    wait_for("the watcher's process", || {
        processes_in(dir).into_iter().find(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            words
                .first()
                .is_some_and(|program| !program.ends_with(b"sh"))
                && words.contains(&&b"--watch"[..])
        })
    })
}

#[test]
fn a_watch_survives_a_restart_and_restores_the_terminal() {
    let mut farm = Farm::start(&[3, 2]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut terminal = at_a_terminal(
        &farm.balancer,
        elsewhere.path(),
        "rows 30 cols 200",
        &["status", "--watch"],
    );
    terminal.expect("\x1b[?1049h");
    terminal.expect("2 of 2 can get files");
    terminal.expect("last seconds");
    terminal.expect(&farm.servers[0].address);
    terminal.expect("\x1b[32mup\x1b[0m");
    terminal.expect("q quits");
    send(&farm, 5, &[]);
    terminal.expect("5 delivered");
    printed(&farm.balancer, &["drain", &farm.servers[1].address]);
    terminal.expect("1 of 2 can get files");
    terminal.expect("drained");
    farm.balancer.kill();
    terminal.expect("out of date");
    farm.balancer.restart();
    terminal.expect("0 accepted");
    terminal.expect("1 of 2 can get files");
    printed(&farm.balancer, &["undrain", &farm.servers[1].address]);
    terminal.expect("2 of 2 can get files");
    terminal.press("q");
    check_given_back(terminal, 0);
}

#[test]
fn a_signal_ends_the_watch() {
    let farm = Farm::start(&[1]);
    for by in ["\x03", "TERM", "HUP"] {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut terminal = at_a_terminal(
            &farm.balancer,
            elsewhere.path(),
            "rows 30 cols 200",
            &["status", "--watch"],
        );
        terminal.expect("1 of 1 can get files");
        if by == "\x03" {
            terminal.press(by);
        } else {
            signal(watcher(elsewhere.path()), by);
        }
        check_given_back(terminal, 130);
    }
}

#[test]
fn more_servers_than_lines_can_be_scrolled() {
    let dir = tempfile::tempdir().unwrap();
    let servers: Vec<String> = (1..=20).map(|n| format!("127.0.0.1:{n}")).collect();
    let balancer = start_balancer(dir.path(), &servers, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut terminal = at_a_terminal(
        &balancer,
        elsewhere.path(),
        "rows 14 cols 60",
        &["status", "--watch", "--no-color"],
    );
    terminal.expect("servers 1 to ");
    let last: usize = terminal.expect(" of 20").trim().parse().unwrap();
    assert!((4..14).contains(&last), "{last}");
    terminal.press("\x1b[B");
    terminal.expect("servers 2 to ");
    terminal.press("G");
    terminal.expect(" to 20 of 20");
    terminal.press("\x1bOA");
    terminal.expect(" to 19 of 20");
    terminal.press("\x1b[1~");
    terminal.expect("servers 1 to ");
    terminal.press("Q");
    check_given_back(terminal, 0);
}

/// Once plain `status` wrapped each row, and a long name hid the state of all servers.
#[test]
fn a_status_has_a_line_for_each_server_at_any_width() {
    let dir = tempfile::tempdir().unwrap();
    let long = "ingest-a.warehouse-07.eu-central-1.internal.example.invalid:5001".to_owned();
    let mut servers: Vec<String> = (1..=30).map(|n| format!("127.0.0.1:{n}")).collect();
    servers.push(long);
    let balancer = start_balancer(dir.path(), &servers, &[]);
    wait_until("its servers to be down", || {
        let status = status(&balancer.address);
        let is_down = |server: &ServerReport| server.state == ServerState::Down;
        status.servers.iter().take(30).all(is_down)
    });
    for width in [40, 60, 80, 100, 110, 140] {
        let size = format!("rows 24 cols {width}");
        for (args, end) in [
            (&["status", "--no-color"][..], " more"),
            (&["status", "--watch", "--no-color"], "q quits"),
        ] {
            let elsewhere = tempfile::tempdir().unwrap();
            let mut terminal = at_a_terminal(&balancer, elsewhere.path(), &size, args);
            let before = terminal.expect(end);
            let down: Vec<&str> = before
                .lines()
                .filter(|line| line.contains("127.0.0.1:") && line.contains(" down "))
                .collect();
            assert!(down.len() > 5, "{width}: {before}");
            for line in down {
                let line = line.trim_end().trim_end_matches("\x1b[K");
                assert!(line.chars().count() <= width, "{width}: {line:?}");
                assert!(line.contains("connection"), "{width}: {line:?}");
            }
        }
    }
}
