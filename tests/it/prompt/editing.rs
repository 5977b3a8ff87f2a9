//! What the prompt does for people who type: completion, history, and answers to mistakes.

use std::fs;
use std::path::Path;

use bilico_testkit::{Farm, PROMPT, Terminal};

use super::helpers::{client, script, terminal, write};

fn with_history(farm: &Farm, place: &str, flags: &[&str]) -> Terminal {
    let args = ["client", "--balancer", &farm.balancer.address];
    let script = format!(r#"unset BILICO_HISTORY; {place} exec "$@""#);
    let mut terminal = Terminal::run(farm.dir.path(), &script, &[&args, flags].concat());
    terminal.expect(PROMPT);
    terminal
}

#[test]
fn tab_completes_commands_files_and_servers() {
    let farm = Farm::start(&[2, 1]);
    write(farm.dir.path(), "two words.txt", "by its path");
    let mut terminal = terminal(&farm);
    terminal.press("se\t");
    terminal.expect("send ");
    terminal.press("'two\t");
    terminal.expect("send 'two words.txt' ");
    terminal.press("till\t\r");
    terminal.expect("2 accepted, 2 delivered");
    terminal.expect(PROMPT);
    let names: Vec<_> = farm.all_stored().into_keys().collect();
    assert!(
        names.iter().any(|name| name.ends_with("_two words.txt")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("receipt")),
        "{names:?}"
    );
    let port = farm.servers[1].address.rsplit_once(':').unwrap().1;
    terminal.press(&format!("drain {port}\t"));
    terminal.expect(&format!("drain {}", farm.servers[1].address));
    terminal.press("\x03");
    terminal.expect(PROMPT);
    // Nobody answers any more.
    farm.balancer.signal("STOP");
    terminal.press("drain 1\t");
    terminal.press("\x03");
    terminal.expect(PROMPT);
    farm.balancer.signal("CONT");
    terminal.enter("status");
    terminal.expect("2 accepted");
}

#[test]
fn commands_are_recalled_in_the_next_session_and_mistakes_are_not_kept() {
    let farm = Farm::start(&[1]);
    let state = farm.dir.path().join("state");
    let place = format!("XDG_STATE_HOME='{}'", state.display());
    let mut first = with_history(&farm, &place, &[]);
    first.enter("FTP 2");
    first.expect("2 accepted, 2 delivered");
    first.expect(PROMPT);
    first.enter("export BILICO_TOKEN=bilico_secret");
    first.expect("is a command of the shell");
    first.expect(PROMPT);
    first.press("\x1b[A");
    first.expect("bilico_secret");
    first.press("\x03");
    first.expect(PROMPT);
    first.enter("exit");
    assert_eq!(first.end().0, Some(0));
    let kept = fs::read_to_string(state.join("bilico/history")).unwrap();
    assert!(kept.contains("FTP 2") && !kept.contains("secret"), "{kept}");
    let mut second = with_history(&farm, &place, &[]);
    second.press("\x1b[A\x1b[A");
    second.expect("FTP 2");
    second.press("\r");
    second.expect("2 accepted, 2 delivered");
}

#[test]
fn the_history_can_be_switched_off_and_an_unwritable_one_is_no_error() {
    let farm = Farm::start(&[1]);
    let state = farm.dir.path().join("state");
    let place = format!("XDG_STATE_HOME='{}'", state.display());
    for (place, flags) in [
        (place.as_str(), &["--history", "none"][..]),
        ("XDG_STATE_HOME=/proc/nowhere", &[]),
    ] {
        let mut terminal = with_history(&farm, place, flags);
        terminal.enter("FTP 1");
        let shown = terminal.expect("1 accepted, 1 delivered");
        assert!(!shown.contains("error"), "{shown}");
        terminal.expect(PROMPT);
        terminal.enter("exit");
        assert_eq!(terminal.end().0, Some(0));
    }
    assert!(!state.exists());
    // A script leaves nothing.
    let mut scripted = client(&farm.balancer.address);
    scripted
        .env("XDG_STATE_HOME", &state)
        .env_remove("BILICO_HISTORY");
    assert_eq!(bilico_testkit::run(&mut scripted, "FTP 1\n").code, Some(0));
    assert!(!state.exists());
}

#[test]
fn patterns_and_the_home_directory_work_as_in_a_shell() {
    let farm = Farm::start(&[1]);
    let dir = farm.dir.path();
    for name in ["up/a.txt", "up/b.txt", "up/c.json", "home/mine.txt"] {
        let (folder, name) = name.split_once('/').unwrap();
        write(&dir.join(folder), name, name);
    }
    fs::create_dir(dir.join("up/sub")).unwrap();
    let mut command = client(&farm.balancer.address);
    command.current_dir(dir).env("HOME", dir.join("home"));
    let ended = bilico_testkit::run(&mut command, "send up/*.txt ~/mine.txt\nsend up/*\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.starts_with("1 directory left out"),
        "{ended:?}"
    );
    let stored = farm.all_stored();
    let titles = stored.keys().map(|name| name.split_once('_').unwrap().1);
    let mut titles: Vec<_> = titles.collect();
    titles.sort_unstable();
    let expected = ["a.txt", "a.txt", "b.txt", "b.txt", "c.json", "mine.txt"];
    assert_eq!(titles, expected);
}

#[test]
fn mistakes_get_an_answer_that_helps_and_nothing_is_sent() {
    let farm = Farm::start(&[1]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let here = here.display();
    for (line, said) in [
        (format!("send {here}"), "hint: send -r "),
        ("send 'a".to_owned(), "the quote ' is not closed"),
        ("send -x".to_owned(), "no option -x"),
        ("send *.nothing".to_owned(), "no file matches *.nothing"),
        ("FTP 1 2".to_owned(), "usage: FTP [N]"),
        ("Ftp20".to_owned(), "did you mean `FTP 20`?"),
        ("kill -9 1".to_owned(), "a command of the shell"),
        ("bilico queue ls".to_owned(), "run `bilico queue ls`"),
    ] {
        let ended = script(&farm, &format!("{line}\n"));
        assert_eq!(ended.code, Some(1), "{line}: {ended:?}");
        assert!(ended.stderr.contains(said), "{line}: {ended:?}");
    }
    let ended = script(&farm, "bilico status\nhelp send\nsend --help\nclear\n");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert_eq!(ended.stdout.matches("send NAME…").count(), 2, "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
    assert_eq!(farm.status().accepted, 0);
}

/// It once needed a folder `sample_files` in the current directory.
#[test]
fn without_a_folder_the_samples_of_the_program_are_sent() {
    let farm = Farm::start(&[1]);
    let mut command = bilico_testkit::bilico(&["client", "--balancer", &farm.balancer.address]);
    command.current_dir(farm.dir.path());
    let ended = bilico_testkit::run(&mut command, "FTP\n20\nls\nsend till*\nexit\n");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert!(
        ended.stdout.contains("10 sample files in the program"),
        "{ended:?}"
    );
    super::helpers::check_stored(&farm, 21);
}
