//! The commands of the prompt, and what they print.

use std::fs;

use bilico_testkit::{Farm, PROMPT, Terminal, bilico, run, sample_files, wait_until};

use super::helpers::{check_stored, script, terminal, write};

/// The cells of the table row that begins with this server.
fn row<'a>(table: &'a str, server: &str) -> Vec<&'a str> {
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with(server));
    line.unwrap_or_else(|| panic!("no {server} in {table}"))
        .split_whitespace()
        .collect()
}

#[test]
fn the_start_lists_the_files_and_names_the_commands() {
    let farm = Farm::start(&[1]);
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let mut terminal = Terminal::start(farm.dir.path(), &args);
    let shown = terminal.expect(PROMPT);
    let files: Vec<_> = fs::read_dir(sample_files())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        shown.contains(&format!("{} files in", files.len())),
        "{shown}"
    );
    for file in files {
        assert!(shown.contains(file.to_str().unwrap()), "{shown}");
    }
    assert!(shown.contains("112 B"), "sizes are shown: {shown}");
    assert!(shown.contains("FTP") && shown.contains("help"), "{shown}");
    terminal.enter("exit");
    let (code, rest) = terminal.end();
    assert_eq!(code, Some(0), "{rest}");
}

#[test]
fn ftp_asks_how_many_and_stores_as_many() {
    let farm = Farm::start(&[3, 2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP");
    terminal.expect("How many files? ");
    terminal.enter("20");
    terminal.expect("20 accepted, 20 delivered");
    terminal.expect(PROMPT);
    check_stored(&farm, 20);
    terminal.enter("EXIT");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn ftp_with_a_number_does_not_ask_and_takes_any_case() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    for command in ["FTP 6", "ftp 6", "Ftp  6 "] {
        terminal.enter(command);
        let shown = terminal.expect("6 accepted, 6 delivered");
        assert!(!shown.contains("How many"), "{shown}");
        terminal.expect(PROMPT);
    }
    check_stored(&farm, 18);
}

#[test]
fn the_summary_shows_the_share_of_each_server_beside_its_weight() {
    let farm = Farm::start(&[3, 2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 60");
    terminal.expect("60 accepted, 60 delivered");
    let table = terminal.expect(PROMPT);
    for (server, cells) in farm.servers.iter().zip([
        ["3", "30", "50.0", "%", "50.0", "%"],
        ["2", "20", "33.3", "%", "33.3", "%"],
        ["1", "10", "16.7", "%", "16.7", "%"],
    ]) {
        assert_eq!(row(&table, &server.address)[1..], cells, "{table}");
    }
}

#[test]
fn send_ls_status_and_help_do_what_they_say() {
    let mut farm = Farm::start(&[3, 2, 1]);
    farm.servers[2].kill();
    wait_until("one to be seen down", || !farm.server_status(2).eligible);
    write(farm.dir.path(), "from elsewhere.txt", "by its path");
    write(farm.dir.path(), "elsewhere.txt", "by its path");
    let mut terminal = terminal(&farm);

    terminal.enter("send till-receipt.json");
    terminal.expect("1 accepted, 1 delivered");
    terminal.expect(PROMPT);
    check_stored(&farm, 1);

    terminal.enter("SEND elsewhere.txt price-list.json");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect(PROMPT);
    let by_path = farm
        .all_stored()
        .into_iter()
        .find(|(name, _)| name.ends_with("_elsewhere.txt"))
        .unwrap();
    assert_eq!(by_path.1, b"by its path");

    terminal.enter("ls");
    let files = terminal.expect(PROMPT);
    assert!(
        files.contains("inventory.json") && files.contains("194.5 KiB"),
        "{files}"
    );

    terminal.enter("Status");
    let table = terminal.expect(PROMPT);
    assert!(table.contains("3 accepted, 3 delivered"), "{table}");
    for (server, start) in farm.servers.iter().zip([["3", "up"], ["2", "up"]]) {
        assert_eq!(row(&table, &server.address)[1..3], start, "{table}");
    }
    let down = row(&table, &farm.servers[2].address).join(" ");
    assert!(!down.contains(" up "), "{table}");

    terminal.enter("help");
    let help = terminal.expect(PROMPT);
    for command in ["FTP", "send", "ls", "status", "help", "exit"] {
        assert!(
            help.contains(&format!("\n{command}")),
            "{command} in {help}"
        );
    }
}

#[test]
fn a_name_with_spaces_can_be_sent_in_quotes() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    write(&folder, "due parole è così.txt", "spaces");
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let ended = run(
        bilico(&args).current_dir(farm.dir.path()),
        "send \"due parole è così.txt\"\n",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(farm.all_stored()["1_due parole è così.txt"], b"spaces");
}

#[test]
fn an_unknown_command_is_named_and_the_prompt_comes_again() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    for (command, quoted) in [
        ("frobnicate now", "frobnicate now"),
        ("FTP x", "\"x\""),
        ("FTP 0", "\"0\""),
        ("FTP -1", "\"-1\""),
        ("FTP 1.5", "\"1.5\""),
        ("FTP 99999999999999", "\"99999999999999\""),
        ("FTP 99999999999999999999999", "\"99999999999999999999999\""),
        ("send no-such-file", "no-such-file"),
        ("send", "NAME"),
    ] {
        terminal.enter(command);
        terminal.expect("error: ");
        let shown = terminal.expect(PROMPT);
        assert!(shown.contains(quoted), "{command}: {shown}");
    }
    terminal.enter("FTP");
    terminal.expect("How many files? ");
    terminal.enter("many");
    terminal.expect("error: invalid number of files \"many\"");
    terminal.expect(PROMPT);
    terminal.enter("");
    let nothing = terminal.expect(PROMPT);
    assert!(
        !nothing.contains("error"),
        "an empty line is no mistake: {nothing}"
    );
    assert_eq!(farm.status().accepted, 0);
    terminal.enter("exit");
    assert_eq!(terminal.end().0, Some(0), "a person has seen the errors");
}

/// A person who mistyped a path looks for what was typed: `send /etc` once answered with `error:
/// etc: not a regular file`.
#[test]
fn an_error_names_a_file_as_it_was_typed() {
    let farm = Farm::start(&[1]);
    let ended = script(&farm, "send /etc/no-such-file\n");
    assert!(ended.stderr.contains("/etc/no-such-file"), "{ended:?}");
    assert_ne!(ended.code, Some(0));
}
