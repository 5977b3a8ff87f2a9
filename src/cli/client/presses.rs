//! What Ctrl-C at the prompt means.
//!
//! It clears what was typed. On an empty line the first one says how to leave, and the second leaves.
//! One that was meant for a transfer and comes just after its end does nothing.

use std::time::{Duration, Instant};

/// Two presses within this time leave; a press this soon after a transfer was meant for that.
const SOON: Duration = Duration::from_secs(2);

/// What a press does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Press {
    /// The line was cleared.
    Cleared,
    /// Nothing, because it was meant for a transfer that has just ended.
    Late,
    /// It is said how to leave.
    Explained,
    /// It leaves.
    Leaves,
}

/// The presses so far.
#[derive(Debug, Default)]
pub(super) struct Presses {
    /// When how to leave was said last.
    explained: Option<Instant>,
    /// When the last transfer ended.
    transferred: Option<Instant>,
}

impl Presses {
    /// A transfer has ended.
    pub(super) fn transferred(&mut self, now: Instant) {
        *self = Self {
            explained: None,
            transferred: Some(now),
        };
    }

    /// Ctrl-C was pressed; `is_empty` if nothing was typed.
    pub(super) fn press(&mut self, is_empty: bool, now: Instant) -> Press {
        let soon_after = |then: Option<Instant>| {
            then.is_some_and(|then| now.saturating_duration_since(then) < SOON)
        };
        if !is_empty {
            *self = Self::default();
            return Press::Cleared;
        }
        if soon_after(self.transferred) {
            return Press::Late;
        }
        if soon_after(self.explained) {
            return Press::Leaves;
        }
        self.explained = Some(now);
        Press::Explained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_press_does_what_people_mean() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut presses = Presses::default();
        assert_eq!(presses.press(false, at(0)), Press::Cleared);
        assert_eq!(presses.press(true, at(100)), Press::Explained);
        assert_eq!(presses.press(true, at(2200)), Press::Explained);
        assert_eq!(presses.press(false, at(2300)), Press::Cleared);
        assert_eq!(
            presses.press(true, at(2400)),
            Press::Explained,
            "text came between"
        );
        assert_eq!(presses.press(true, at(4300)), Press::Leaves);
        presses.transferred(at(5000));
        assert_eq!(presses.press(true, at(5000)), Press::Late);
        assert_eq!(presses.press(false, at(5001)), Press::Cleared);
        assert_eq!(
            presses.press(true, at(5002)),
            Press::Explained,
            "the person goes on"
        );
        presses.transferred(at(5000));
        for millis in [5000, 5100, 5200, 6999] {
            assert_eq!(presses.press(true, at(millis)), Press::Late);
        }
        assert_eq!(presses.press(true, at(7000)), Press::Explained);
        assert_eq!(presses.press(true, at(7001)), Press::Leaves);
    }
}
