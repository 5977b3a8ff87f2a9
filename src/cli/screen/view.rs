//! What the whole-screen view shows, as lines of text.

use std::collections::VecDeque;
use std::time::Instant;

use super::drawing::Drawn;
use super::frame::{Scroll, cut, stale};
use super::keys::Key;
use crate::admin::types::State;
use crate::balancer::events::Event;
use crate::cli::api::Heard;
use crate::cli::output::Failure;
use crate::cli::render;
use crate::cli::table::{Look, rest, table};

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
    scroll: Scroll,
}

impl View {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            colour,
            state: None,
            heard: Instant::now(),
            lost: None,
            events: VecDeque::new(),
            scroll: Scroll::default(),
        }
    }
}

impl Drawn for View {
    type Heard = Heard;

    /// Listening tries again by itself: a failure is the end.
    fn hear(&mut self, heard: Result<Heard, Failure>) -> Result<(), Failure> {
        match heard? {
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
        Ok(())
    }

    fn press(&mut self, key: Key) {
        self.scroll.press(key);
    }

    fn lines(&mut self, height: usize, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let warning = stale(self.heard, self.lost.as_deref(), self.colour);
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
        let shown = self.scroll.show(servers, room - for_events);
        lines.extend(table.skip(shown.start).take(shown.len()));
        if for_events > 0 {
            lines.push(String::new());
            let skipped = self.events.len().saturating_sub(for_events - 1);
            lines.extend(self.events.iter().skip(skipped).map(render::line));
        }
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), String::new());
        let scroll = if servers > shown.len() {
            format!(
                "   servers {} to {} of {servers}: ↑ ↓   {}",
                shown.start + 1,
                shown.end,
                rest(&state.servers, shown.end)
            )
        } else {
            String::new()
        };
        lines.push(format!("q quits{scroll}"));
        lines.iter().map(|line| cut(line, width)).collect()
    }
}
