//! The commands of operators, against real balancers: what they say, what they do, and what scripts
//! can tell from them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rexpect::process::Signal;
use serde_json::Value;

use crate::harness::{
    Ended, Farm, PROMPT, Role, Running, Terminal, bilico, processes_in, run, sample_files, signal,
    start_balancer, start_server, wait_for, wait_until,
};

fn admin(balancer: &Role) -> &str {
    balancer.admin.as_deref().unwrap()
}

/// A command to this balancer.
fn command(balancer: &Role, args: &[&str]) -> Command {
    let mut command = bilico(args);
    command.args(["--admin", admin(balancer)]);
    command
}

fn order(balancer: &Role, args: &[&str]) -> Ended {
    run(&mut command(balancer, args), "")
}

/// What a command prints that has to succeed.
#[track_caller]
fn printed(balancer: &Role, args: &[&str]) -> String {
    let ended = order(balancer, args);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{args:?}: {ended:?}"
    );
    ended.stdout
}

#[track_caller]
fn printed_json(balancer: &Role, args: &[&str]) -> Value {
    serde_json::from_str(&printed(balancer, &[args, &["--json"]].concat())).unwrap()
}

/// A command that fails with this code, and says these things.
#[track_caller]
fn refused(balancer: &Role, args: &[&str], code: i32, parts: &[&str]) {
    let ended = order(balancer, args);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(code), ""),
        "{args:?}: {ended:?}"
    );
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "{args:?} says {part:?}: {ended:?}"
        );
    }
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// The line of a table that is about this server.
#[track_caller]
fn row<'a>(table: &'a str, server: &str) -> Vec<&'a str> {
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with(server));
    line.unwrap_or_else(|| panic!("no {server} in {table}"))
        .split_whitespace()
        .collect()
}

fn write_files(dir: &Path, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
    for name in &names {
        fs::write(dir.join(name), "x").unwrap();
    }
    names
}

#[track_caller]
fn send(farm: &Farm, count: usize, flags: &[&str]) {
    let names = write_files(farm.dir.path(), count);
    let mut args = flags.to_vec();
    args.extend(names.iter().map(String::as_str));
    let sent = farm.send(&args);
    assert!(sent.status.success(), "{sent:?}");
}

/// Keeps a server's files in flight for as long as it is stopped.
const PATIENT: [&str; 4] = ["--probe-timeout", "1h", "--stall-timeout", "1h"];

/// A farm of one patient balancer and one server that does not move, with so many files in flight
/// to it.
fn with_files_in_flight(count: usize) -> Farm {
    let farm = Farm::with(&[1], &[], &PATIENT);
    farm.servers[0].signal("STOP");
    send(&farm, count, &["--wait", "accepted"]);
    wait_until("the files to be in flight", || {
        farm.server_status(0).in_flight == count
    });
    farm
}

#[test]
fn status_shows_everything_and_its_exit_code_tells_whether_files_get_through() {
    let mut farm = Farm::start(&[3, 2, 1]);
    send(&farm, 60, &[]);
    let text = wait_for("the shares to be there", || {
        let text = printed(&farm.balancer, &["status"]);
        (text.contains("60 delivered") && text.contains("50.0 %")).then_some(text)
    });
    assert!(
        text.contains("takes files") && text.contains("60 accepted"),
        "{text}"
    );
    assert!(text.contains("3 of 3 can get files"), "{text}");
    for (server, (weight, delivered)) in
        farm.servers
            .iter()
            .zip([("3", "30"), ("2", "20"), ("1", "10")])
    {
        let row = row(&text, &server.address);
        assert_eq!(row[1], "up", "{text}");
        assert!(row.contains(&weight) && row.contains(&delivered), "{text}");
        assert!(
            row.iter()
                .any(|cell| cell.contains("MiB") || cell.contains("GiB")),
            "its memory: {text}"
        );
    }
    assert!(!text.contains('\x1b'), "no colours off a terminal");

    let whole = printed_json(&farm.balancer, &["status"]);
    assert_eq!(
        (
            &whole["overview"]["accepted"],
            &whole["overview"]["accepting"]
        ),
        (&60.into(), &true.into())
    );
    assert_eq!(whole["servers"].as_array().unwrap().len(), 3);
    assert_eq!(whole["servers"][0]["name"], *farm.servers[0].address);

    farm.servers.iter_mut().for_each(Role::kill);
    let ended = wait_for("all to be seen down", || {
        let ended = order(&farm.balancer, &["status"]);
        (ended.code == Some(4)).then_some(ended)
    });
    assert!(
        ended.stdout.contains("0 of 3 can get files")
            && ended.stdout.contains("takes files, but no server"),
        "{}",
        ended.stdout
    );
    assert_eq!(row(&ended.stdout, &farm.servers[1].address)[1], "down");
    assert_eq!(order(&farm.balancer, &["status", "--json"]).code, Some(4));
}

#[test]
fn a_balancer_that_is_not_there_has_its_own_exit_code_and_a_hint() {
    let mut farm = Farm::start(&[1]);
    farm.balancer.kill();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["weight", "5001", "3"],
        &["drain", "5001", "--wait"],
        &["undrain", "5001"],
        &["servers"],
        &["servers", "list"],
        &["servers", "add", "127.0.0.1:5009=1"],
        &["servers", "remove", "5001"],
        &["reload"],
        &["events"],
        &["events", "-f"],
    ] {
        refused(
            &farm.balancer,
            args,
            3,
            &[
                "error: cannot reach",
                admin(&farm.balancer),
                "hint: is a balancer running there?",
            ],
        );
    }
    // Something else answers there: the native port of a server is none for HTTP.
    let mut elsewhere = bilico(&["status", "--admin", &farm.servers[0].address]);
    let ended = run(&mut elsewhere, "");
    assert!(
        matches!(ended.code, Some(1 | 3)) && ended.stderr.contains("hint: "),
        "{ended:?}"
    );
    let named = run(
        bilico(&["status"]).env("BILICO_ADMIN", admin(&farm.balancer)),
        "",
    );
    assert!(
        named.code == Some(3) && named.stderr.contains(admin(&farm.balancer)),
        "the environment names it: {named:?}"
    );
}

#[test]
fn a_weight_holds_from_the_next_file_on() {
    let farm = Farm::start(&[3, 2, 1]);
    let third = &farm.servers[2].address;
    let said = printed(&farm.balancer, &["weight", port(third), "5"]);
    assert_eq!(
        said,
        format!("{third} has weight 5: 50.0 % of the files from now on\n")
    );
    send(&farm, 100, &[]);
    assert!(
        (48..=52).contains(&farm.stored(2).len()),
        "{}",
        farm.stored(2).len()
    );

    assert_eq!(printed(&farm.balancer, &["weight", third, "1", "-q"]), "");
    assert_eq!(
        printed_json(
            &farm.balancer,
            &["weight", &format!(":{}", port(third)), "0"]
        )["weight"],
        0
    );
    assert!(
        printed(&farm.balancer, &["weight", third, "0"])
            .contains("has weight 0: no files from now on")
    );
    send(&farm, 10, &[]);
    assert!(
        (48..=52).contains(&farm.stored(2).len()),
        "none of the last ten"
    );
    let max = printed(&farm.balancer, &["weight", third, "1000000"]);
    assert!(max.contains("has weight 1000000: 100.0 %"), "{max}");
}

#[test]
fn servers_that_are_not_meant_and_weights_that_are_none() {
    let farm = Farm::start(&[1, 1]);
    let (first, second) = (&*farm.servers[0].address, &*farm.servers[1].address);
    for args in [
        &["weight", "127.0.0.1", "3"][..],
        &["drain", "127.0"],
        &["servers", "remove", ":"],
    ] {
        refused(
            &farm.balancer,
            args,
            1,
            &["error: ", "2 servers", "hint: ", first, second],
        );
    }
    for args in [
        &["weight", "elsewhere:1", "3"][..],
        &["undrain", "elsewhere:1"],
        &["servers", "remove", "elsewhere:1"],
    ] {
        refused(
            &farm.balancer,
            args,
            1,
            &["error: there is no server \"elsewhere:1\"", "hint: ", first],
        );
    }
    let near = format!("{first}0");
    refused(
        &farm.balancer,
        &["drain", &near],
        1,
        &[&format!("hint: did you mean {first}?")],
    );
    for weight in ["-1", "1000001", "1000000000", "x", "", "1.5"] {
        refused(&farm.balancer, &["weight", first, weight], 2, &["error: "]);
    }
    for args in [
        &["weight", first][..],
        &["drain"],
        &["drain", first, "--timeout", "1s"],
        &["servers", "add", "x"],
    ] {
        refused(&farm.balancer, args, 2, &["error: "]);
    }
    refused(
        &farm.balancer,
        &["servers", "add", &format!("{first}=2")],
        1,
        &["error: ", first],
    );
    assert!(
        farm.status()
            .servers
            .iter()
            .all(|server| server.weight == 1 && server.eligible),
        "nothing changed"
    );
}

#[test]
fn drain_waits_for_what_is_in_flight_and_sends_nothing_new() {
    let farm = with_files_in_flight(3);
    let server = &*farm.servers[0].address;
    let said = printed(&farm.balancer, &["drain", server]);
    assert_eq!(
        said,
        format!("{server} is drained: it gets nothing new; 3 files are in flight to it\n")
    );
    refused(
        &farm.balancer,
        &["drain", server, "--wait", "--timeout", "100ms"],
        5,
        &[
            "error: the time is up, and 3 files are in flight to",
            "hint: ",
        ],
    );
    let waiting = Running::start(&mut command(&farm.balancer, &["drain", server, "--wait"]));
    send(&farm, 1, &["--wait", "accepted"]);
    farm.servers[0].signal("CONT");
    let ended = waiting.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        format!("{server} is drained: it gets nothing new; nothing is in flight to it\n")
    );
    assert_eq!(
        farm.stored(0).len(),
        3,
        "what was in flight has arrived, and nothing else"
    );
    let status = order(&farm.balancer, &["status"]);
    assert_eq!(
        (status.code, row(&status.stdout, server)[1]),
        (Some(4), "drained"),
        "{status:?}"
    );

    let said = wait_for("the server to be seen up again", || {
        let said = printed(&farm.balancer, &["undrain", server]);
        said.contains("100.0 %").then_some(said)
    });
    assert_eq!(
        said,
        format!("{server} is no longer drained: 100.0 % of the files from now on\n")
    );
    wait_until("the file that waited to arrive", || {
        farm.stored(0).len() == 4
    });
}

#[test]
fn servers_come_and_go_while_it_runs() {
    let mut farm = Farm::start(&[1]);
    let first = farm.servers[0].address.clone();
    let added = start_server(farm.dir.path(), 2, &[]);
    let second = added.address.clone();
    farm.servers.push(added);
    let said = printed(&farm.balancer, &["servers", "add", &format!("{second}=3")]);
    assert!(
        said.starts_with(&format!("{second} is added with weight 3: ")),
        "{said}"
    );
    refused(
        &farm.balancer,
        &["servers", "add", &format!("{second}=1")],
        1,
        &["error: ", &second],
    );
    farm.wait_until_up();
    send(&farm, 40, &[]);
    assert!(
        (28..=32).contains(&farm.stored(1).len()),
        "{}",
        farm.stored(1).len()
    );

    let table = printed(&farm.balancer, &["servers"]);
    assert_eq!(
        printed(&farm.balancer, &["servers", "list"])
            .lines()
            .count(),
        3
    );
    assert_eq!(
        (row(&table, &first)[1], row(&table, &second)[1]),
        ("up", "up"),
        "{table}"
    );
    let names = |list: Value| -> Vec<String> {
        list["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(printed_json(&farm.balancer, &["servers"])),
        [first.clone(), second.clone()]
    );

    let said = printed(&farm.balancer, &["servers", "remove", &second, "--wait"]);
    assert_eq!(said, format!("{second} is removed\n"));
    assert_eq!(names(printed_json(&farm.balancer, &["servers"])), [&*first]);
    refused(
        &farm.balancer,
        &["servers", "remove", &second],
        1,
        &["error: there is no server"],
    );
    assert_eq!(
        printed(
            &farm.balancer,
            &["servers", "add", &format!("{second}=1"), "-q"]
        ),
        "",
        "it can come back"
    );
}

#[test]
fn a_server_goes_only_when_what_is_in_flight_to_it_has_ended() {
    let farm = with_files_in_flight(2);
    let server = &*farm.servers[0].address;
    let said = printed(&farm.balancer, &["servers", "remove", server]);
    assert!(
        said.contains("gets nothing new") && said.contains("2 files"),
        "{said}"
    );
    refused(
        &farm.balancer,
        &["servers", "remove", server, "--wait", "--timeout", "100ms"],
        5,
        &["2 files are in flight"],
    );
    let waiting = Running::start(&mut command(
        &farm.balancer,
        &["servers", "remove", server, "--wait", "--json"],
    ));
    farm.servers[0].signal("CONT");
    let ended = waiting.end();
    // It may have gone before this one asked.
    let gone = if ended.code == Some(1) {
        ended.stderr.contains("no server")
    } else {
        ended.stdout.contains("\"removed\":true")
    };
    assert!(gone, "{ended:?}");
    assert_eq!(farm.stored(0).len(), 2);
    assert_eq!(
        order(&farm.balancer, &["status"]).code,
        Some(4),
        "there is none left"
    );
}

#[test]
fn reload_without_a_configuration_file_says_so() {
    let farm = Farm::start(&[1]);
    refused(
        &farm.balancer,
        &["reload"],
        1,
        &["error: ", "no configuration file", "hint: ", "--config"],
    );
}

#[test]
fn events_tell_what_happened_and_go_on_over_a_restart() {
    let mut farm = Farm::start(&[1]);
    let server = farm.servers[0].address.clone();
    printed(&farm.balancer, &["drain", &server]);
    let before = printed(&farm.balancer, &["events"]);
    let last = before.lines().last().unwrap();
    assert!(
        last.contains("warn") && last.contains(&server) && last.contains("drained"),
        "{before}"
    );
    let id = last.split_whitespace().next().unwrap();
    assert_eq!(printed(&farm.balancer, &["events", "--since-id", id]), "");
    let notices: Vec<Value> = printed(&farm.balancer, &["events", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(notices.len(), before.lines().count());
    let is_drain = |notice: &&Value| notice["kind"] == "drain" && notice["server"] == *server;
    assert_eq!(notices.iter().filter(is_drain).count(), 1, "{notices:?}");

    let following = Running::start(&mut command(&farm.balancer, &["events", "-f"]));
    following.wait_for_output(last);
    printed(&farm.balancer, &["undrain", &server]);
    following.wait_for_output("no longer drained");
    farm.balancer.kill();
    following.wait_for_error("the balancer is away");
    farm.balancer.restart();
    following.wait_for_error("restarted");
    printed(&farm.balancer, &["weight", &server, "7"]);
    let all = following.wait_for_output("weight 7");
    assert_eq!(all.matches("no longer drained").count(), 1, "{all}");
    assert!(
        all.matches("weight 7").count() == 1 && all.contains("probes answered"),
        "what it missed, it is told: {all}"
    );
    following.signal("TERM");
    assert_ne!(following.wait().code, Some(0));
}

#[test]
fn watching_without_a_terminal_prints_again_and_again_and_survives_a_restart() {
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
    // Ctrl-C is for the whole group; the shell is to live through it.
    let script =
        format!(r#"trap : INT; stty {size}; "$@"; code=$?; stty -a; echo "ended with $code.""#);
    Terminal::run(
        dir,
        &script,
        &[args, &["--admin", admin(balancer)]].concat(),
    )
}

/// Waits for the command's end; it left the screen, and the terminal as it was.
#[track_caller]
fn check_given_back(mut terminal: Terminal, code: i32) {
    terminal.expect("\x1b[?25h\x1b[?1049l");
    let modes = terminal.expect(&format!("ended with {code}."));
    for mode in [" icanon", " echo ", "susp = ^Z", "quit = ^\\"] {
        assert!(modes.contains(mode), "{mode} in {modes}");
    }
    assert_eq!(terminal.end().0, Some(0));
}

/// The one process in this directory that is a watcher.
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
fn the_watch_fills_the_screen_lives_through_a_restart_and_gives_the_terminal_back() {
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
    terminal.expect("STALE");
    farm.balancer.restart();
    terminal.expect("0 accepted");
    terminal.expect("2 of 2 can get files");
    terminal.press("q");
    check_given_back(terminal, 0);
}

#[test]
fn the_watch_ends_by_signals_too() {
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

#[test]
fn colours_are_for_terminals_that_want_them() {
    let farm = Farm::start(&[1]);
    let show = |args: &[&str], script: &str| {
        let args = [&["status"], args, &["--admin", admin(&farm.balancer)]].concat();
        Terminal::run(farm.dir.path(), script, &args)
    };
    show(&[], r#"exec "$@""#).expect(" \x1b[32mup\x1b[0m ");
    show(&["--no-color"], r#"exec "$@""#).expect(" up ");
    show(&[], r#"NO_COLOR=1 exec "$@""#).expect(" up ");
}

const DEMO: [&str; 11] = [
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

#[test]
fn the_demos_prompt_drains_and_weighs_and_its_banner_names_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = bilico(&DEMO);
    let mut demo = Running::start(
        demo.args(["--files", sample_files()])
            .current_dir(dir.path()),
    );
    let banner = demo.wait_for_output("Each is a process");
    let page = banner
        .lines()
        .find_map(|line| line.strip_prefix("page "))
        .unwrap()
        .trim();
    let page = page
        .strip_prefix("http://")
        .and_then(|page| page.strip_suffix('/'))
        .unwrap();
    let live = crate::harness::http_at(page, "GET", "/live", None);
    assert_eq!(live.status, 200, "{live:?}");
    let servers: Vec<&str> = banner
        .lines()
        .filter_map(|line| line.strip_prefix("server "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    demo.write(&format!("weight {} 5\n", port(servers[2])));
    demo.wait_for_output(&format!(
        "{} has weight 5: 50.0 % of the files from now on",
        servers[2]
    ));
    demo.write(&format!("Drain {}\n", servers[0]));
    demo.wait_for_output(&format!("{} is drained", servers[0]));
    demo.write("FTP 70\nstatus\n");
    demo.wait_for_output("70 accepted, 70 delivered");
    let stored = |place: usize| {
        crate::harness::stored(&dir.path().join(format!("json_files_{place}"))).len()
    };
    assert_eq!(stored(1), 0, "it is drained");
    assert!(
        (18..=22).contains(&stored(2)) && (48..=52).contains(&stored(3)),
        "{} {}",
        stored(2),
        stored(3)
    );
    demo.write(&format!("undrain {}\nhelp\n", port(servers[0])));
    demo.wait_for_output(&format!(
        "{} is no longer drained: 30.0 % of the files from now on",
        servers[0]
    ));
    demo.wait_for_output("weight S N");
    demo.write(&format!(
        "weight {} -1\ndrain elsewhere\nweight\n",
        servers[0]
    ));
    demo.wait_for_error("error: `-1` is no weight");
    demo.wait_for_error("error: there is no server \"elsewhere\"");
    demo.wait_for_error("error: unknown command \"weight\"");
    demo.write("exit\n");
    let ended = demo.end();
    assert_eq!(
        ended.code,
        Some(1),
        "a script is told of its failures: {}",
        ended.stderr
    );
}

#[test]
fn the_prompt_over_a_balancer_needs_to_know_where_it_answers_operators() {
    let farm = Farm::start(&[1, 1]);
    let server = &*farm.servers[1].address;
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let ended = run(
        bilico(&args).env_remove("BILICO_ADMIN"),
        &format!("drain {server}\n"),
    );
    assert!(
        ended.code == Some(1)
            && ended.stderr.contains("hint: ")
            && ended.stderr.contains("--admin"),
        "{ended:?}"
    );
    assert!(!farm.server_status(1).drained);
    let mut terminal = Terminal::start(
        farm.dir.path(),
        &[&args[..], &["--admin", admin(&farm.balancer)]].concat(),
    );
    terminal.expect(PROMPT);
    terminal.enter(&format!("drain {server}"));
    terminal.expect("is drained");
    terminal.expect(PROMPT);
    assert!(farm.server_status(1).drained);
    terminal.signal(Signal::SIGTERM);
    terminal.end();
}

#[test]
fn a_demo_whose_page_has_no_port_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let mut args = DEMO.to_vec();
    args[4] = &address;
    let ended = run(
        bilico(&args)
            .args(["--files", sample_files()])
            .current_dir(dir.path()),
        "exit\n",
    );
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .starts_with(&format!("error: port {} is in use", port(&address))),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("\nhint: ") && ended.stderr.contains("--admin"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was started"
    );
}
