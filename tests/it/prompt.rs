//! The prompt, at a terminal and in a pipe.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rexpect::process::Signal;

use crate::harness::{
    Ended, Farm, PROMPT, Role, Running, Terminal, bilico, run, sample_files, samples, signal,
    start_server, status, stored, wait_until,
};

/// The prompt over this balancer and the sample files.
fn client(address: &str) -> Command {
    bilico(&["client", "--balancer", address, "--files", sample_files()])
}

/// What the prompt over a farm and the sample files answers to a script.
fn script(farm: &Farm, input: &str) -> Ended {
    run(&mut client(&farm.balancer.address), input)
}

/// The prompt over a farm and the sample files at a terminal, ready for the first command.
fn terminal(farm: &Farm) -> Terminal {
    terminal_with(farm, &[])
}

/// The same with more flags.
fn terminal_with(farm: &Farm, flags: &[&str]) -> Terminal {
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let mut terminal = Terminal::start(farm.dir.path(), &[&args, flags].concat());
    terminal.expect(PROMPT);
    terminal
}

/// Checks that so many sample files are stored, each with the content of its payload.
fn check_stored(farm: &Farm, count: usize) {
    let (stored, samples) = (farm.all_stored(), samples());
    assert_eq!(stored.len(), count);
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1;
        assert_eq!(
            String::from_utf8(content).unwrap(),
            samples[title],
            "{name}"
        );
    }
}

/// The cells of the table row that begins with this server.
fn row<'a>(table: &'a str, server: &str) -> Vec<&'a str> {
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with(server));
    line.unwrap_or_else(|| panic!("no {server} in {table}"))
        .split_whitespace()
        .collect()
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), content).unwrap();
}

#[test]
fn at_the_start_the_files_are_listed_and_the_way_on_is_told() {
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
fn nonsense_is_named_and_the_prompt_comes_again() {
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

/// Who mistyped a path looks for what was typed: `send /etc` once answered with `error: etc: not a
/// regular file`.
#[test]
fn an_error_names_a_file_as_it_was_typed() {
    let farm = Farm::start(&[1]);
    let ended = script(&farm, "send /etc/no-such-file\n");
    assert!(ended.stderr.contains("/etc/no-such-file"), "{ended:?}");
    assert_ne!(ended.code, Some(0));
}

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

/// The answer to `How many files?` is no command: what arrow up brings is the command before it.
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

/// A line editor that reads ahead and is made anew for each line loses what was pasted or typed
/// behind that line.
#[test]
fn lines_typed_ahead_are_all_carried_out() {
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
fn lines_pasted_at_once_are_all_carried_out() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.paste("FTP 2\rFTP 3\rstatus\r");
    // In case the last line waits for it.
    terminal.press("\r");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect("3 accepted, 3 delivered");
    terminal.expect("5 accepted, 5 delivered since");
}

#[test]
fn ctrl_c_at_the_prompt_ends_with_130() {
    let farm = Farm::start(&[1]);
    let mut terminal = terminal(&farm);
    terminal.press("FT\x03");
    assert_eq!(terminal.end().0, Some(130));
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
fn sigterm_ends_the_prompt_whatever_it_does() {
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
fn what_is_typed_while_files_are_under_way_waits_its_turn_unseen() {
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
    for end in ["exit\r", "\x04", "\x03", "TERM"] {
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
fn a_terminal_that_can_do_nothing_is_enough() {
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
fn the_end_of_input_is_exit_also_in_the_middle_of_a_line() {
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
fn a_mistake_in_a_script_shows_in_the_exit_code_and_the_rest_still_runs() {
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
fn input_that_is_no_text_is_an_unknown_command() {
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
fn a_balancer_that_cannot_be_reached_is_exit_code_3_with_a_remedy() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for command in ["FTP 2\n", "status\n", "send till-receipt.json\n"] {
        let ended = run(&mut client(&address), command);
        assert_eq!(ended.code, Some(3), "{command:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(&address),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_folder_without_files_or_no_folder_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::create_dir(dir.path().join("only-a-folder")).unwrap();
    fs::create_dir(dir.path().join("only-a-folder/below")).unwrap();
    write(dir.path(), "a-file", "");
    for folder in ["empty", "only-a-folder", "missing", "a-file"] {
        let ended = run(
            bilico(&["client", "--files", folder]).current_dir(dir.path()),
            "",
        );
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(folder),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("hint: ") && ended.stderr.contains("--files"),
            "{ended:?}"
        );
    }
}

/// Editors leave links that lead nowhere beside the files they have open.
#[test]
fn a_link_that_leads_nowhere_does_not_spoil_the_folder() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    write(&folder, "a.txt", "a");
    std::os::unix::fs::symlink("nobody@nowhere:1", folder.join(".#a.txt")).unwrap();
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let ended = run(bilico(&args).current_dir(farm.dir.path()), "FTP 3\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(farm.status().delivered, 3);
}

#[test]
fn payloads_are_unwrapped_and_all_other_files_go_byte_for_byte() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    let every_byte: Vec<u8> = (0..=255).collect();
    write(&folder, "notes.bin", &every_byte);
    write(&folder, "list.json", "[1, 2,\n 3]");
    write(&folder, "broken.json", "{\"title\": \"x\", \"content\": ");
    write(&folder, "untitled.json", r#"{"content": "no title"}"#);
    write(
        &folder,
        "italiano.json",
        r#"{"titolo": "perché.json", "contenuto": "così \u00e8 \"la\" vita\n"}"#,
    );
    write(
        &folder,
        "payload.txt",
        r#"{"title": "not unwrapped", "content": "it is no .json"}"#,
    );
    write(&folder, "empty.json", "");
    let args = ["client", "--balancer", &farm.balancer.address];
    let names =
        "notes.bin list.json broken.json untitled.json italiano.json payload.txt empty.json";
    let mut command = bilico(&args);
    // The folder can also be named in the environment.
    command
        .env("BILICO_FILES", "files")
        .current_dir(farm.dir.path());
    let ended = run(&mut command, &format!("send {names}\n"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stored = farm.all_stored();
    for (number, name) in names.split(' ').enumerate() {
        let (stored_name, expected) = match name {
            "italiano.json" => ("perché.json", "così è \"la\" vita\n".as_bytes().to_vec()),
            raw => (raw, fs::read(folder.join(raw)).unwrap()),
        };
        assert_eq!(
            stored[&format!("{}_{stored_name}", number + 1)],
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_file_that_is_gone_since_it_was_listed_is_named_and_the_others_go() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    write(&folder, "gone.txt", "a");
    write(&folder, "here.txt", "b");
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let mut running = Running::start(bilico(&args).current_dir(farm.dir.path()));
    running.write("ls\n");
    running.wait_for_output("gone.txt");
    fs::remove_file(folder.join("gone.txt")).unwrap();
    running.write("FTP 40\n");
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{:?}", ended.code);
    assert!(ended.stderr.contains("error: gone.txt"), "{ended:?}");
    let delivered = farm.status().delivered;
    assert!(
        ended
            .stdout
            .contains(&format!("{delivered} accepted, {delivered} delivered")),
        "{ended:?}"
    );
    assert!(
        farm.all_stored()
            .keys()
            .all(|name| name.ends_with("_here.txt"))
    );
}

#[test]
fn a_reader_that_has_gone_ends_the_prompt_without_a_panic() {
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
fn the_end_of_a_time_limit_is_told_and_has_its_exit_code() {
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

#[test]
fn a_balancer_that_dies_is_told_and_the_prompt_goes_on_with_its_successor() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal_with(&farm, &["--retry", "2s"]);
    terminal.enter("FTP 4");
    terminal.expect("accepted 4");
    farm.balancer.kill();
    terminal.expect("reconnecting …");
    terminal.expect("error: ");
    let shown = terminal.expect(PROMPT);
    assert!(shown.contains("lost"), "{shown}");
    farm.servers = vec![start_server(farm.dir.path(), 1, &[])];
    let specs = [format!("{}=1", farm.servers[0].address)];
    let mut flags = vec!["balancer", "--listen", &farm.balancer.address];
    flags.extend(["--server", &specs[0]]);
    let balancer = Role::start(farm.dir.path(), &flags);
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    terminal.enter("FTP 2");
    terminal.expect("2 accepted, 2 delivered");
    wait_until("what the first one accepted to arrive, too", || {
        stored(&farm.server_dir(0)).len() == 6
    });
}
