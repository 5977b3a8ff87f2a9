//! Lines from standard input: with editing and history on a terminal, plain from a pipe or a file.
//!
//! Reading blocks, so a thread of its own does it, and only when a line is asked for.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc as blocking;
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::text::PrintableLines;

/// The answer to a question at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// No more lines.
    End,
}

/// The source of lines.
pub(super) struct Lines {
    asks: blocking::Sender<(String, bool)>,
    answers: mpsc::UnboundedReceiver<Line>,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    /// Restores the terminal, even when the process ends in the middle of a line.
    _terminal: Option<Terminal>,
}

impl Lines {
    /// Lines from standard input.
    pub(super) fn open() -> io::Result<Self> {
        let (asks, asked) = blocking::channel();
        let (to_us, answers) = mpsc::unbounded_channel();
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let (terminal, mut editor) = if is_terminal {
            // Pasted lines are commands, as typed ones are.
            let config = Config::builder().bracketed_paste(false).build();
            (
                Terminal::save(),
                Some(DefaultEditor::with_config(config).map_err(io::Error::other)?),
            )
        } else {
            (None, None)
        };
        let printer = editor
            .as_mut()
            .and_then(|editor| editor.create_external_printer().ok());
        let printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter + Send>);
        let read = move || match editor {
            Some(editor) => edit(editor, &asked, &to_us),
            None => read_plain(&asked, &to_us),
        };
        thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(read)?;
        Ok(Self {
            asks,
            answers,
            printer,
            _terminal: terminal,
        })
    }

    /// Whether a person types at a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.printer.is_some()
    }

    /// Asks for a line; on a terminal `prompt` does so visibly, and the line can be `recalled`
    /// later. [`Self::answer`] then gives it, once.
    pub(super) fn ask(&mut self, prompt: &str, recalled: bool) {
        // If the thread has ended, the answer is the end.
        let _ = self.asks.send((prompt.to_owned(), recalled));
    }

    /// Waits for the line that was asked for. Safe to cancel and call again.
    pub(super) async fn answer(&mut self) -> Line {
        self.answers.recv().await.unwrap_or(Line::End)
    }

    /// Hides typed characters until the guard is dropped; they stay for the next line.
    pub(super) fn hush(&self) -> Option<Hush> {
        self.is_terminal().then(Hush::new).flatten()
    }

    /// Shows a notice without disturbing what is being typed.
    pub(super) fn notice(&mut self, text: &str) {
        let text = PrintableLines(text);
        let shown = match &mut self.printer {
            Some(printer) => printer.print(format!("{text}\n")).is_ok(),
            None => false,
        };
        if !shown {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

fn edit(
    mut editor: DefaultEditor,
    asked: &blocking::Receiver<(String, bool)>,
    lines: &mpsc::UnboundedSender<Line>,
) {
    while let Ok((prompt, recalled)) = asked.recv() {
        let line = match editor.readline(&prompt) {
            Ok(text) => {
                if recalled {
                    let _ = editor.add_history_entry(&text);
                }
                Line::Text(text)
            }
            Err(ReadlineError::Interrupted) => Line::Interrupted,
            Err(_) => Line::End,
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

fn read_plain(asked: &blocking::Receiver<(String, bool)>, lines: &mpsc::UnboundedSender<Line>) {
    let mut input = io::stdin().lock();
    while asked.recv().is_ok() {
        let mut bytes = Vec::new();
        let line = match input.read_until(b'\n', &mut bytes) {
            Ok(read) if read > 0 => {
                Line::Text(String::from_utf8_lossy(&bytes).trim_end().to_owned())
            }
            _ => Line::End,
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// A terminal that does not echo. Restored on drop.
pub(super) struct Hush(Termios);

impl Hush {
    pub(super) fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The terminal's settings at the start. Restored on drop.
struct Terminal(Termios);

impl Terminal {
    fn save() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
