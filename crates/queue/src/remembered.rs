//! In which order files that ended are forgotten: pure, and fair to those who sent them.
//!
//! Invariant: when there are too many, those of the sender that has most go first, the oldest of them
//! first. So a sender of many files makes the balancer forget its own, and not those of others, who
//! may still send theirs again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Files that ended and are remembered, by their senders.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    senders: HashMap<Arc<str>, VecDeque<Ended>>,
    /// The senders by how many files they have.
    by_files: BTreeSet<(usize, Arc<str>)>,
    /// The senders by the time of their oldest file.
    by_age: BTreeSet<(u64, Arc<str>)>,
    len: usize,
}

/// A file that ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at_ms: u64,
    number: u64,
}

impl Remembered {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a file that ended behind all others of its sender: a user, or `None` for whoever sends
    /// where there are no users.
    pub(super) fn push(&mut self, user: Option<&str>, at_ms: u64, number: u64) {
        let sender = user.unwrap_or_default();
        let known = self.senders.get_key_value(sender);
        let name = known.map_or_else(|| Arc::from(sender), |(name, _)| name.clone());
        let files = self.senders.entry(name.clone()).or_default();
        if files.is_empty() {
            self.by_age.insert((at_ms, name.clone()));
        }
        self.by_files.remove(&(files.len(), name.clone()));
        files.push_back(Ended { at_ms, number });
        self.by_files.insert((files.len(), name));
        self.len += 1;
    }

    /// Takes a file that ended at this time or before.
    pub(super) fn pop_old(&mut self, ended_ms: u64) -> Option<u64> {
        let (at_ms, sender) = self.by_age.first()?;
        (*at_ms <= ended_ms)
            .then(|| sender.clone())
            .and_then(|sender| self.pop(&sender))
    }

    /// Takes a file if there are more than so many.
    pub(super) fn pop_excess(&mut self, most: usize) -> Option<u64> {
        if self.len <= most {
            return None;
        }
        let (_, sender) = self.by_files.last()?;
        let sender = sender.clone();
        self.pop(&sender)
    }

    /// Takes a sender's oldest file.
    fn pop(&mut self, sender: &Arc<str>) -> Option<u64> {
        let files = self.senders.get_mut(sender)?;
        let first = files.pop_front()?;
        self.len -= 1;
        self.by_age.remove(&(first.at_ms, sender.clone()));
        self.by_files.remove(&(files.len() + 1, sender.clone()));
        if let Some(next) = files.front() {
            self.by_age.insert((next.at_ms, sender.clone()));
            self.by_files.insert((files.len(), sender.clone()));
        } else {
            self.senders.remove(sender);
        }
        Some(first.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(files: &[(&str, u64, u64)]) -> Remembered {
        let mut remembered = Remembered::default();
        for (user, at_ms, number) in files {
            remembered.push(Some(user), *at_ms, *number);
        }
        remembered
    }

    fn all<T>(take: impl FnMut() -> Option<T>) -> Vec<T> {
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn the_oldest_go_first_whoever_sent_them() {
        let mut files = remembered(&[
            ("anna", 10, 1),
            ("bob", 20, 2),
            ("anna", 30, 3),
            ("carl", 5, 4),
        ]);
        assert_eq!(files.pop_old(4), None);
        assert_eq!(all(|| files.pop_old(20)), [4, 1, 2]);
        assert_eq!((files.len(), files.senders.len()), (1, 1));
        assert_eq!(all(|| files.pop_old(30)), [3]);
        assert!(files.by_age.is_empty() && files.by_files.is_empty() && files.senders.is_empty());
    }

    #[test]
    fn of_too_many_those_of_the_sender_with_most_go() {
        let mut files = remembered(&[("anna", 0, 1), ("anna", 1, 2), ("bob", 2, 3)]);
        for number in 4..1_000 {
            files.push(Some("mallory"), number, number);
            let gone = files.pop_excess(10);
            assert!(gone.is_none_or(|gone| gone >= 4), "{gone:?}");
        }
        assert_eq!(files.len(), 10);
        assert_eq!(all(|| files.pop_old(3)), [1, 2, 3]);
    }

    #[test]
    fn without_users_all_are_one_sender() {
        let mut files = Remembered::default();
        for number in 1..=3 {
            files.push(None, number, number);
        }
        assert_eq!(all(|| files.pop_excess(1)), [1, 2]);
    }
}
