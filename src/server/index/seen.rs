//! The highest number of each journal that was ever stored, whatever became of the files since: no
//! file, no clock.
//!
//! A balancer that knows of a higher one knows that the directory was set back. Numbers count from
//! when they are announced, which is durable before they are acknowledged.
//!
//! Invariant: as long as the index is whole, never lower than what was acknowledged. Of a journal
//! that was forgotten, and of one of which an index of an earlier program says nothing, nothing is
//! said until it stores something.

use std::collections::HashMap;
use std::sync::Arc;

/// Of how many journals it is known; of those that stored nothing for longest it is forgotten.
const MAX_JOURNALS: usize = 10_000;

/// The account of all journals.
#[derive(Debug, Default)]
pub(super) struct Seen {
    journals: HashMap<Arc<str>, Highest>,
    /// Whether a journal that is not in it has never stored anything here.
    pub(super) is_complete: bool,
    next_age: u64,
}

#[derive(Debug, Clone, Copy)]
struct Highest {
    number: u64,
    age: u64,
}

impl Seen {
    /// The account of a directory that was never stored in.
    pub(super) fn complete() -> Self {
        Self {
            is_complete: true,
            ..Self::default()
        }
    }

    /// Takes a number into account; tells whether others were forgotten for it.
    pub(super) fn raise(&mut self, journal: &str, number: u64) -> bool {
        let age = self.next_age;
        self.next_age += 1;
        if let Some(highest) = self.journals.get_mut(journal) {
            *highest = Highest {
                number: highest.number.max(number),
                age,
            };
            return false;
        }
        let is_full = self.journals.len() >= MAX_JOURNALS;
        if is_full {
            self.forget_oldest();
        }
        self.journals
            .insert(journal.into(), Highest { number, age });
        is_full
    }

    /// The highest number of a journal, 0 for none at all; `None` if that is not known.
    pub(super) fn of(&self, journal: &str) -> Option<u64> {
        let known = self.journals.get(journal).map(|highest| highest.number);
        known.or(self.is_complete.then_some(0))
    }

    /// The highest number of all journals.
    pub(super) fn highest(&self) -> u64 {
        self.journals
            .values()
            .map(|highest| highest.number)
            .max()
            .unwrap_or(0)
    }

    /// All that is known, from what was heard of longest ago.
    pub(super) fn oldest_first(&self) -> Vec<(&Arc<str>, u64)> {
        let mut all: Vec<_> = self.journals.iter().collect();
        all.sort_unstable_by_key(|(_, highest)| highest.age);
        all.into_iter()
            .map(|(journal, highest)| (journal, highest.number))
            .collect()
    }

    /// Some at a time, so that finding them is not done for every journal.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<_> = self.journals.values().map(|highest| highest.age).collect();
        let (_, &mut last, _) = ages.select_nth_unstable(MAX_JOURNALS / 100);
        self.journals.retain(|_, highest| highest.age > last);
        self.is_complete = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_stays_and_nothing_is_said_of_what_is_not_known() {
        let mut seen = Seen::complete();
        for number in [3, 9, 4] {
            seen.raise("a", number);
        }
        assert_eq!((seen.of("a"), seen.of("b")), (Some(9), Some(0)));
        assert_eq!(Seen::default().of("b"), None);
    }

    #[test]
    fn journals_without_end_are_not_kept_and_the_one_in_use_is() {
        let mut seen = Seen::complete();
        let mut forgot = 0;
        for n in 0..3 * MAX_JOURNALS {
            forgot += usize::from(seen.raise(&n.to_string(), 7));
            seen.raise("in use", 7);
        }
        assert!(
            seen.journals.len() <= MAX_JOURNALS && forgot <= 400,
            "{forgot}"
        );
        assert_eq!(
            (seen.of("in use"), seen.of("0"), seen.of("never")),
            (Some(7), None, None)
        );
        let oldest_first = seen.oldest_first();
        assert_eq!(
            oldest_first.last().map(|(journal, _)| &***journal),
            Some("in use")
        );
    }
}
