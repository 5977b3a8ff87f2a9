//! The commands of the prompt.

/// The most files that one command sends: a typing error must not run for days.
const MOST: usize = 10_000_000;

/// What `help` shows.
pub(super) const HELP: &str = "\
FTP [N]       send N files picked at random from the folder; asks how many without N
send NAME…    send these files from the folder, or by path; -r: those in directories, too
ls            list the files in the folder
status        what the balancer and its servers do
drain S       send nothing new to server S: its name, or a part of it such as 5003
undrain S     send files to it again
weight S N    give it the weight N
help          this list
exit          leave";

/// The names of all commands, for a hint.
pub(super) const NAMES: &str = "FTP, send, ls, status, drain S, undrain S, weight S N, help, exit";

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
    Help,
    Exit,
    Nothing,
    Unknown(String),
}

/// Reads a command. Case matters only in the names of files; quotes keep names with spaces
/// together.
pub(super) fn parse(line: &str) -> Command {
    let Some(words) = shlex::split(line) else {
        return Command::Unknown(line.trim().to_owned());
    };
    let mut words = words.into_iter();
    let Some(first) = words.next() else {
        return Command::Nothing;
    };
    match (first.to_lowercase().as_str(), words.collect::<Vec<_>>()) {
        ("ftp", mut rest) if rest.len() <= 1 => Command::Ftp(rest.pop()),
        ("send", names) => Command::Send(names),
        ("ls", rest) if rest.is_empty() => Command::List,
        ("status", rest) if rest.is_empty() => Command::Status,
        ("drain", mut rest) if rest.len() == 1 => Command::Drain(rest.remove(0)),
        ("undrain", mut rest) if rest.len() == 1 => Command::Undrain(rest.remove(0)),
        ("weight", mut rest) if rest.len() == 2 => Command::Weight(rest.remove(0), rest.remove(0)),
        ("help" | "?", _) => Command::Help,
        ("exit" | "quit", rest) if rest.is_empty() => Command::Exit,
        _ => Command::Unknown(line.trim().to_owned()),
    }
}

/// Reads a number of files.
pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    let text = text.trim();
    match text.parse() {
        Ok(count) if (1..=MOST).contains(&count) => Ok(count),
        _ => Err(format!(
            "invalid number of files {text:?}: expected 1 to 10,000,000"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("send 'a", Command::Unknown("send 'a".into())),
            ("LS", Command::List),
            ("Status", Command::Status),
            ("Drain :5003", Command::Drain(":5003".into())),
            ("undrain 5003", Command::Undrain("5003".into())),
            ("WEIGHT 5003 6", Command::Weight("5003".into(), "6".into())),
            ("drain", Command::Unknown("drain".into())),
            ("drain a b", Command::Unknown("drain a b".into())),
            ("weight 5003", Command::Unknown("weight 5003".into())),
            ("?", Command::Help),
            ("EXIT", Command::Exit),
            ("quit", Command::Exit),
            ("", Command::Nothing),
            (" \t", Command::Nothing),
            ("ftp 1 2", Command::Unknown("ftp 1 2".into())),
            ("rm -rf /", Command::Unknown("rm -rf /".into())),
        ] {
            assert_eq!(parse(line), command, "{line:?}");
        }
    }

    #[test]
    fn invalid_counts_are_named() {
        assert_eq!(parse_count(" 60 "), Ok(60));
        for text in [
            "",
            "0",
            "-1",
            "1.5",
            "x",
            "10000001",
            "99999999999999999999",
        ] {
            let error = parse_count(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
