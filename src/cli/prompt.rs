//! Lines from whoever types: with editing and history on a terminal, plain from a pipe or a file.
//!
//! Reading blocks, so it has a thread of its own, which waits for a line only when it is asked for one.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc as blocking;
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

/// What came instead of a command, or the command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// No more lines.
    End,
}

/// Where the lines come from.
pub(super) struct Lines {
    asks: blocking::Sender<String>,
    answers: mpsc::UnboundedReceiver<Line>,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    /// Puts the terminal back as it was, even when the process ends in the middle of a line.
    _terminal: Option<Terminal>,
}

impl Lines {
    /// Lines from standard input.
    pub(super) fn open() -> io::Result<Self> {
        let (asks, asked) = blocking::channel();
        let (to_us, answers) = mpsc::unbounded_channel();
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let (terminal, mut editor) = if is_terminal {
            (Terminal::save(), Some(DefaultEditor::new().map_err(io::Error::other)?))
        } else {
            (None, None)
        };
        let printer = editor.as_mut().and_then(|editor| editor.create_external_printer().ok());
        let printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter + Send>);
        let read = move || match editor {
            Some(editor) => edit(editor, &asked, &to_us),
            None => read_plain(&asked, &to_us),
        };
        thread::Builder::new().name("prompt".to_owned()).spawn(read)?;
        Ok(Self { asks, answers, printer, _terminal: terminal })
    }

    /// Whether a person types at a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.printer.is_some()
    }

    /// The next line; on a terminal `prompt` asks for it. Call it again only once it has given a line.
    pub(super) async fn next(&mut self, prompt: &str) -> Line {
        if self.asks.send(prompt.to_owned()).is_err() {
            return Line::End;
        }
        self.answers.recv().await.unwrap_or(Line::End)
    }

    /// Shows a notice without disturbing what is being typed.
    pub(super) fn notice(&mut self, text: &str) {
        let shown = match &mut self.printer {
            Some(printer) => printer.print(format!("{text}\n")).is_ok(),
            None => false,
        };
        if !shown {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

fn edit(mut editor: DefaultEditor, asked: &blocking::Receiver<String>, lines: &mpsc::UnboundedSender<Line>) {
    while let Ok(prompt) = asked.recv() {
        let line = match editor.readline(&prompt) {
            Ok(text) => {
                let _ = editor.add_history_entry(&text);
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

fn read_plain(asked: &blocking::Receiver<String>, lines: &mpsc::UnboundedSender<Line>) {
    let mut input = io::stdin().lock();
    while asked.recv().is_ok() {
        let mut bytes = Vec::new();
        let line = match input.read_until(b'\n', &mut bytes) {
            Ok(read) if read > 0 => Line::Text(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            _ => Line::End,
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// The terminal's settings when we came.
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
