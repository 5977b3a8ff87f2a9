//! When the gate turns files away for want of room, and when that is over: told once each, in the
//! log and as notices.
//!
//! No clocks: the time is passed in. Around the limit one file may fit while the next does not, so
//! the end is told when there is room and nothing was turned away for a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::events::{Events, Level};
use super::happening::Happening;
use crate::units::format_duration;

/// How long nothing must have been turned away before it counts as over.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// Files that are turned away for one cause.
#[derive(Debug)]
pub(super) struct Turning {
    /// What is told at the beginning, and at the end; and how much the beginning matters.
    began: &'static str,
    over: &'static str,
    level: Level,
    state: Mutex<Option<Away>>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    last: Instant,
    /// The least that one of them needed, in bytes.
    least: u64,
}

impl Turning {
    /// Files that are refused because the disk is full.
    pub(super) fn on_disk() -> Self {
        let (began, over) = (
            "files are refused",
            "files are taken again: the journal's disk has room again",
        );
        Self {
            began,
            over,
            level: Level::Error,
            state: Mutex::default(),
        }
    }

    /// Clients that are not read from because the queue is full.
    pub(super) fn in_queue() -> Self {
        let (began, over) = (
            "not reading from clients",
            "clients are read from again: the queue has room again",
        );
        Self {
            began,
            over,
            level: Level::Warn,
            state: Mutex::default(),
        }
    }

    /// A file that needs `bytes` was turned away; `why`, with the figures and the remedy, is made
    /// only for the first.
    pub(super) fn turned_away(
        &self,
        bytes: u64,
        now: Instant,
        notices: &Events,
        why: impl FnOnce() -> String,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(away) = &mut *state {
            away.last = now;
            away.least = away.least.min(bytes);
            return;
        }
        *state = Some(Away {
            since: now,
            last: now,
            least: bytes,
        });
        let reason = why();
        // Under the lock: the end must not be told before the beginning.
        notices.report(&Happening::TurnedAway {
            level: self.level,
            what: self.began,
            reason: &reason,
        });
    }

    /// Looks whether it is over: `has_room` says so for so many bytes, and `how` gives the figures.
    pub(super) fn look(
        &self,
        now: Instant,
        notices: &Events,
        has_room: impl FnOnce(u64) -> bool,
        how: impl FnOnce() -> String,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(away) = &*state else { return };
        if now.saturating_duration_since(away.last) < QUIET || !has_room(away.least) {
            return;
        }
        let lasted = format_duration(now.saturating_duration_since(away.since));
        *state = None;
        let text = format!("{}; {}; it took {lasted}", self.over, how());
        notices.report(&Happening::TakenAgain { text: &text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_beginning_and_one_end_however_often_files_are_turned_away() {
        let (turning, notices, start) = (Turning::on_disk(), Events::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let told = || {
            notices
                .after(0)
                .into_iter()
                .map(|notice| (notice.level, notice.text))
                .collect::<Vec<_>>()
        };
        let look = |ms, room| {
            turning.look(
                at(ms),
                &notices,
                |bytes| bytes <= room,
                || "figures".to_owned(),
            )
        };
        look(0, u64::MAX);
        assert_eq!(told(), []);
        for (ms, bytes) in [(0, 500), (100, 100), (1500, 900)] {
            turning.turned_away(bytes, at(ms), &notices, || format!("at {ms}"));
            look(ms + 1, u64::MAX);
        }
        assert_eq!(
            told(),
            [(Level::Error, "files are refused: at 0".to_owned())]
        );
        look(60_000, 99);
        assert_eq!(
            told().len(),
            1,
            "the smallest that was refused does not fit yet"
        );
        look(61_500, 100);
        look(70_000, 100);
        let (level, text) = &told()[1];
        assert_eq!((told().len(), *level), (2, Level::Info));
        assert!(text.contains("figures; it took 1 m 1 s"), "{text}");
        turning.turned_away(1, at(80_000), &notices, || "again".to_owned());
        assert_eq!(told().len(), 3);
    }
}
