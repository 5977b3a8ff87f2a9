//! Whether files of the backlog are being read back.

use std::time::Duration;

/// Whether files are being read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Idle,
    /// One batch is under way; there is never a second one beside it.
    UnderWay,
    /// The system was short of something: the next try is at this time.
    PausedUntil(Duration),
}

impl Reading {
    /// When reading goes on, if it is paused.
    pub(super) fn next_try(self) -> Option<Duration> {
        match self {
            Self::PausedUntil(time) => Some(time),
            Self::Idle | Self::UnderWay => None,
        }
    }

    pub(super) fn may_start(self, now: Duration) -> bool {
        match self {
            Self::Idle => true,
            Self::UnderWay => false,
            Self::PausedUntil(time) => now >= time,
        }
    }
}
