//! The highest number of each journal that was ever stored, whatever became of the files since.
//! Pure: no file, no clock.
//!
//! A balancer to which a higher number was acknowledged knows that the directory was set back.
//! Numbers count from their announcement, which is durable before they are acknowledged.
//!
//! Invariant: as long as the index is whole, the number is never lower than one that was
//! acknowledged. For a journal that was forgotten, or that an index of an earlier version does not
//! mention, the number is unknown until a file is stored for it.

use std::collections::HashMap;
use std::sync::Arc;

/// The most journals whose numbers are kept. Beyond them, those that stored nothing for longest are
/// forgotten.
const MAX_JOURNALS: usize = 10_000;

/// The highest numbers of all journals.
#[derive(Debug, Default)]
pub(super) struct Seen {
    journals: HashMap<Arc<str>, Highest>,
    /// Whether no file was ever stored here for a journal that is not in `journals`.
    pub(super) is_complete: bool,
    next_age: u64,
}

#[derive(Debug, Clone, Copy)]
struct Highest {
    number: u64,
    age: u64,
}

impl Seen {
    /// For a directory in which no file was ever stored.
    pub(super) fn complete() -> Self {
        Self {
            is_complete: true,
            ..Self::default()
        }
    }

    /// Records a number, and returns whether other journals were forgotten for it.
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

    /// The highest number of a journal, 0 if no file was stored; `None` if that is not known.
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

    /// All journals and numbers, beginning with the journal that stored nothing for longest.
    pub(super) fn oldest_first(&self) -> Vec<(&Arc<str>, u64)> {
        let mut all: Vec<_> = self.journals.iter().collect();
        all.sort_unstable_by_key(|(_, highest)| highest.age);
        all.into_iter()
            .map(|(journal, highest)| (journal, highest.number))
            .collect()
    }

    /// Forgets a hundredth at a time, so that the oldest need not be found for every journal.
    fn forget_oldest(&mut self) {
        let mut ages: Vec<_> = self.journals.values().map(|highest| highest.age).collect();
        let (_, &mut last, _) = ages.select_nth_unstable(MAX_JOURNALS / 100);
        self.journals.retain(|_, highest| highest.age > last);
        self.is_complete = false;
    }
}

#[cfg(test)]
mod tests;
