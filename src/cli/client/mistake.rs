//! What is said of a line that is no command: what was probably meant, or where it belongs.

use std::os::unix::fs::PermissionsExt;

use super::about::{COMMANDS, NAMES};
use super::words::open_quote;

/// Commands of a shell that are no programs.
const BUILT_IN: [&str; 10] = [
    "alias", "bg", "cd", "export", "fg", "history", "jobs", "set", "source", "unset",
];

/// A line that is no command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) error: String,
    pub(super) hint: String,
}

/// What can be run elsewhere than at this prompt.
pub(in crate::cli) struct Elsewhere {
    /// The subcommands of `bilico`.
    pub(super) subcommands: Vec<String>,
    /// Whether a shell would find a program of this name.
    pub(super) is_program: fn(&str) -> bool,
}

impl Elsewhere {
    pub(in crate::cli) fn new(subcommands: Vec<String>) -> Self {
        Self {
            subcommands,
            is_program,
        }
    }
}

/// Why a line cannot be split into words.
pub(super) fn unsplit(line: &str) -> Wrong {
    match open_quote(line) {
        Some(quote) => Wrong {
            error: format!("the quote {quote} is not closed: {:?}", line.trim()),
            hint: format!("put the other {quote} behind the name, or a \\ before this one"),
        },
        None => Wrong {
            error: format!("nothing follows the last \\: {:?}", line.trim()),
            hint: "\\\\ stands for one \\".to_owned(),
        },
    }
}

/// What to say of a line whose first word is no command. `is_copied`: a `bilico` stood before it.
pub(super) fn unknown(
    line: &str,
    words: &[String],
    is_copied: bool,
    elsewhere: &Elsewhere,
) -> Wrong {
    let line = line.trim();
    let error = format!("unknown command {line:?}");
    let Some(first) = words.first() else {
        return wrong(error, NAMES);
    };
    if first == "bilico" {
        return wrong(
            error,
            &format!("this is the prompt of bilico already: {NAMES}"),
        );
    }
    if elsewhere.subcommands.contains(first) {
        let whole = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
        return wrong(
            format!("{first:?} is not for this prompt"),
            &format!("run `bilico {whole}` in another terminal"),
        );
    }
    if let Some(meant) = meant(first) {
        return wrong(error, &format!("did you mean `{meant}`?"));
    }
    let is_of_a_shell = BUILT_IN.contains(&first.as_str()) || (elsewhere.is_program)(first);
    if is_of_a_shell && !is_copied {
        return wrong(
            format!("{first:?} is a command of the shell, not of this prompt"),
            "run it in another terminal",
        );
    }
    wrong(error, NAMES)
}

fn wrong(error: String, hint: &str) -> Wrong {
    Wrong {
        error,
        hint: hint.to_owned(),
    }
}

/// The command that a word is nearly, with the number that was written behind it.
fn meant(word: &str) -> Option<String> {
    let letters = word.trim_end_matches(|c: char| !c.is_alphabetic());
    let number = word.get(letters.len()..).unwrap_or_default();
    let name = nearest(letters)?;
    if name == "FTP" && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!("FTP {number}"));
    }
    Some(name.to_owned())
}

fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let far = if word.len() < 4 { 1 } else { 2 };
    COMMANDS
        .iter()
        .map(|about| {
            let name = about.name.to_lowercase();
            (strsim::osa_distance(&word, &name), about.name)
        })
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !name.contains('/')
        && std::env::split_paths(&path).any(|dir| {
            let found = std::fs::metadata(dir.join(name));
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}
