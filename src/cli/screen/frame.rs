//! What all views of the whole screen share: lines that fit, a list that is scrolled, and the mark of
//! what is out of date.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::keys::Key;
use crate::text::{Printable, is_printable};

/// After this long without a word from the balancer a view is marked as out of date.
const STALE: Duration = Duration::from_secs(3);

/// How far a list is scrolled.
#[derive(Debug)]
pub(super) struct Scroll {
    /// How many rows are scrolled off above the first one.
    above: usize,
    /// How many rows the last screen showed.
    rows: usize,
}

impl Default for Scroll {
    fn default() -> Self {
        Self { above: 0, rows: 1 }
    }
}

impl Scroll {
    pub(super) fn press(&mut self, key: Key) {
        self.above = match key {
            Key::Quit => self.above,
            Key::Up => self.above.saturating_sub(1),
            Key::Down => self.above + 1,
            Key::PageUp => self.above.saturating_sub(self.rows),
            Key::PageDown => self.above + self.rows,
            Key::Home => 0,
            Key::End => usize::MAX,
        };
    }

    /// The rows among so many that are shown where there is room for `room`, at least for one.
    pub(super) fn show(&mut self, rows: usize, room: usize) -> Range<usize> {
        self.rows = room.max(1);
        self.above = self.above.min(rows.saturating_sub(self.rows));
        self.above..(self.above + self.rows).min(rows)
    }
}

/// A warning if a view is out of date: the last word came at `heard`, and the connection was `lost`
/// for this reason.
pub(super) fn stale(heard: Instant, lost: Option<&str>, colour: bool) -> Option<String> {
    let silent = heard.elapsed();
    let why = match lost {
        Some(why) => format!("the balancer is away ({})", Printable(why)),
        None if silent >= STALE => "the balancer sends nothing".to_owned(),
        None => return None,
    };
    let mark = if colour {
        "\x1b[1;31mout of date\x1b[0m"
    } else {
        "out of date"
    };
    Some(format!(
        "{mark} for {} s: {why}; trying again",
        silent.as_secs()
    ))
}

/// As much of a line as fits. Colours take no room; all other control characters are left out.
pub(super) fn cut(line: &str, width: usize) -> String {
    let (mut text, mut used, mut chars) = (String::new(), 0, line.chars());
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            text.push(c);
            for c in chars.by_ref() {
                text.push(c);
                if c == 'm' {
                    break;
                }
            }
            continue;
        }
        if used < width && is_printable(c) {
            text.push(c);
            used += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_harmless() {
        assert_eq!(cut("a\x1b[31mbcd\x1b[0mef", 3), "a\x1b[31mbc\x1b[0m");
        assert_eq!(cut("▁▂\u{9b}2J\rx", 4), "▁▂2J");
        assert_eq!(cut("", 4), "");
    }

    #[test]
    fn a_list_is_scrolled_within_its_ends() {
        let mut scroll = Scroll::default();
        assert_eq!(scroll.show(10, 4), 0..4);
        scroll.press(Key::PageDown);
        assert_eq!(scroll.show(10, 4), 4..8);
        scroll.press(Key::End);
        assert_eq!(scroll.show(10, 4), 6..10);
        assert_eq!(scroll.show(2, 4), 0..2, "rows are gone");
        assert_eq!(scroll.show(0, 0), 0..0);
    }
}
