//! Counts lost lines, and decides when to report them: at once, repeatedly while lines are being
//! lost, and at the end.
//!
//! No clocks and no files: the time is passed in. However often writing fails and recovers, reports
//! are made at a bounded rate; only the count in the log itself is written after each trouble.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::line::write_time;

/// Time between two reports of one trouble.
pub(super) const TELL_AGAIN: Duration = Duration::from_mins(1);

/// Least time between the reports of two troubles.
const TELL_NEXT: Duration = Duration::from_secs(10);

/// A trouble is over when no line was lost for this long.
const QUIET: Duration = Duration::from_millis(500);

/// The current trouble, and when the last report was made.
#[derive(Debug, Default)]
pub(super) struct Losses {
    trouble: Option<Trouble>,
    told_at: Option<Instant>,
    /// The file ends with half a line.
    is_torn: bool,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    lines: usize,
    first: SystemTime,
    last: SystemTime,
    last_at: Instant,
    is_told: bool,
}

impl Losses {
    /// Counts lost lines. Returns the report to make now, if one is due.
    pub(super) fn lost(
        &mut self,
        lines: usize,
        why: &dyn Display,
        now: Instant,
        time: SystemTime,
    ) -> Option<String> {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            why: String::new(),
            lines: 0,
            first: time,
            last: time,
            last_at: now,
            is_told: false,
        });
        trouble.lines = trouble.lines.saturating_add(lines);
        (trouble.last, trouble.last_at) = (time, now);
        let pause = if trouble.is_told {
            TELL_AGAIN
        } else {
            TELL_NEXT
        };
        if self.told_at.is_some_and(|told| now < told + pause) {
            if trouble.why.is_empty() {
                trouble.why = why.to_string();
            }
            return None;
        }
        trouble.why = why.to_string();
        trouble.is_told = true;
        self.told_at = Some(now);
        Some(format!("{why}; {} lost so far", count(trouble.lines)))
    }

    /// The line to write to the log before anything else, if a trouble seems to be over.
    pub(super) fn to_write(&self, now: Instant) -> Option<String> {
        let trouble = self.trouble.as_ref()?;
        (now >= trouble.last_at + QUIET).then(|| trouble.summary())
    }

    /// Ends the trouble, once the log has its line. Returns the report to make elsewhere, if any.
    pub(super) fn end(&mut self, now: Instant) -> Option<String> {
        let trouble = self.trouble.take()?;
        let is_told = trouble.is_told || self.told_at.is_none_or(|told| now >= told + TELL_NEXT);
        is_told.then(|| trouble.summary())
    }

    /// A line was written in part.
    pub(super) fn tear(&mut self) {
        self.is_torn = true;
    }

    /// Whether the file ends with half a line.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// The half line was ended, or another file is written now.
    pub(super) fn mend(&mut self) {
        self.is_torn = false;
    }
}

impl Trouble {
    fn summary(&self) -> String {
        let (first, last) = (clock(self.first), clock(self.last));
        format!(
            "{} lost between {first} and {last}: {}",
            count(self.lines),
            self.why
        )
    }
}

fn count(lines: usize) -> String {
    if lines == 1 {
        "1 line was".to_owned()
    } else {
        format!("{lines} lines were")
    }
}

fn clock(time: SystemTime) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_time(
        &mut text,
        time.duration_since(UNIX_EPOCH).unwrap_or_default(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_at_once_then_now_and_then_and_at_its_end() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let lost = |losses: &mut Losses, seconds| {
            losses.lost(
                2,
                &"full",
                start + Duration::from_secs(seconds),
                time(seconds),
            )
        };
        assert_eq!(
            lost(&mut losses, 0).as_deref(),
            Some("full; 2 lines were lost so far")
        );
        let told: Vec<u64> = (1..=121)
            .filter(|second| lost(&mut losses, *second).is_some())
            .collect();
        assert_eq!(told, [60, 120]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(
            losses.to_write(at(121_000)),
            None,
            "a moment of success may be none"
        );
        let summary = "244 lines were lost between 1970-01-01T00:00:00.000Z and 1970-01-01T00:02:01.000Z: full";
        assert_eq!(losses.to_write(at(122_000)).as_deref(), Some(summary));
        assert_eq!(losses.end(at(122_000)).as_deref(), Some(summary));
        assert_eq!(losses.to_write(at(200_000)), None);
    }

    #[test]
    fn writing_that_fails_and_works_by_turns_is_told_at_a_bounded_rate() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let (mut told, mut ended) = (0, 0);
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            told += usize::from(losses.lost(1, &"full", now, UNIX_EPOCH).is_some());
            let later = now + QUIET;
            assert!(losses.to_write(later).is_some(), "the log itself has each");
            ended += usize::from(losses.end(later).is_some());
        }
        assert!(
            (10..=61).contains(&told) && ended <= told + 60,
            "{told} and {ended}"
        );
    }

    #[test]
    fn half_a_line_is_ended_in_its_file_only() {
        let mut losses = Losses::default();
        losses.tear();
        assert!(losses.is_torn());
        losses.mend();
        assert!(!losses.is_torn());
    }
}
