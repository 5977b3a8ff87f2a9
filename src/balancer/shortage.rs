//! Shortages of room: their beginnings and ends, each reported once, in the log and as an event.
//!
//! No clocks: the time is passed in. Near the limit one file may fit while the next does not, so a
//! shortage is over only when the smallest refused file would fit and nothing was refused for
//! [`QUIET`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::events::{Events, Kind, Level};
use crate::units::format_duration;

/// How long nothing must have been refused before a shortage can be over.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// Shortages of one kind of room, one at a time.
#[derive(Debug)]
pub(super) struct Shortage {
    /// The texts of the beginning and the end, and the level of the beginning.
    began: &'static str,
    over: &'static str,
    level: Level,
    current: Mutex<Option<Current>>,
}

/// The shortage that lasts.
#[derive(Debug)]
struct Current {
    since: Instant,
    last_refusal: Instant,
    /// Bytes that the smallest refused file needs.
    least: u64,
}

impl Shortage {
    /// The disk is full, and files are refused.
    pub(super) fn of_disk() -> Self {
        Self {
            began: "files are refused",
            over: "files are taken again: the journal's disk has room again",
            level: Level::Error,
            current: Mutex::default(),
        }
    }

    /// The queue is full, and clients are not read from.
    pub(super) fn of_queue() -> Self {
        Self {
            began: "not reading from clients",
            over: "clients are read from again: the queue has room again",
            level: Level::Warn,
            current: Mutex::default(),
        }
    }

    /// A file that needs `bytes` was refused. `why`, with the figures and the remedy, is made only
    /// at the beginning of a shortage.
    pub(super) fn refused(
        &self,
        bytes: u64,
        now: Instant,
        events: &Events,
        why: impl FnOnce() -> String,
    ) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &mut *current {
            current.last_refusal = now;
            current.least = current.least.min(bytes);
            return;
        }
        *current = Some(Current {
            since: now,
            last_refusal: now,
            least: bytes,
        });
        let reason = why();
        if self.level == Level::Error {
            tracing::error!(reason, "{}", self.began);
        } else {
            tracing::warn!(reason, "{}", self.began);
        }
        // Under the lock: the end must not be reported before the beginning.
        let text = format!("{}: {reason}", self.began);
        events.tell(self.level, Kind::Full, None, None, text);
    }

    /// Looks whether the shortage is over: `has_room` says so for a number of bytes, and `how`
    /// gives the figures.
    pub(super) fn look(
        &self,
        now: Instant,
        events: &Events,
        has_room: impl FnOnce(u64) -> bool,
        how: impl FnOnce() -> String,
    ) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shortage) = &*current else { return };
        let quiet = now.saturating_duration_since(shortage.last_refusal);
        if quiet < QUIET || !has_room(shortage.least) {
            return;
        }
        let lasted = format_duration(now.saturating_duration_since(shortage.since));
        *current = None;
        let text = format!("{}; {}; it took {lasted}", self.over, how());
        tracing::info!("{text}");
        events.tell(Level::Info, Kind::Full, None, None, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_beginning_and_one_end_however_often_files_are_refused() {
        let shortage = Shortage::of_disk();
        let events = Events::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let told = || {
            let events = events.after(0).into_iter();
            events
                .map(|event| (event.level, event.text))
                .collect::<Vec<_>>()
        };
        let look = |ms, room| {
            let has_room = |bytes| bytes <= room;
            shortage.look(at(ms), &events, has_room, || "figures".to_owned());
        };
        look(0, u64::MAX);
        assert_eq!(told(), []);
        for (ms, bytes) in [(0, 500), (100, 100), (1500, 900)] {
            shortage.refused(bytes, at(ms), &events, || format!("at {ms}"));
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
        shortage.refused(1, at(80_000), &events, || "again".to_owned());
        assert_eq!(told().len(), 3);
    }
}
