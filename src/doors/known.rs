//! Those who have told something at a doorway: how often they may, and whether one name is that of two
//! agents.
//!
//! Invariant: there are never more than the most, and nobody who is known makes way for somebody new,
//! however many come. Knows no clock: it is told how long it has run.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::rate::Rate;
use super::refused::Refused;

/// The messages of one that tells something.
const RATE: Rate = Rate {
    a_second: 2.0,
    at_once: 10.0,
};

/// A face that is back within this time, after others, is that of one agent of several.
const TURNS: Duration = Duration::from_secs(20);

/// Former faces that are remembered: more agents than that with one name come too often.
const FORMER: usize = 32;

/// How long after they took turns it is said.
const SAID_FOR: Duration = Duration::from_mins(1);

/// The time between two looks at who has gone, while there is no place.
const LOOK: Duration = Duration::from_mins(1);

/// Those who have told something.
pub(super) struct Known<K> {
    all: HashMap<K, Entry>,
    most: usize,
    looked: Option<Duration>,
}

struct Entry {
    /// When it was last heard.
    last: Duration,
    /// Messages that it may send at once, at that time.
    left: f64,
    /// How it looks besides its name, such as its port.
    face: u64,
    /// When it looked so last.
    seen: Duration,
    /// How it looked before, and when each face was there last; the latest stands last.
    former: VecDeque<(u64, Duration)>,
    /// Until when it is said that there are several.
    are_two: Option<Duration>,
}

impl<K: Hash + Eq + Clone> Known<K> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: HashMap::new(),
            most,
            looked: None,
        }
    }

    /// Whether somebody may tell something now. When there is no place for somebody new, those go whom
    /// `is_there` does not know any more; it is asked at most once a minute.
    pub(super) fn may<F: Fn(&K) -> bool>(
        &mut self,
        who: &K,
        now: Duration,
        is_there: impl FnOnce() -> F,
    ) -> Result<(), Refused> {
        if let Some(entry) = self.all.get(who) {
            return if RATE.after(entry.left, now.saturating_sub(entry.last)) < 1.0 {
                Err(Refused::TOO_OFTEN)
            } else {
                Ok(())
            };
        }
        if self.all.len() >= self.most
            && self
                .looked
                .is_none_or(|looked| now.saturating_sub(looked) >= LOOK)
        {
            self.looked = Some(now);
            let is_there = is_there();
            self.all.retain(|who, _| is_there(who));
        }
        if self.all.len() < self.most {
            Ok(())
        } else {
            Err(Refused::TOO_MANY_SOURCES)
        }
    }

    /// Somebody has told something who may. Says how long ago the word before was.
    pub(super) fn took(&mut self, who: &K, face: u64, now: Duration) -> Option<Duration> {
        let Some(entry) = self.all.get_mut(who) else {
            let entry = Entry {
                last: now,
                left: RATE.at_once - 1.0,
                face,
                seen: now,
                former: VecDeque::new(),
                are_two: None,
            };
            self.all.insert(who.clone(), entry);
            return None;
        };
        let gap = now.saturating_sub(entry.last);
        entry.left = RATE.after(entry.left, gap) - 1.0;
        entry.saw(face, now);
        entry.last = now;
        Some(gap)
    }

    /// Somebody who is known has told something that does not count.
    pub(super) fn saw(&mut self, who: &K, face: u64, now: Duration) {
        if let Some(entry) = self.all.get_mut(who) {
            entry.saw(face, now);
        }
    }

    /// Those whose name is that of several agents.
    pub(super) fn doubles(&self, now: Duration) -> impl Iterator<Item = &K> {
        self.all
            .iter()
            .filter(move |(_, entry)| entry.are_two.is_some_and(|until| now < until))
            .map(|(who, _)| who)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.all.len()
    }
}

impl Entry {
    /// How it looks now.
    fn saw(&mut self, face: u64, now: Duration) {
        if face != self.face {
            self.former
                .retain(|(_, at)| now.saturating_sub(*at) <= TURNS);
            if self.former.iter().any(|(former, _)| *former == face) {
                self.are_two = Some(now + SAID_FOR);
                self.former.retain(|(former, _)| *former != face);
            }
            if self.former.len() >= FORMER {
                self.former.pop_front();
            }
            self.former.push_back((self.face, self.seen));
            self.face = face;
        }
        self.seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn all_there() -> impl Fn(&u32) -> bool {
        |_| true
    }

    #[test]
    fn each_may_speak_twice_a_second_and_ten_times_at_once() {
        let mut known = Known::new(10);
        let mut tell = |now: Duration| {
            let may = known.may(&1, now, all_there);
            if may.is_ok() {
                known.took(&1, 0, now);
            }
            may.is_ok()
        };
        let at_once = (0..100).filter(|_| tell(S)).count();
        assert_eq!(at_once, 10);
        // In the ten seconds after.
        let then = (1..=10_000).filter(|ms| tell(S + Duration::from_millis(*ms)));
        assert_eq!(then.count(), 20);
    }

    #[test]
    fn a_flood_of_new_ones_moves_nobody_out() {
        let mut known = Known::new(3);
        for who in 0..3_u32 {
            known.may(&who, S, all_there).unwrap();
            known.took(&who, 0, S);
        }
        let asked = std::cell::Cell::new(0);
        for who in 3..100_003_u32 {
            let is_there = || {
                asked.set(asked.get() + 1);
                |_: &u32| true
            };
            let may = known.may(&who, 2 * S, is_there);
            assert_eq!(may, Err(Refused::TOO_MANY_SOURCES));
        }
        assert_eq!((known.len(), asked.get()), (3, 1));
        for who in 0..3_u32 {
            known.may(&who, 3 * S, all_there).unwrap();
        }
        // One was forgotten meanwhile: there is a place.
        known.may(&9, 70 * S, || |who: &u32| *who != 1).unwrap();
        known.took(&9, 0, 70 * S);
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn a_new_port_is_a_restart_and_ports_that_take_turns_are_two_agents() {
        let mut known = Known::new(10);
        let doubles = |known: &Known<u32>, now| known.doubles(now).count();
        for (now, port) in [(0, 1), (6, 1), (12, 2), (18, 2), (24, 3)] {
            known.took(&7, port, now * S);
            assert_eq!(doubles(&known, now * S), 0, "{now}");
        }
        known.took(&7, 2, 27 * S);
        assert_eq!(doubles(&known, 27 * S), 1);
        assert_eq!(doubles(&known, 86 * S), 1);
        assert_eq!(doubles(&known, 87 * S), 0);
        // Back after a long time: a restart that got an old port by chance.
        known.took(&7, 5, 200 * S);
        known.took(&7, 2, 300 * S);
        assert_eq!(doubles(&known, 300 * S), 0);
    }

    /// Three or more never came back to the face before the last one.
    #[test]
    fn more_than_two_that_take_turns_are_several_agents() {
        for agents in [2, 3, 12] {
            let mut known = Known::new(10);
            for turn in 0..agents {
                known.took(&7_u32, turn, turn_at(turn));
                assert_eq!(known.doubles(turn_at(turn)).count(), 0);
            }
            known.took(&7, 0, turn_at(agents));
            assert_eq!(known.doubles(turn_at(agents)).count(), 1, "{agents}");
            assert!(known.all[&7].former.len() <= FORMER);
        }
        // Faces that never come back are restarts, and few are remembered.
        let mut known = Known::new(10);
        for face in 0..1000 {
            known.took(&7_u32, face, turn_at(1));
        }
        assert_eq!(known.doubles(turn_at(1)).count(), 0);
        assert_eq!(known.all[&7].former.len(), FORMER);
    }

    fn turn_at(turn: u64) -> Duration {
        Duration::from_millis(turn * 500)
    }

    #[test]
    fn the_time_since_the_last_word_is_told() {
        let mut known = Known::new(10);
        assert_eq!(known.took(&1_u32, 0, S), None);
        assert_eq!(known.took(&1, 0, 7 * S), Some(6 * S));
    }
}
