//! The terminal while the whole-screen view has it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::keys::Key;
use crate::cli::output::Failure;

/// What is drawn, and what it is told.
pub(super) trait Drawn {
    /// What is heard of the balancer.
    type Heard;

    /// Takes what was heard of the balancer; a failure that it cannot live with ends it.
    fn hear(&mut self, heard: Result<Self::Heard, Failure>) -> Result<(), Failure>;
    /// Takes a key.
    fn press(&mut self, key: Key);
    /// The lines of a screen of this size.
    fn lines(&mut self, height: usize, width: usize) -> Vec<String>;
}

/// Height and width that are assumed when the terminal does not report its size.
const SIZE: (usize, usize) = (24, 80);

/// Switches to the alternate screen and hides the cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Whether standard output is a terminal that can be drawn on.
pub(in crate::cli) fn is_possible() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The width of standard output; `None` if it is no terminal.
pub(in crate::cli) fn width() -> Option<usize> {
    io::stdout().is_terminal().then(|| size().1)
}

/// The same of its height.
pub(in crate::cli) fn height() -> Option<usize> {
    io::stdout().is_terminal().then(|| size().0)
}

fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).map_or((0, 0), |size| {
        (usize::from(size.ws_row), usize::from(size.ws_col))
    });
    if size.0 == 0 || size.1 == 0 {
        SIZE
    } else {
        size
    }
}

/// Holds the terminal. Dropping it restores the terminal's state, as a panic does.
pub(super) struct Screen;

/// The terminal's settings before [`Screen::enter`]; `None` if standard input is not a terminal.
static BEFORE: OnceLock<Option<Termios>> = OnceLock::new();

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let before = BEFORE.get_or_init(|| tcgetattr(io::stdin()).ok());
        if let Some(before) = before {
            let mut ours = before.clone();
            ours.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // Ctrl-Z and Ctrl-\ would stop or end this process without restoring the terminal.
            ours.special_codes[SpecialCodeIndex::VSUSP] = 0;
            ours.special_codes[SpecialCodeIndex::VQUIT] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        }
        // From here on dropping it restores the terminal.
        let screen = Self;
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            earlier(panic);
        }));
        write(ENTER)?;
        Ok(screen)
    }
}

/// Draws the lines that `lines` returns for the height and width of the terminal.
pub(super) fn draw(lines: impl FnOnce(usize, usize) -> Vec<String>) -> io::Result<()> {
    let (height, width) = size();
    // As a synchronized update, if the terminal supports it, so that no half-drawn frame is seen.
    let mut frame = "\x1b[?2026h\x1b[H".to_owned();
    for (place, line) in lines(height, width).iter().enumerate() {
        let next = if place == 0 { "" } else { "\r\n" };
        let _ = write!(frame, "{next}{line}\x1b[K");
    }
    frame.push_str("\x1b[J\x1b[?2026l");
    write(&frame)
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Errors cannot be reported here; restore as much as possible.
    let _ = write(LEAVE);
    if let Some(Some(before)) = BEFORE.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
