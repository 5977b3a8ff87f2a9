//! A view that is one list, and what stands above it.

use std::time::Instant;

use super::drawing::Drawn;
use super::frame::{Scroll, cut, stale};
use super::keys::Key;
use crate::cli::output::{Exit, Failure};

/// Lines for the screen.
pub(in crate::cli) struct List {
    /// What stays at the top.
    pub(in crate::cli) head: Vec<String>,
    /// What is scrolled.
    pub(in crate::cli) rows: Vec<String>,
    /// What a row is, in the plural.
    pub(in crate::cli) what: &'static str,
}

/// The last answer, and how far its list is scrolled.
pub(super) struct Lists<T, S> {
    last: T,
    show: S,
    colour: bool,
    heard: Instant,
    lost: Option<String>,
    scroll: Scroll,
}

impl<T, S> Lists<T, S> {
    pub(super) fn new(first: T, show: S, colour: bool) -> Self {
        Self {
            last: first,
            show,
            colour,
            heard: Instant::now(),
            lost: None,
            scroll: Scroll::default(),
        }
    }
}

impl<T, S: Fn(&T, usize) -> List> Drawn for Lists<T, S> {
    type Heard = T;

    /// A balancer that is away is waited for; what it refuses ends the view.
    fn hear(&mut self, answer: Result<T, Failure>) -> Result<(), Failure> {
        match answer {
            Ok(answer) => {
                self.last = answer;
                self.heard = Instant::now();
                self.lost = None;
            }
            Err(failure) if failure.exit == Exit::Unreachable => self.lost = Some(failure.error),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn press(&mut self, key: Key) {
        self.scroll.press(key);
    }

    fn lines(&mut self, height: usize, width: usize) -> Vec<String> {
        let List { head, rows, what } = (self.show)(&self.last, width);
        let mut lines = Vec::new();
        // Between two answers there is nothing to hear.
        let lost = self.lost.as_deref();
        lines.extend(lost.and_then(|lost| stale(self.heard, Some(lost), self.colour)));
        lines.extend(head);
        // The last line is the foot.
        let room = height.saturating_sub(lines.len() + 1);
        let shown = self.scroll.show(rows.len(), room);
        let visible = rows.iter().skip(shown.start).take(shown.len());
        lines.extend(visible.cloned());
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), String::new());
        let scroll = if rows.len() > shown.len() {
            let (from, to, all) = (shown.start + 1, shown.end, rows.len());
            format!("   {what} {from} to {to} of {all}: ↑ ↓")
        } else {
            String::new()
        };
        lines.push(format!("q quits{scroll}"));
        lines.iter().map(|line| cut(line, width)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fills_the_screen_and_says_when_it_is_old() {
        let show = |rows: &usize, _: usize| List {
            head: vec!["head".to_owned()],
            rows: (0..*rows).map(|row| format!("row {row}")).collect(),
            what: "members",
        };
        let mut lists = Lists::new(30, show, false);
        let lines = lists.lines(10, 80);
        assert_eq!(lines.len(), 10);
        assert_eq!(
            (&*lines[0], &*lines[1], &*lines[8]),
            ("head", "row 0", "row 7")
        );
        assert_eq!(lines[9], "q quits   members 1 to 8 of 30: ↑ ↓");
        lists.press(Key::End);
        assert_eq!(lists.lines(10, 80)[8], "row 29");
        let away = Failure::new(Exit::Unreachable, "refused");
        lists.hear(Err(away)).unwrap();
        let lines = lists.lines(10, 80);
        assert!(lines[0].contains("out of date for 0 s: the balancer is away (refused)"));
        lists.hear(Ok(2)).unwrap();
        let lines = lists.lines(10, 80);
        assert_eq!(
            (&*lines[2], &*lines[3], &*lines[9]),
            ("row 1", "", "q quits")
        );
        // That it is away is no word for what it refuses.
        let refused = Failure::new(Exit::Failed, "show a token");
        assert_eq!(lists.hear(Err(refused)).unwrap_err().error, "show a token");
    }
}
