//! Standard output for data, standard error for everything else.
//!
//! Invariant: data that cannot be written ends the process with [`Exit::Failed`], and the reason is
//! told. Only a reader that has gone needs none: it has seen enough.

use std::fmt::Display;
use std::io::{self, ErrorKind, StdoutLock, Write};

use super::Exit;
use crate::text::{PrintableJson, PrintableLines};

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

/// Text may come from elsewhere: a line of it cannot pass for one of ours.
fn tell(what: &str, text: &str) {
    let text = PrintableLines(text.trim_end_matches('\n'))
        .to_string()
        .replace('\n', "\n  ");
    // Nobody can be told when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{what}: {text}");
}

/// Writes to standard error what is neither data nor an error.
pub(super) fn note(text: impl Display) {
    // Nobody can be told when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{}", PrintableLines(text));
}

/// Writes text to standard output; what would act on a terminal is escaped.
pub(super) fn say(text: impl Display) {
    say_as_is(PrintableLines(text));
}

/// Writes a line of JSON to standard output.
pub(super) fn say_json(json: impl Display) {
    say_as_is(PrintableJson(json));
}

/// Writes a line of data to standard output, as it is.
pub(super) fn say_as_is(line: impl Display) {
    // What fails ends the process.
    let _ = writeln!(Stdout::lock(), "{line}");
}

/// Writes data that has its own line ends.
pub(super) fn print(bytes: &[u8]) {
    let mut stdout = Stdout::lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Writes what the parser of the command line has to say, and ends the process: help and the
/// version are data.
pub(super) fn end_parsing(said: &clap::Error) -> ! {
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => end(&error),
        _ => std::process::exit(said.exit_code()),
    }
}

/// Standard output, which gives no error but one that can be tried again: any other ends the
/// process.
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
