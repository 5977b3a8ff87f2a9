//! Lines from standard input: with editing, history and completion on a terminal, plain from a pipe
//! or a file.
//!
//! Reading blocks, so a thread of its own does it, and only when a line is asked for.

mod history;

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext,
    EventHandler, ExternalPrinter, Helper, KeyEvent, RepeatCount,
};
use tokio::sync::mpsc;

use crate::text::PrintableLines;
pub(super) use history::{History, usual_place};

/// The answer to a question at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted {
        /// Whether nothing was typed.
        is_empty: bool,
    },
    /// No more lines.
    End,
}

/// Something that Tab can put in the place of a word.
#[derive(Debug)]
pub(super) struct Completion {
    shown: String,
    text: String,
    end: &'static str,
}

impl Completion {
    /// A word; `end` follows it if nothing else can be meant.
    pub(super) fn new(word: &str, end: &'static str) -> Self {
        Self::of(word.to_owned(), word.to_owned(), end)
    }

    /// A word that is inserted in another form than it is shown.
    pub(super) fn of(shown: String, text: String, end: &'static str) -> Self {
        Self { shown, text, end }
    }

    /// What is put in the place of the word.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// What Tab completes.
pub(super) trait Completions: Send {
    /// What can stand in the place of the word at the end of this text, and where that begins. Is
    /// called outside the runtime, and may block for a moment.
    fn complete(&self, text: &str) -> (usize, Vec<Completion>);
}

/// What the reading thread is told.
enum Order {
    /// Ask for a line with this prompt.
    Ask(String),
    /// The line can be recalled; `is_kept`, in later sessions, too.
    Recall { line: String, is_kept: bool },
}

/// The source of lines.
pub(super) struct Lines {
    orders: blocking::Sender<Order>,
    answers: mpsc::UnboundedReceiver<Line>,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    /// Restores the terminal, even when the process ends in the middle of a line.
    _terminal: Option<Terminal>,
}

impl Lines {
    /// Lines from standard input. On a terminal they are completed in this way, and kept in this
    /// history.
    pub(super) fn open(completions: Box<dyn Completions>, history: History) -> io::Result<Self> {
        let (orders, ordered) = blocking::channel();
        let (to_us, answers) = mpsc::unbounded_channel();
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let (terminal, mut reader) = if is_terminal {
            let saved = Terminal::save();
            let reader = Reader::new(completions, history).map_err(io::Error::other)?;
            (saved, Some(reader))
        } else {
            (None, None)
        };
        let printer = reader
            .as_mut()
            .and_then(|reader| reader.editor.create_external_printer().ok());
        let printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter + Send>);
        let read = move || match reader {
            Some(reader) => reader.run(&ordered, &to_us),
            None => read_plain(&ordered, &to_us),
        };
        thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(read)?;
        Ok(Self {
            orders,
            answers,
            printer,
            _terminal: terminal,
        })
    }

    /// Whether a person types at a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.printer.is_some()
    }

    /// Asks for a line; on a terminal `prompt` does so visibly. [`Self::answer`] then gives it,
    /// once.
    pub(super) fn ask(&mut self, prompt: &str) {
        // If the thread has ended, the answer is the end.
        let _ = self.orders.send(Order::Ask(prompt.to_owned()));
    }

    /// Lets a line be recalled later; if it `is_kept`, in later sessions, too.
    pub(super) fn recall(&mut self, line: &str, is_kept: bool) {
        let line = line.to_owned();
        let _ = self.orders.send(Order::Recall { line, is_kept });
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

/// Reads lines from a terminal.
struct Reader {
    editor: Editor<Assistant, MemHistory>,
    history: History,
    /// What was typed when Ctrl-C was pressed.
    interrupted: Arc<Mutex<Option<String>>>,
}

impl Reader {
    fn new(completions: Box<dyn Completions>, history: History) -> rustyline::Result<Self> {
        let config = Config::builder()
            // Pasted lines are commands, as typed ones are.
            .bracketed_paste(false)
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .history_ignore_space(true)
            .build();
        let earlier = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, earlier)?;
        editor.set_helper(Some(Assistant(completions)));
        let interrupted = Arc::default();
        let interrupt = Box::new(Interrupt(Arc::clone(&interrupted)));
        let ctrl_c = KeyEvent::ctrl('C');
        editor.bind_sequence(ctrl_c, EventHandler::Conditional(interrupt));
        for line in history.lines() {
            let _ = editor.add_history_entry(line);
        }
        Ok(Self {
            editor,
            history,
            interrupted,
        })
    }

    fn run(mut self, orders: &blocking::Receiver<Order>, lines: &mpsc::UnboundedSender<Line>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Ask(prompt) => {
                    if lines.send(self.read(&prompt)).is_err() {
                        return;
                    }
                }
                Order::Recall { line, is_kept } => {
                    let _ = self.editor.add_history_entry(&line);
                    if is_kept {
                        self.history.keep(&line);
                    }
                }
            }
        }
    }

    fn read(&mut self, prompt: &str) -> Line {
        let read = self.editor.readline(prompt);
        let mut interrupted = lock(&self.interrupted);
        match read {
            Ok(text) if interrupted.take().as_ref() == Some(&text) => Line::Interrupted {
                is_empty: text.is_empty(),
            },
            Ok(text) => Line::Text(text),
            Err(ReadlineError::Interrupted) => Line::Interrupted { is_empty: true },
            Err(_) => Line::End,
        }
    }
}

/// Ends the line at Ctrl-C, and remembers it. The editor's own way of ending it would lose the keys
/// that were pressed right after.
struct Interrupt(Arc<Mutex<Option<String>>>);

impl ConditionalEventHandler for Interrupt {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, at: &EventContext<'_>) -> Option<Cmd> {
        *lock(&self.0) = Some(at.line().to_owned());
        Some(Cmd::AcceptLine)
    }
}

fn lock(interrupted: &Mutex<Option<String>>) -> MutexGuard<'_, Option<String>> {
    interrupted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Helps the editor with completion alone.
struct Assistant(Box<dyn Completions>);

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.0.complete(line.get(..cursor).unwrap_or_default());
        let is_only = found.len() == 1;
        let found = found.into_iter().map(|found| Pair {
            display: PrintableLines(found.shown).to_string(),
            replacement: found.text + if is_only { found.end } else { "" },
        });
        Ok((start, found.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}

fn read_plain(orders: &blocking::Receiver<Order>, lines: &mpsc::UnboundedSender<Line>) {
    let mut input = io::stdin().lock();
    while let Ok(order) = orders.recv() {
        if !matches!(order, Order::Ask(_)) {
            continue;
        }
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
