//! Core: how soon somebody who guessed wrong may try again.
//!
//! Knows no clock: it is told what time it is, since some beginning. Wrong guesses count for their
//! source, for their source and user, and for their user. The first two make whoever guesses wait,
//! twice as long after each wrong guess. The last one slows all attempts for that user a little:
//! nobody can shut a user out from elsewhere. What is kept is bounded, and the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::users::UserName;
use crate::transport::Source;

/// How many sources, and how many pairs of a source and a user, are remembered.
const REMEMBERED: usize = 16 * 1024;

/// How long after the last wrong guess it is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(30);

/// Wrong guesses of a source that cost nothing.
const FREE_OF_SOURCE: u32 = 10;

/// The longest wait of a source.
const MOST_OF_SOURCE: Duration = Duration::from_mins(5);

/// Wrong guesses of a source for one user that cost nothing.
const FREE_OF_PAIR: u32 = 5;

/// The longest wait of a source for one user.
const MOST_OF_PAIR: Duration = Duration::from_mins(15);

/// The longest wait of this machine, from which all clients of a proxy come.
const MOST_HERE: Duration = Duration::from_secs(5);

/// Wrong guesses for a user, from anywhere, that slow nobody.
const FREE_OF_USER: u32 = 20;

/// The longest delay of all attempts for a user.
const MOST_OF_USER: Duration = Duration::from_secs(2);

/// What was guessed wrong lately.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    sources: Wrong<Source>,
    pairs: Wrong<(Source, UserName)>,
    users: Wrong<UserName>,
    /// Tokens that are not good. They cannot be guessed: a program that goes on showing an old one
    /// must not keep people at the same address from logging in.
    tokens: Wrong<Source>,
}

/// An attempt comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooEarly(pub(super) Duration);

impl Guesses {
    /// Whether somebody may try a secret now, and how long the answer must be held back. A
    /// name that no user can have counts for its source alone.
    pub(super) fn may_try(
        &mut self,
        source: Source,
        user: Option<&UserName>,
        now: Duration,
    ) -> Result<Duration, TooEarly> {
        let most = |most: Duration| if source.is_local() { MOST_HERE } else { most };
        let of_source = self
            .sources
            .rest(&source, FREE_OF_SOURCE, most(MOST_OF_SOURCE), now);
        let Some(user) = user else {
            return over(of_source).map(|()| Duration::ZERO);
        };
        let pair = (source, user.clone());
        let of_pair = self
            .pairs
            .rest(&pair, FREE_OF_PAIR, most(MOST_OF_PAIR), now);
        over(of_source.max(of_pair))?;
        let wrong = self.users.count(user, now).saturating_sub(FREE_OF_USER);
        Ok((Duration::from_millis(100) * wrong).min(MOST_OF_USER))
    }

    /// Somebody tries a secret. It counts as wrong until it turns out to be right, so that many
    /// attempts at once cost as much as one after the other.
    pub(super) fn tried(&mut self, source: Source, user: Option<&UserName>, now: Duration) {
        self.sources.add(source, now);
        if let Some(user) = user {
            self.pairs.add((source, user.clone()), now);
            self.users.add(user.clone(), now);
        }
    }

    /// Whether a token that is not good is worth a word now. A good one is never made to wait.
    pub(super) fn bad_token(&mut self, source: Source, now: Duration) -> Result<(), TooEarly> {
        let most = if source.is_local() {
            MOST_HERE
        } else {
            MOST_OF_SOURCE
        };
        over(self.tokens.rest(&source, FREE_OF_SOURCE, most, now))?;
        self.tokens.add(source, now);
        Ok(())
    }

    /// It was right: what this source guessed for this user is forgotten.
    pub(super) fn was_right(&mut self, source: Source, user: &UserName) {
        self.sources.take_back(&source);
        self.users.take_back(user);
        self.pairs.forget(&(source, user.clone()));
    }

    /// An administrator lets a user's sources try again at once.
    pub(super) fn unlock(&mut self, user: &UserName) {
        self.users.forget(user);
        let of_user: Vec<_> = self
            .pairs
            .counts
            .keys()
            .filter(|(_, other)| other == user)
            .cloned()
            .collect();
        for pair in of_user {
            self.sources.forget(&pair.0);
            self.pairs.forget(&pair);
        }
    }
}

fn over(rest: Duration) -> Result<(), TooEarly> {
    if rest.is_zero() {
        Ok(())
    } else {
        Err(TooEarly(rest))
    }
}

/// Counts of wrong guesses.
#[derive(Debug)]
struct Wrong<K> {
    counts: HashMap<K, Count>,
    /// The keys in the order in which they came, oldest first. One that was forgotten meanwhile may
    /// stand here still.
    order: VecDeque<K>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    wrong: u32,
    last: Duration,
}

impl<K> Default for Wrong<K> {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Wrong<K> {
    fn add(&mut self, key: K, now: Duration) {
        let before = self.count(&key, now);
        let count = Count {
            wrong: before.saturating_add(1),
            last: now,
        };
        if self.counts.insert(key.clone(), count).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.counts.remove(&oldest);
            }
        }
    }

    fn take_back(&mut self, key: &K) {
        if let Some(count) = self.counts.get_mut(key) {
            count.wrong = count.wrong.saturating_sub(1);
        }
    }

    fn forget(&mut self, key: &K) {
        self.counts.remove(key);
    }

    fn count(&self, key: &K, now: Duration) -> u32 {
        let count = self.counts.get(key);
        let recent = count.filter(|count| now.saturating_sub(count.last) < FORGOTTEN);
        recent.map_or(0, |count| count.wrong)
    }

    /// How long this key must still wait: a second after the first guess that is not free, and
    /// twice as long after each one more.
    fn rest(&self, key: &K, free: u32, most: Duration, now: Duration) -> Duration {
        let paid = self.count(key, now).saturating_sub(free);
        let (Some(count), 1..) = (self.counts.get(key), paid) else {
            return Duration::ZERO;
        };
        let wait = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(paid - 1));
        (count.last + wait.min(most)).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn from(address: &str) -> Source {
        Source::of(format!("{address}:1").parse().unwrap())
    }

    fn anna() -> UserName {
        UserName::parse("anna").unwrap()
    }

    #[test]
    fn a_source_waits_twice_as_long_after_each_wrong_guess_and_others_do_not() {
        let mut guesses = Guesses::default();
        let (bad, good) = (from("192.0.2.1"), from("192.0.2.2"));
        let mut now = SECOND;
        for _ in 0..=FREE_OF_SOURCE {
            assert_eq!(guesses.may_try(bad, None, now), Ok(Duration::ZERO));
            guesses.tried(bad, None, now);
        }
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = SECOND * wait;
            assert_eq!(guesses.may_try(bad, None, now), Err(TooEarly(wait)));
            assert_eq!(guesses.may_try(good, None, now), Ok(Duration::ZERO));
            now += wait;
            assert_eq!(guesses.may_try(bad, None, now), Ok(Duration::ZERO));
            guesses.tried(bad, None, now);
        }
        now += FORGOTTEN;
        assert_eq!(guesses.may_try(bad, None, now), Ok(Duration::ZERO));
    }

    #[test]
    fn nobody_can_shut_a_user_out_from_elsewhere() {
        let mut guesses = Guesses::default();
        let user = anna();
        for attacker in 0..200_u32 {
            let source = from(&format!("198.51.100.{attacker}"));
            for _ in 0..20 {
                guesses.tried(source, Some(&user), SECOND);
            }
        }
        let home = from("192.0.2.1");
        assert_eq!(guesses.may_try(home, Some(&user), SECOND), Ok(MOST_OF_USER));
        guesses.unlock(&user);
        assert_eq!(
            guesses.may_try(home, Some(&user), SECOND),
            Ok(Duration::ZERO)
        );
        let attacker = from("198.51.100.7");
        assert_eq!(
            guesses.may_try(attacker, Some(&user), SECOND),
            Ok(Duration::ZERO)
        );
    }

    #[test]
    fn the_right_password_ends_the_wait_of_its_user_there_and_no_other() {
        let mut guesses = Guesses::default();
        let (source, user, other) = (from("192.0.2.1"), anna(), UserName::parse("bob").unwrap());
        for _ in 0..=FREE_OF_PAIR {
            guesses.tried(source, Some(&user), SECOND);
        }
        assert_eq!(
            guesses.may_try(source, Some(&user), SECOND),
            Err(TooEarly(SECOND))
        );
        assert_eq!(
            guesses.may_try(source, Some(&other), SECOND),
            Ok(Duration::ZERO)
        );
        guesses.was_right(source, &user);
        assert_eq!(
            guesses.may_try(source, Some(&user), SECOND),
            Ok(Duration::ZERO)
        );
    }

    #[test]
    fn this_machine_waits_for_a_few_seconds_at_most() {
        let mut guesses = Guesses::default();
        for _ in 0..100 {
            guesses.tried(from("127.0.0.1"), Some(&anna()), SECOND);
        }
        assert_eq!(
            guesses.may_try(from("127.0.0.1"), Some(&anna()), SECOND),
            Err(TooEarly(MOST_HERE))
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guesses = Guesses::default();
        for attacker in 0..40_000_u32 {
            let source = Source::of((std::net::Ipv4Addr::from_bits(attacker), 1).into());
            guesses.tried(source, Some(&anna()), SECOND);
        }
        assert_eq!(guesses.sources.counts.len(), REMEMBERED);
        assert_eq!(guesses.sources.order.len(), REMEMBERED);
        assert_eq!(guesses.pairs.counts.len(), REMEMBERED);
    }
}
