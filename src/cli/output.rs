//! Standard output for data, standard error for everything else.
//!
//! Invariant: data that cannot be written ends the process with [`Exit::Failed`], and the reason is told. Only a reader that
//! has gone needs none: it has seen enough.

use std::fmt::Display;
use std::io::{self, ErrorKind, StdoutLock, Write};

use super::Exit;

/// Writes an error, and its remedy, to standard error.
pub(super) fn complain(error: &str, hint: Option<&str>) {
    tell(format_args!("error: {error}"));
    if let Some(hint) = hint {
        tell(format_args!("hint: {hint}"));
    }
}

/// Writes a warning to standard error.
pub(super) fn warn(warning: &str) {
    tell(format_args!("warning: {warning}"));
}

/// Writes what is no data to standard error.
pub(super) fn tell(line: impl Display) {
    // Nobody can be told when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a line of data.
pub(super) fn say(line: impl Display) {
    // What fails ends the process.
    let _ = writeln!(Stdout::lock(), "{line}");
}

/// Writes data that has its own line ends.
pub(super) fn print(bytes: &[u8]) {
    let mut stdout = Stdout::lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Writes what the parser of the command line has to say, and ends the process: help and the version are data.
pub(super) fn end_parsing(said: &clap::Error) -> ! {
    match said.print().and_then(|()| io::stdout().flush()) {
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => end(&error),
        _ => std::process::exit(said.exit_code()),
    }
}

/// Standard output, which gives no error but one that can be tried again: any other ends the process.
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
