//! What the whole-screen view shows, as lines of text.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::keys::Key;
use crate::admin::types::State;
use crate::balancer::events::Event;
use crate::cli::api::Heard;
use crate::cli::render;
use crate::cli::table::{Look, rest, table};
use crate::text::{Printable, is_printable};

/// After this long without a message from the balancer the view is marked as out of date.
const STALE: Duration = Duration::from_secs(3);

/// How many seconds a line of the table draws.
const DRAWN: usize = 20;

/// How many events are kept for the foot of the screen.
const EVENTS: usize = 100;

/// On a small screen at least this many servers are shown, then up to [`FEWEST_EVENTS`] events.
const FEWEST_ROWS: usize = 4;
const FEWEST_EVENTS: usize = 5;

/// The last state heard of, the last events, and how far the table is scrolled.
pub(super) struct View {
    colour: bool,
    state: Option<State>,
    heard: Instant,
    /// Why the connection to the balancer was lost; `None` while it is open.
    lost: Option<String>,
    events: VecDeque<Event>,
    /// How many servers are scrolled off above the first row.
    above: usize,
    /// How many servers the last screen showed.
    rows: usize,
}

impl View {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            state: None,
            heard: Instant::now(),
            lost: None,
            events: VecDeque::new(),
            above: 0,
            rows: 1,
        }
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::State(state, _) => {
                self.state = Some(*state);
                self.heard = Instant::now();
                self.lost = None;
            }
            Heard::Event(event, _) => {
                if self.events.len() == EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            Heard::Lost(why) => self.lost = Some(why),
            Heard::Back { .. } => self.lost = None,
        }
    }

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

    /// The lines of a screen of this size.
    pub(super) fn lines(&mut self, height: usize, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let warning = self.stale();
        let Some(state) = &self.state else {
            return vec![warning.unwrap_or_else(|| "waiting for the balancer …".to_owned())];
        };
        lines.extend(render::overview(&state.overview));
        lines.push(warning.unwrap_or_default());
        let look = Look {
            width: Some(width),
            drawn: Some(DRAWN),
            colour: self.colour,
        };
        let mut table = table(&state.servers, look).into_iter();
        lines.extend(table.next());
        // The last line is the foot.
        let room = height.saturating_sub(lines.len() + 1).max(1);
        let servers = state.servers.len();
        // Events get the room that the servers leave, and a few lines in any case.
        let most = room
            .saturating_sub(servers)
            .max(room.saturating_sub(FEWEST_ROWS).min(FEWEST_EVENTS + 1));
        let for_events = (self.events.len() + 1).min(most);
        let for_events = if for_events < 2 { 0 } else { for_events };
        self.rows = (room - for_events).max(1);
        self.above = self.above.min(servers.saturating_sub(self.rows));
        lines.extend(table.skip(self.above).take(self.rows));
        if for_events > 0 {
            lines.push(String::new());
            let skipped = self.events.len().saturating_sub(for_events - 1);
            lines.extend(self.events.iter().skip(skipped).map(render::line));
        }
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), String::new());
        let scroll = if servers > self.rows {
            let shown = (self.above + self.rows).min(servers);
            format!(
                "   servers {} to {shown} of {servers}: ↑ ↓   {}",
                self.above + 1,
                rest(&state.servers, shown)
            )
        } else {
            String::new()
        };
        lines.push(format!("q quits{scroll}"));
        lines.iter().map(|line| cut(line, width)).collect()
    }

    /// A warning if the view is out of date.
    fn stale(&self) -> Option<String> {
        let silent = self.heard.elapsed();
        let why = match &self.lost {
            Some(why) => format!("the balancer is away ({})", Printable(why)),
            None if silent >= STALE => "the balancer sends nothing".to_owned(),
            None => return None,
        };
        let mark = if self.colour {
            "\x1b[1;31mout of date\x1b[0m"
        } else {
            "out of date"
        };
        Some(format!(
            "{mark} for {} s: {why}; trying again",
            silent.as_secs()
        ))
    }
}

/// As much of a line as fits. Colours take no room; all other control characters are left out.
fn cut(line: &str, width: usize) -> String {
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
}
