//! What a transfer that ended early left behind, in words, and what to do then.
//!
//! Invariant: a file that the balancer has is never called missing or failed: it is safe there.

use crate::client::{Fate, Tally, Wait};
use crate::numbers::plural;
use crate::text::listed;

/// The most request numbers that are named.
const NUMBERS: usize = 3;

/// Where a command was typed, which decides what others can be typed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    Shell,
    Prompt,
}

/// The files of a transfer that did not get as far as was waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Unfinished {
    /// How many the balancer has, if that is not enough.
    with_balancer: usize,
    /// The request numbers of the first of them.
    numbers: Vec<u64>,
    /// How many were sent whole and have no receipt.
    unsure: usize,
    /// How many were not sent.
    unsent: usize,
    /// Whether the same command, sent again, sends only what is not there.
    is_repeatable: bool,
}

impl Unfinished {
    pub(in crate::cli) fn of(tally: &Tally, wait: Wait, is_repeatable: bool) -> Self {
        let (unsure, unsent) = (tally.unsure(), tally.unsent());
        let rest = Self {
            unsure,
            unsent,
            is_repeatable,
            ..Self::default()
        };
        if wait == Wait::Accepted {
            return rest;
        }
        let numbers = tally.fates.iter().filter_map(|fate| match fate {
            Fate::Accepted { number } => Some(*number),
            _ => None,
        });
        Self {
            with_balancer: tally.with_the_balancer(),
            numbers: numbers.take(NUMBERS + 1).collect(),
            ..rest
        }
    }

    /// `1 file is with the balancer (number 7), not delivered after 1 s; 2 files were not sent`.
    /// Empty if there are none.
    pub(in crate::cli) fn text(&self, delivery: &str, after: &str) -> String {
        let parts = [
            (self.with_balancer > 0).then(|| {
                let files = plural(self.with_balancer, "file is", "files are");
                format!("{files} with the balancer{}, {delivery}", self.numbers())
            }),
            (self.unsure > 0).then(|| {
                let files = plural(
                    self.unsure,
                    "file was sent and has",
                    "files were sent and have",
                );
                format!("{files} no receipt")
            }),
            (self.unsent > 0)
                .then(|| plural(self.unsent, "file was not sent", "files were not sent")),
        ];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        if let Some(first) = parts.first_mut() {
            first.push_str(after);
        }
        parts.join("; ")
    }

    fn numbers(&self) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        match &numbers[..] {
            [one] => format!(" (number {one})"),
            [_, ..] if numbers.len() <= NUMBERS => format!(" (numbers {})", listed(&numbers)),
            [first, ..] => format!(" (the first is number {first})"),
            [] => String::new(),
        }
    }

    /// What to do, in the place where the command was typed.
    pub(in crate::cli) fn hint(&self, place: Place) -> Option<String> {
        let kept = match (self.numbers.first(), place) {
            (None, _) => None,
            (Some(number), Place::Shell) => Some(format!(
                "what is with the balancer is safe there, and goes on: see `bilico queue show {number}`"
            )),
            (Some(_), Place::Prompt) => Some(
                "what is with the balancer is safe there, and goes on: see `status`".to_owned(),
            ),
        };
        let again = (self.unsure + self.unsent > 0).then(|| match place {
            _ if self.is_repeatable => {
                "run the same command again: it sends only what is not there yet".to_owned()
            }
            Place::Shell => "a command with --key-prefix can be run again, and then sends only \
                             what is not there yet"
                .to_owned(),
            Place::Prompt => "`bilico send --key-prefix` can be run again, and then sends only \
                              what is not there yet"
                .to_owned(),
        });
        let hints: Vec<String> = [kept, again].into_iter().flatten().collect();
        (!hints.is_empty()).then(|| hints.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Message;

    /// `1 files are missing after 1s` was said of a file that was safe in the journal.
    #[test]
    fn what_the_balancer_has_is_not_missing() {
        let mut tally = Tally::new(1);
        tally.heard(Message::Accepted {
            id: 0,
            number: 22_226,
        });
        let unfinished = Unfinished::of(&tally, Wait::Delivered, false);
        assert_eq!(
            unfinished.text("not delivered", " after 1 s"),
            "1 file is with the balancer (number 22226), not delivered after 1 s"
        );
        let hint = unfinished.hint(Place::Shell).unwrap();
        assert!(hint.ends_with("see `bilico queue show 22226`"), "{hint}");
        let hint = unfinished.hint(Place::Prompt).unwrap();
        assert!(hint.ends_with("see `status`"), "{hint}");
        let enough = Unfinished::of(&tally, Wait::Accepted, false);
        assert_eq!(enough.text("not delivered", ""), "");
        assert_eq!(enough.hint(Place::Shell), None);
    }

    #[test]
    fn each_kind_is_counted_apart_with_its_remedy() {
        let unfinished = Unfinished {
            with_balancer: 2198,
            numbers: vec![1, 2, 3, 4],
            unsure: 4,
            unsent: 17_798,
            is_repeatable: true,
        };
        assert_eq!(
            unfinished.text("which goes on", ""),
            "2,198 files are with the balancer (the first is number 1), which goes on; 4 files were \
             sent and have no receipt; 17,798 files were not sent"
        );
        let hint = unfinished.hint(Place::Shell).unwrap();
        assert!(hint.ends_with("run the same command again: it sends only what is not there yet"));
        let one = Unfinished {
            unsure: 1,
            ..Unfinished::default()
        };
        assert_eq!(
            one.text("", " after 1 s"),
            "1 file was sent and has no receipt after 1 s"
        );
        assert!(one.hint(Place::Shell).unwrap().contains("--key-prefix"));
        let three = Unfinished {
            with_balancer: 3,
            numbers: vec![5, 6, 9],
            ..Unfinished::default()
        };
        assert_eq!(
            three.text("not delivered", ""),
            "3 files are with the balancer (numbers 5, 6 and 9), not delivered"
        );
    }
}
