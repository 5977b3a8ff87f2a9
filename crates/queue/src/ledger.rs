//! The memory of files that do not wait: the keys of all files, the dead letters, and for a while
//! the files that ended.
//!
//! Owns how long that is. Invariant: a key names one number from its acceptance until its file is
//! forgotten, and no file is forgotten while some server may hold a copy that it has not reported
//! (the file is *in doubt* there): the balancer could not tell a second copy from the only one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::body::FileBody;
use super::keys::Keys;
use super::record::{Death, Ended, History, Meta};
use super::remembered::Remembered;

/// How long files that ended are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// This long after their end.
    pub time: Duration,
    /// At most so many of them; beyond that, those of the user that has most are forgotten first. Files
    /// in doubt are not counted.
    pub files: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            time: Duration::from_hours(1),
            files: 100_000,
        }
    }
}

/// A file that no server takes.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// What its client said about it.
    pub meta: Arc<Meta>,
    /// Where its content is.
    pub content: FileBody,
    /// How often it came back from servers.
    pub history: History,
    /// When and why it became a dead letter.
    pub death: Death,
}

/// The memory of all files that do not wait.
#[derive(Debug, Default)]
pub struct Ledger {
    keys: Keys,
    ended: BTreeMap<u64, Arc<Ended>>,
    /// Those that are not pinned.
    remembered: Remembered,
    /// Those that were in doubt when they should have been forgotten.
    pinned: BTreeSet<u64>,
    dead: BTreeMap<u64, DeadLetter>,
    dead_bytes: u64,
    retention: Retention,
}

impl Ledger {
    /// A memory that knows these keys and no files yet.
    pub fn new(retention: Retention, keys: Keys) -> Self {
        Self {
            keys,
            retention,
            ..Self::default()
        }
    }

    /// Changes how long files are remembered from now on.
    pub fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// The number of the file that this key names.
    pub fn number_of(&self, key: &str) -> Option<u64> {
        self.keys.get(key)
    }

    /// Notes that the key names this file.
    pub fn name(&mut self, key: &str, number: u64) {
        self.keys.insert(key, number);
    }

    /// Notes that the file ended.
    pub fn end(&mut self, ended: Arc<Ended>) {
        self.remembered
            .push(ended.meta.user(), ended.at_ms, ended.number);
        self.ended.insert(ended.number, ended);
    }

    /// Whether any file that ended is remembered.
    pub fn remembers(&self) -> bool {
        self.remembered.len() > 0 || !self.pinned.is_empty()
    }

    /// How many files are remembered longer because they are in doubt at some server. They are at
    /// most as many as the doubts, which are bounded where they arise.
    pub fn pinned(&self) -> usize {
        self.pinned.len()
    }

    /// How the file ended, if that is remembered.
    pub fn ended(&self, number: u64) -> Option<&Arc<Ended>> {
        self.ended.get(&number)
    }

    /// The files that ended, by number.
    pub fn all_ended(&self) -> impl Iterator<Item = &Arc<Ended>> {
        self.ended.values()
    }

    /// The files that ended with lower numbers than `before`, from the highest to the lowest.
    pub fn ended_before(&self, before: u64) -> impl Iterator<Item = &Arc<Ended>> {
        self.ended.range(..before).rev().map(|(_, ended)| ended)
    }

    /// The dead letters, by number.
    pub fn dead(&self) -> &BTreeMap<u64, DeadLetter> {
        &self.dead
    }

    /// The content bytes of all dead letters.
    pub fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Adds a dead letter.
    pub fn bury(&mut self, number: u64, letter: DeadLetter) {
        self.dead_bytes += letter.meta.size;
        self.dead.insert(number, letter);
    }

    /// Removes a dead letter.
    pub fn remove_dead(&mut self, number: u64) -> Option<DeadLetter> {
        let letter = self.dead.remove(&number)?;
        self.dead_bytes -= letter.meta.size;
        Some(letter)
    }

    /// A dead letter, to note where its content moved.
    pub fn dead_mut(&mut self, number: u64) -> Option<&mut DeadLetter> {
        self.dead.get_mut(&number)
    }

    /// Forgets the files that are too old, or too many: first those of whoever sent most. Gives their
    /// numbers. Files in doubt are pinned instead.
    pub fn forget(&mut self, now_ms: u64, is_doubtful: impl Fn(u64) -> bool) -> Vec<u64> {
        let kept_ms = u64::try_from(self.retention.time.as_millis()).unwrap_or(u64::MAX);
        let mut forgotten = Vec::new();
        let most = self.retention.files;
        while let Some(number) = self.remembered.pop_excess(most).or_else(|| {
            let ended_ms = now_ms.checked_sub(kept_ms)?;
            self.remembered.pop_old(ended_ms)
        }) {
            if is_doubtful(number) {
                self.pinned.insert(number);
            } else {
                forgotten.push(number);
            }
        }
        for number in &forgotten {
            self.erase(*number);
        }
        forgotten
    }

    /// Forgets the pinned files that are no longer in doubt, and gives their numbers.
    pub fn unpin(&mut self, is_doubtful: impl Fn(u64) -> bool) -> Vec<u64> {
        let settled: Vec<u64> = self
            .pinned
            .iter()
            .copied()
            .filter(|number| !is_doubtful(*number))
            .collect();
        for number in &settled {
            self.pinned.remove(number);
            self.erase(*number);
        }
        settled
    }

    fn erase(&mut self, number: u64) {
        let ended = self.ended.remove(&number);
        if let Some(key) = ended.as_ref().and_then(|ended| ended.meta.key.as_deref()) {
            self.keys.remove(key, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::End;

    fn ended(number: u64, at_ms: u64) -> Arc<Ended> {
        let meta = Arc::new(Meta {
            title: "t".into(),
            key: Some(format!("k{number}").into()),
            from: "f".into(),
            size: 1,
            crc32c: 2,
            accepted_ms: 3,
        });
        let end = End::Delivered {
            server: "s".into(),
            identity: None,
            confirmed: true,
        };
        Arc::new(Ended {
            number,
            at_ms,
            end,
            meta,
            history: History::default(),
        })
    }

    fn ledger(time_s: u64, files: usize) -> Ledger {
        let mut ledger = Ledger::new(
            Retention {
                time: Duration::from_secs(time_s),
                files,
            },
            Keys::default(),
        );
        for number in 1..=10 {
            ledger.name(&format!("k{number}"), number);
            ledger.end(ended(number, number * 1000));
        }
        ledger
    }

    #[test]
    fn files_are_forgotten_with_their_keys_when_they_are_old() {
        let mut ledger = ledger(5, 100);
        assert_eq!(ledger.forget(9000, |_| false), [1, 2, 3, 4]);
        assert_eq!(
            (ledger.number_of("k4"), ledger.number_of("k5")),
            (None, Some(5))
        );
        assert!(ledger.ended(4).is_none() && ledger.ended(5).is_some());
    }

    #[test]
    fn no_more_are_remembered_than_may_be() {
        let mut ledger = ledger(1_000_000, 3);
        assert_eq!(ledger.forget(0, |_| false), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_is_in_doubt_is_kept_until_it_is_not() {
        let mut ledger = ledger(0, 0);
        assert_eq!(
            ledger.forget(u64::MAX, |number| number % 2 == 0),
            [1, 3, 5, 7, 9]
        );
        assert_eq!(ledger.number_of("k8"), Some(8));
        assert_eq!(ledger.unpin(|number| number != 4), [4]);
        assert!(ledger.ended(4).is_none() && ledger.ended(6).is_some());
    }

    /// Regression: beyond a bound the oldest were forgotten, and could be stored twice.
    #[test]
    fn what_is_in_doubt_is_kept_however_much_it_is() {
        let mut ledger = Ledger::new(
            Retention {
                time: Duration::ZERO,
                files: 0,
            },
            Keys::default(),
        );
        for number in 1..=200_000 {
            ledger.end(ended(number, 1));
        }
        assert!(ledger.forget(u64::MAX, |_| true).is_empty());
        assert!(ledger.remembers());
        assert_eq!(
            (ledger.pinned(), ledger.unpin(|number| number != 7)),
            (200_000, vec![7])
        );
    }

    /// A key that was forgotten and given to another file must stay with that one.
    #[test]
    fn a_key_that_names_another_file_by_now_stays() {
        let mut ledger = ledger(5, 100);
        ledger.name("k1", 99);
        ledger.forget(9000, |_| false);
        assert_eq!(ledger.number_of("k1"), Some(99));
    }
}
