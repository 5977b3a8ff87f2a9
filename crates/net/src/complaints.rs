//! How many lines connections may write to the log for how they end: peers cause these at will, and
//! must not be able to wash everything else out of it.
//!
//! Invariant: in a minute there are at most [`OF_SOURCE`] lines about a source elsewhere and
//! [`IN_ALL`] about all of them. Those that are left out are counted, and the next line tells how many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::source::Source;

/// Lines about one source in a [`PERIOD`].
const OF_SOURCE: usize = 20;

/// Lines about all sources in a [`PERIOD`].
const IN_ALL: usize = 600;

/// The time that the lines are counted for.
const PERIOD: Duration = Duration::from_mins(1);

/// The most sources that are told apart.
const SOURCES: usize = 1024;

/// What was written about the connections of one listener.
#[derive(Debug)]
pub(super) struct Complaints(Mutex<State>);

#[derive(Debug)]
struct State {
    all: Count,
    sources: HashMap<Source, Count>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    written: usize,
    left_out: u64,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            written: 0,
            left_out: 0,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= PERIOD
    }

    /// Whether fewer than `most` lines were written in the period of `now`.
    fn has_room(&mut self, most: usize, now: Instant) -> bool {
        if self.is_over(now) {
            (self.since, self.written) = (now, 0);
        }
        self.written < most
    }
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            all: Count::new(Instant::now()),
            sources: HashMap::new(),
        }))
    }

    /// Whether a line about this source may be written; if so, how many were left out before it:
    /// those about the same source, and those about sources that have been quiet since.
    pub(super) fn admit(&self, source: Source) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.admit(source, Instant::now())
    }
}

impl State {
    fn admit(&mut self, source: Source, now: Instant) -> Option<u64> {
        let is_new = !source.is_local() && !self.sources.contains_key(&source);
        if is_new && self.sources.len() >= SOURCES {
            self.forget_quiet(now);
        }
        // Beyond the most sources, new ones have only what all have together, and so has this
        // machine: many different clients may be on it.
        if self.sources.len() < SOURCES && !source.is_local() {
            let new = || Count::new(now);
            self.sources.entry(source).or_insert_with(new);
        }
        let Self { all, sources } = self;
        let mut own = sources.get_mut(&source);
        let own_has_room = own.as_mut().is_none_or(|own| own.has_room(OF_SOURCE, now));
        if !(all.has_room(IN_ALL, now) && own_has_room) {
            own.unwrap_or(all).left_out += 1;
            return None;
        }
        all.written += 1;
        let mut left_out = std::mem::take(&mut all.left_out);
        if let Some(own) = own {
            own.written += 1;
            left_out += std::mem::take(&mut own.left_out);
        }
        Some(left_out)
    }

    /// Forgets sources about which nothing was to be written in their last period.
    fn forget_quiet(&mut self, now: Instant) {
        let mut left_out = 0;
        self.sources.retain(|_, count| {
            let is_quiet = count.is_over(now);
            left_out += if is_quiet { count.left_out } else { 0 };
            !is_quiet
        });
        self.all.left_out += left_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of((std::net::Ipv4Addr::from_bits(number), 1).into())
    }

    /// How many of `lines` about a source are written.
    fn written(complaints: &Complaints, number: u32, lines: usize) -> usize {
        let admitted = (0..lines).filter_map(|_| complaints.admit(source(number)));
        admitted.count()
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_is_bounded_and_what_was_left_out_is_told() {
        let complaints = Complaints::new();
        assert_eq!(written(&complaints, 1, 100), OF_SOURCE);
        assert_eq!(complaints.admit(source(2)), Some(0), "others go on");
        tokio::time::advance(PERIOD).await;
        let left_out = (100 - OF_SOURCE) as u64;
        assert_eq!(complaints.admit(source(1)), Some(left_out));
        assert_eq!(complaints.admit(source(1)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_are_bounded_together_and_those_that_went_are_told_of() {
        let complaints = Complaints::new();
        let sources: u32 = 2048;
        let all: usize = (0..sources)
            .map(|source| written(&complaints, source, 2))
            .sum();
        assert_eq!(all, IN_ALL);
        assert_eq!(complaints.0.lock().unwrap().sources.len(), SOURCES);
        tokio::time::advance(PERIOD).await;
        let left_out = u64::from(2 * sources) - IN_ALL as u64;
        assert_eq!(complaints.admit(source(sources)), Some(left_out));
        assert_eq!(complaints.0.lock().unwrap().sources.len(), 1);
    }
}
