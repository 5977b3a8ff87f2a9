//! What goes into the journal, and what comes back.

use crate::record::{Accepted, Attempt, Death, Ended, History};

use super::location::Location;

/// Something to be recorded.
#[derive(Debug)]
pub enum Op {
    /// A file is accepted.
    Accept(Box<Accepted>),
    /// A file came back from a server.
    Attempt {
        /// Its request number.
        number: u64,
        /// The delivery that failed.
        attempt: Attempt,
        /// Whether that was the file's own fault.
        is_failure: bool,
    },
    /// A file was delivered, or dropped.
    End(Box<Ended>),
    /// A file becomes a dead letter.
    Bury {
        /// Its request number.
        number: u64,
        /// When and why.
        death: Death,
    },
    /// A dead letter waits again.
    Replay {
        /// Its request number.
        number: u64,
    },
    /// These files ended long ago: nothing about them is needed any more.
    Forget(Vec<u64>),
}

/// What a commit has made durable.
#[derive(Debug, Default)]
pub struct Committed {
    /// How many operations, in the order in which they were applied.
    pub ops: usize,
    /// Where the records of accepted files are, in the order in which they were accepted.
    pub stored: Vec<(u64, Location)>,
    /// Where the records of older files are now that cleaning has written them again.
    pub moved: Vec<(u64, Location)>,
}

/// What happened to a file since it was accepted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// How often it came back.
    pub history: History,
    /// When and why it became a dead letter; `None` if it is not one.
    pub death: Option<Death>,
}

impl Changes {
    /// What a file's own record says; `None` if nothing happened to the file yet.
    pub(crate) fn of(accepted: &Accepted) -> Option<Self> {
        let is_changed = accepted.history != History::default() || accepted.death.is_some();
        is_changed.then(|| Self {
            history: accepted.history.clone(),
            death: accepted.death.clone(),
        })
    }

    /// A dead letter waits again. What happened to it stays.
    pub(crate) fn replay(&mut self) {
        match self.death.take() {
            Some(death) => self.history.replayed(death.at_ms, &death.reason),
            None => self.history.failures = 0,
        }
    }
}
