//! The commands of the prompt, and how they are read.

use super::about::about;
use super::mistake::{Elsewhere, Wrong, unknown, unsplit};

/// The most files that one command sends: a typing error must not run for days.
const MOST: usize = 10_000_000;

/// A command at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ftp(Option<String>),
    Send(Vec<String>),
    List,
    Status,
    Drain(String),
    Undrain(String),
    Weight(String, String),
    /// Of all commands, or of the one of this name.
    Help(Option<&'static str>),
    Clear,
    Exit,
    Nothing,
    Wrong(Wrong),
}

/// Reads a command. Case matters only in the names of files; quotes keep names with spaces
/// together. A `bilico` before it is dropped, as in a line that was copied from a shell.
pub(super) fn parse(line: &str, elsewhere: &Elsewhere) -> Command {
    let Some(words) = shlex::split(line) else {
        return Command::Wrong(unsplit(line));
    };
    let mut words = words.as_slice();
    let mut is_copied = false;
    if let [first, rest @ ..] = words
        && first == "bilico"
        && !rest.is_empty()
    {
        (words, is_copied) = (rest, true);
    }
    let Some((first, rest)) = words.split_first() else {
        return Command::Nothing;
    };
    if first.eq_ignore_ascii_case("clear") && rest.is_empty() {
        return Command::Clear;
    }
    let Some(about) = about(first) else {
        return Command::Wrong(unknown(line, words, is_copied, elsewhere));
    };
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        return Command::Help(Some(about.name));
    }
    match (about.name, rest) {
        ("FTP", []) => Command::Ftp(None),
        ("FTP", [count]) => Command::Ftp(Some(count.clone())),
        ("send", names) => Command::Send(names.to_vec()),
        ("ls", []) => Command::List,
        ("status", []) => Command::Status,
        ("drain", [server]) => Command::Drain(server.clone()),
        ("undrain", [server]) => Command::Undrain(server.clone()),
        ("weight", [server, weight]) => Command::Weight(server.clone(), weight.clone()),
        ("help", []) => Command::Help(None),
        ("help", [name]) => match self::about(name) {
            Some(about) => Command::Help(Some(about.name)),
            None => Command::Wrong(unknown(name, rest, false, elsewhere)),
        },
        ("exit", []) => Command::Exit,
        _ => Command::Wrong(Wrong {
            error: format!("unknown command {:?}", line.trim()),
            hint: format!("usage: {}", about.usage),
        }),
    }
}

/// Reads a number of files. Separators between digits do not matter.
pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let is_separated = text.starts_with(|c: char| c.is_ascii_digit());
    let digits: String = text
        .chars()
        .filter(|c| !(is_separated && matches!(c, ',' | '_')))
        .collect();
    match digits.parse() {
        Ok(count) if (1..=MOST).contains(&count) => Ok(count),
        _ => Err(format!(
            "invalid number of files {text:?}: expected 1 to 10,000,000"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere() -> Elsewhere {
        Elsewhere {
            subcommands: vec!["queue".into(), "status".into(), "logs".into()],
            is_program: |name| ["kill", "cat", "ls"].contains(&name),
        }
    }

    fn parsed(line: &str) -> Command {
        parse(line, &elsewhere())
    }

    #[test]
    fn commands_in_any_case() {
        for (line, command) in [
            ("FTP", Command::Ftp(None)),
            ("  ftp   20 ", Command::Ftp(Some("20".into()))),
            ("Ftp x", Command::Ftp(Some("x".into()))),
            (
                "SEND a.json B.txt",
                Command::Send(vec!["a.json".into(), "B.txt".into()]),
            ),
            ("send", Command::Send(vec![])),
            (
                "send 'a b.txt' \"c d\"",
                Command::Send(vec!["a b.txt".into(), "c d".into()]),
            ),
            ("LS", Command::List),
            ("Status", Command::Status),
            ("Drain :5003", Command::Drain(":5003".into())),
            ("undrain 5003", Command::Undrain("5003".into())),
            ("WEIGHT 5003 6", Command::Weight("5003".into(), "6".into())),
            ("?", Command::Help(None)),
            ("help FTP", Command::Help(Some("FTP"))),
            ("send --help", Command::Help(Some("send"))),
            ("weight -h", Command::Help(Some("weight"))),
            ("Clear", Command::Clear),
            ("EXIT", Command::Exit),
            ("quit", Command::Exit),
            ("", Command::Nothing),
            (" \t", Command::Nothing),
            ("bilico status", Command::Status),
            ("bilico send a", Command::Send(vec!["a".into()])),
        ] {
            assert_eq!(parsed(line), command, "{line:?}");
        }
    }

    /// Each answer once was the list of all commands.
    #[test]
    fn a_line_that_is_no_command_gets_the_word_that_helps() {
        for (line, error, hint) in [
            ("ftp 1 2", "\"ftp 1 2\"", "usage: FTP [N]"),
            ("drain", "\"drain\"", "usage: drain S"),
            ("drain a b", "\"drain a b\"", "usage: drain S"),
            ("weight 5003", "\"weight 5003\"", "usage: weight S N"),
            ("exit now", "\"exit now\"", "usage: exit"),
            ("Ftp20", "\"Ftp20\"", "did you mean `FTP 20`?"),
            ("ftp-5", "\"ftp-5\"", "did you mean `FTP`?"),
            ("sned a b", "\"sned a b\"", "did you mean `send`?"),
            ("staus", "\"staus\"", "did you mean `status`?"),
            ("help sned", "\"sned\"", "did you mean `send`?"),
            ("send 'a", "the quote ' is not closed", "put the other '"),
            (
                "send \"a b",
                "the quote \" is not closed",
                "put the other \"",
            ),
            ("send a\\", "nothing follows the last \\", "\\\\"),
            ("kill -9 17", "a command of the shell", "another terminal"),
            ("cd /tmp", "a command of the shell", "another terminal"),
            ("queue ls", "\"queue\"", "run `bilico queue ls` in another"),
            ("bilico queue ls", "\"queue\"", "run `bilico queue ls` in"),
            ("bilico sned", "\"bilico sned\"", "did you mean `send`?"),
            ("bilico", "\"bilico\"", "is the prompt of bilico"),
            ("rm -rf /", "unknown command \"rm -rf /\"", "FTP, send, ls"),
            ("xyzzy", "unknown command \"xyzzy\"", "FTP, send, ls"),
        ] {
            let Command::Wrong(wrong) = parsed(line) else {
                panic!("{line:?} is a command");
            };
            assert!(wrong.error.contains(error), "{line:?}: {wrong:?}");
            assert!(wrong.hint.contains(hint), "{line:?}: {wrong:?}");
        }
    }

    #[test]
    fn invalid_counts_are_named() {
        assert_eq!(parse_count(" 60 "), Ok(60));
        assert_eq!(parse_count("1,000_000"), Ok(1_000_000));
        for text in [
            "",
            "0",
            "-1",
            "1.5",
            "x",
            ",1",
            "10000001",
            "99999999999999999999",
        ] {
            let error = parse_count(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
