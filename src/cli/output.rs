//! How commands end and what they print: exit codes and failures; standard output for data,
//! standard error for everything else.
//!
//! Invariant: data that cannot be written ends the process with [`Exit::Failed`], and the reason is
//! reported. The exception is a closed pipe: its reader has seen enough.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{self, ErrorKind, StdoutLock, Write};
use std::num::ParseIntError;

use super::contexts;
use crate::client::ClientError;
use crate::protocol::RefusalCode;
use crate::text::{PrintableJson, PrintableLines};

/// Exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything reached the state that the command waits for.
    Done = 0,
    /// Something failed: a file was refused, unreadable, changed while it was read, dead or
    /// forgotten; something was left out of a directory; the servers' files differ from the receipts; output cannot be written; or a role
    /// cannot start or continue.
    Failed = 1,
    /// The command line or the configuration file is invalid.
    Usage = 2,
    /// The balancer cannot be reached, or the connection to it was lost.
    Unreachable = 3,
    /// No server can take files, or none could when the time limit passed.
    NoServer = 4,
    /// The time limit passed.
    TimedOut = 5,
    /// The journal cannot be read or written, or a server's directory was moved or replaced.
    Journal = 6,
    /// Ctrl-C or SIGTERM ended the command early.
    Interrupted = 130,
}

/// Why a command failed, and the remedy if one is known.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) hint: Option<String>,
    pub(super) exit: Exit,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Display) -> Self {
        Self {
            error: error.to_string(),
            hint: None,
            exit,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = match &error {
            ClientError::Connect { address, source } => {
                let context = contexts::behind(address);
                format!("cannot reach the balancer at {address}{context}: {source}")
            }
            other => other.to_string(),
        };
        let failure = Self::new(Exit::Unreachable, text);
        match error {
            ClientError::Connect { .. } => failure.hint(
                "start one with `bilico demo` or `bilico balancer`, or name another with \
                     --balancer",
            ),
            ClientError::Denied(refusal) if refusal.code != RefusalCode::Unauthorized => Self {
                exit: Exit::Failed,
                ..failure
            },
            ClientError::WantsToken(_) | ClientError::Denied(_) => Self {
                exit: Exit::Failed,
                ..failure
            }
            .hint("`bilico login --user NAME` gets a token, or pass --token-file FILE"),
            ClientError::PlainText(_) => failure.hint(
                "use TLS: pass --ca FILE; or, within this machine, name it as 127.0.0.1 or localhost",
            ),
            _ => failure,
        }
    }
}

/// Writes an error, and its remedy, to standard error.
pub(super) fn complain(error: &str, hint: Option<&str>) {
    tell("error", error);
    if let Some(hint) = hint {
        tell("hint", hint);
    }
}

/// Writes a warning to standard error.
pub(super) fn warn(warning: &str) {
    tell("warning", warning);
}

/// Continuation lines are indented: text that comes from elsewhere, such as a title, cannot forge
/// an `error:` line.
fn tell(what: &str, text: &str) {
    let text = PrintableLines(text.trim_end_matches('\n'))
        .to_string()
        .replace('\n', "\n  ");
    // If standard error is closed, nobody can be told.
    let _ = writeln!(io::stderr().lock(), "{what}: {text}");
}

/// Writes a line to standard error that is neither data nor an error.
pub(super) fn note(text: impl Display) {
    // If standard error is closed, nobody can be told.
    let _ = writeln!(io::stderr().lock(), "{}", PrintableLines(text));
}

/// Writes text to standard output; control characters are escaped.
pub(super) fn say(text: impl Display) {
    say_as_is(PrintableLines(text));
}

/// Writes a line of JSON to standard output.
pub(super) fn say_json(json: impl Display) {
    say_as_is(PrintableJson(json));
}

/// Writes a line of data to standard output, as it is.
pub(super) fn say_as_is(line: impl Display) {
    // `Stdout` ends the process on an error.
    let _ = writeln!(Stdout::lock(), "{line}");
}

/// Writes data that has its own line ends.
pub(super) fn print(bytes: &[u8]) {
    let mut stdout = Stdout::lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Prints clap's own message and ends the process. Help and the version go to standard output.
pub(super) fn end_parsing(said: &clap::Error) -> ! {
    if let Some(source) = said.source().filter(|source| source.is::<ParseIntError>()) {
        let text = said.render().to_string();
        let text = text.replacen(&source.to_string(), "expected a whole number", 1);
        let _ = write!(io::stderr().lock(), "{text}");
        std::process::exit(said.exit_code());
    }
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => end(&error),
        _ => std::process::exit(said.exit_code()),
    }
}

/// Standard output. Any error except `Interrupted`, which callers retry, ends the process.
#[derive(Debug)]
pub(super) struct Stdout(StdoutLock<'static>);

impl Stdout {
    pub(super) fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(end_unless_interrupted)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(end_unless_interrupted)
    }
}

fn end_unless_interrupted(error: &io::Error) {
    if error.kind() != ErrorKind::Interrupted {
        end(error);
    }
}

fn end(error: &io::Error) -> ! {
    if error.kind() != ErrorKind::BrokenPipe {
        complain(&format!("cannot write to standard output: {error}"), None);
    }
    std::process::exit(i32::from(Exit::Failed as u8))
}
