//! `bilico` at a terminal of its own.

use std::path::Path;
use std::process::Command;

use rexpect::process::{Signal, WaitStatus};
use rexpect::session::PtySession;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::program;
use crate::wait::wait_for;

/// The prompt of `bilico client`.
pub const PROMPT: &str = "bilico> ";

/// `bilico` at a terminal, used as a person would use it. It is ended on drop.
pub struct Terminal {
    session: PtySession,
    /// Whether the program asked the terminal to mark pasted text.
    marks_pastes: bool,
}

impl Terminal {
    /// Runs `bilico` with these arguments at a terminal of 40 rows and 120 columns.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::run(dir, r#"exec "$@""#, args)
    }

    /// Runs a shell script at a terminal. Its `$@` is the program and the arguments.
    pub fn run(dir: &Path, script: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("stty sane rows 40 cols 120; {script}"), "sh"])
            .arg(program());
        command
            .args(args)
            .current_dir(dir)
            .env("TERM", "xterm-256color")
            // Tests must not change what the developer's prompt remembers.
            .env("BILICO_HISTORY", "none")
            .env_remove("NO_COLOR");
        let options = rexpect::reader::Options::new().timeout_ms(Some(30_000));
        let mut session = rexpect::session::spawn_with_options(command, options).unwrap();
        session.process_mut().set_kill_timeout(Some(1000));
        Self {
            session,
            marks_pastes: false,
        }
    }

    /// Waits for this text and returns the output before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let before = self.expect_raw(text);
        plain(&before)
    }

    /// The same with the control sequences in it.
    #[track_caller]
    pub fn expect_raw(&mut self, text: &str) -> String {
        // The library reads each byte as a character.
        let bytes: String = text.bytes().map(char::from).collect();
        match self.session.exp_string(&bytes) {
            Ok(before) => {
                if let Some((_, mode)) = before.rsplit_once("\x1b[?2004") {
                    self.marks_pastes = mode.starts_with('h');
                }
                decode(&before)
            }
            Err(error) => panic!("no {text:?} on the terminal: {}", unexpected(error)),
        }
    }

    /// Gives the terminal this many columns.
    pub fn resize(&mut self, columns: u16) {
        let terminal = self.session.process().get_file_handle().unwrap();
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(terminal, size).unwrap();
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Pastes this text, with marks around it if the program asked for them.
    pub fn paste(&mut self, text: &str) {
        if self.marks_pastes {
            self.press(&format!("\x1b[200~{text}\x1b[201~"));
        } else {
            self.press(text);
        }
    }

    /// Types a line and presses Enter.
    pub fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Sends the process a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.session.process_mut().signal(signal).unwrap();
    }

    /// Waits until the process ends. Returns its exit code and the rest of its output.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let rest = self
            .session
            .exp_eof()
            .unwrap_or_else(|error| panic!("no end: {}", unexpected(error)));
        let code = wait_for("the process at the terminal to end", || {
            match self.session.process().status() {
                Some(WaitStatus::Exited(_, code)) => Some(Some(code)),
                Some(WaitStatus::Signaled(..)) | None => Some(None),
                Some(_) => None,
            }
        });
        (code, plain(&decode(&rest)))
    }
}

/// The last output of a terminal on which the expected text did not come.
fn unexpected(error: rexpect::error::Error) -> String {
    let (rexpect::error::Error::EOF { got, .. } | rexpect::error::Error::Timeout { got, .. }) =
        error
    else {
        return error.to_string();
    };
    let got = plain(&decode(&got));
    format!(
        "{:?}",
        got.get(got.floor_char_boundary(got.len().saturating_sub(600))..)
    )
}

/// Decodes bytes that were read as one character each.
fn decode(text: &str) -> String {
    let bytes: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Removes control sequences.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        plain.push_str(end.get(1..).unwrap_or_default());
    }
    plain
}
