//! A progress line that stays one line.
//!
//! It is never wider than the terminal. When the terminal becomes narrower, it wraps what is on the
//! screen already, and the line becomes several rows. Therefore the cursor waits at the beginning of
//! the line, which stays its place however the rows are wrapped, and everything from there to the
//! end of the screen is cleared before the line is drawn again.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Clears everything from the beginning of the line.
pub(super) const CLEAR: &str = "\r\x1b[J";

/// How often the line is drawn at most, per second.
const RATE: u8 = 10;

/// The columns of a terminal that does not tell them.
const USUAL_WIDTH: u16 = 80;

/// Between two parts of the line.
const GAP: &str = "  ";

/// The columns of the widest bar, of a small one, and of none: a narrow terminal has more to tell.
const BARS: [(u16, usize); 3] = [(100, 24), (60, 10), (0, 0)];

/// Fewer columns tell nothing of a trouble.
const LEAST: usize = 10;

/// What is told beside the bar.
pub(in crate::cli) enum Part {
    /// It is shown whole or not at all.
    Whole(String),
    /// The reason why nothing moves: its beginning tells something, too.
    Trouble(String),
}

/// A progress line. Dropping it clears the line.
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
    has_length: bool,
}

impl Bar {
    /// `None` if standard error is not a terminal. `has_length`: it is known how much is to be done.
    pub(in crate::cli) fn on_terminal(has_length: bool) -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), RATE);
        let bar = ProgressBar::with_draw_target(None, target);
        Some(Self { bar, has_length })
    }

    /// The same for a line of text alone, which is drawn again each `tick`.
    pub(in crate::cli) fn of_text(tick: Duration) -> Option<Self> {
        let line = Self::on_terminal(false)?;
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        line.bar.set_style(style.ok()?);
        line.bar.enable_steady_tick(tick);
        Some(line)
    }

    /// Shows this text.
    pub(in crate::cli) fn set_text(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Clears the line while something else is written.
    pub(in crate::cli) fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Shows how much of `length` is done, and as many of the parts as there is room for.
    pub(in crate::cli) fn show(&self, done: u64, length: u64, parts: &[Part]) {
        let width = width();
        let bar = BARS.iter().find(|(least, _)| width >= *least);
        let bar = bar.map_or(0, |(_, bar)| *bar);
        let (template, taken) = match (self.has_length, bar) {
            (true, 0) => (
                "{spinner} {pos}/{len} {wide_msg}".to_owned(),
                format!("x {done}/{length} ").len(),
            ),
            (true, bar) => (
                format!("{{spinner}} {{bar:{bar}}} {{pos}}/{{len}} {{wide_msg}}"),
                bar + format!("x  {done}/{length} ").len(),
            ),
            (false, _) => (
                "{spinner} {pos} {wide_msg}".to_owned(),
                format!("x {done} ").len(),
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
        self.bar.set_length(length);
        self.bar.set_position(done);
        let room = usize::from(width).saturating_sub(taken);
        self.bar.set_message(fit(parts, room));
    }

    /// How much is done.
    pub(in crate::cli) fn position(&self) -> u64 {
        self.bar.position()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The parts that there is room for, whole. The first one is there in any case, and the reason of a
/// trouble as far as it goes.
fn fit(parts: &[Part], room: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let left = room.saturating_sub(line.width() + GAP.len());
        let text = match part {
            Part::Whole(text) if line.is_empty() || text.width() <= left => text.clone(),
            Part::Trouble(text) if left >= LEAST => cut(text, left),
            _ => continue,
        };
        if !line.is_empty() {
            line.push_str(GAP);
        }
        line.push_str(&text);
    }
    line
}

/// The beginning of a text that fits into these columns.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut beginning = String::new();
    for c in text.chars() {
        if beginning.width() + c.width().unwrap_or(0) >= columns {
            break;
        }
        beginning.push(c);
    }
    beginning + "…"
}

/// The columns that the line may take: the last one stays free, where terminals differ.
fn width() -> u16 {
    let size = tcgetwinsize(io::stderr()).ok();
    let columns = size.map(|size| size.ws_col).filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH).saturating_sub(1).max(1)
}

/// Standard error, on which a drawn line is written at once.
#[derive(Default)]
struct Screen(Mutex<String>);

impl Screen {
    fn add(&self, text: &str) {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.push_str(text);
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        width()
    }

    // The line is never wider than the terminal, so the cursor never leaves its row.

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text);
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = std::mem::take(&mut *drawn);
        let line = line.trim_end();
        let mut stderr = io::stderr().lock();
        stderr.write_all(format!("{CLEAR}{line}\r").as_bytes())?;
        stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shown_whole_or_not_at_all_but_for_a_trouble() {
        let whole = |text: &str| Part::Whole(text.to_owned());
        let trouble = Part::Trouble("a long reason".to_owned());
        let parts = [whole("accepted 3"), trouble, whole("ETA 1s")];
        for (room, line) in [
            (80, "accepted 3  a long reason  ETA 1s"),
            (32, "accepted 3  a long reason"),
            (24, "accepted 3  a long reas…"),
            (20, "accepted 3  ETA 1s"),
            (17, "accepted 3"),
            (0, "accepted 3"),
        ] {
            let fitted = fit(&parts, room);
            assert_eq!(fitted, line, "{room}");
        }
        assert_eq!(cut("日本語", 5), "日本…");
    }
}
