//! What was told of a member, one layer for each trust, so that a claim never hides what is known
//! better.

use std::time::Duration;

use crate::fleet::facts::Facts;
use crate::fleet::told::Trust;

/// The shortest and the longest time between two words that is believed.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// After this many intervals without a word, nothing is known.
const MISSED: u32 = 3;

/// A figure that is not told for twice this time, or twice three intervals, is dropped.
const TURN: Duration = Duration::from_secs(30);

/// All that was told of a member, by trust.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers([Option<Box<Layer>>; 4]);

/// What was told with one trust.
#[derive(Debug, Clone)]
struct Layer {
    heard: Duration,
    /// Words so far, up to a few.
    words: u8,
    newer: Half,
    /// When `newer` was begun.
    turned: Duration,
    /// What was told before that: kept until the next turn, for figures that are told seldom.
    older: Option<Box<Half>>,
}

#[derive(Debug, Clone)]
struct Half {
    facts: Facts,
    every: Duration,
}

impl Layer {
    fn new(now: Duration) -> Self {
        Self {
            heard: now,
            words: 0,
            newer: Half {
                facts: Facts::default(),
                every: EVERY.0,
            },
            turned: now,
            older: None,
        }
    }

    fn tell(&mut self, facts: &Facts, every: Duration, now: Duration) {
        // A word that says only that somebody is there makes no figure old.
        let has_figures = *facts != Facts::default();
        if has_figures && now.saturating_sub(self.turned) >= TURN.max(self.pace() * MISSED) {
            let fresh = Half {
                facts: Facts::default(),
                every: EVERY.0,
            };
            let older = std::mem::replace(&mut self.newer, fresh);
            self.older = Some(Box::new(older));
            self.turned = now;
        }
        self.heard = now;
        self.words = self.words.saturating_add(1);
        self.newer.facts.merge(facts);
        self.newer.every = self.newer.every.max(every.clamp(EVERY.0, EVERY.1));
    }

    /// How often a word is expected: parts of an agent may tell at different paces.
    fn pace(&self) -> Duration {
        let older = self.older.as_ref().map_or(EVERY.0, |older| older.every);
        self.newer.every.max(older)
    }

    fn known_until(&self) -> Duration {
        self.heard + self.pace() * MISSED
    }

    fn view_into(&self, facts: &mut Facts) {
        if let Some(older) = &self.older {
            facts.merge(&older.facts);
        }
        facts.merge(&self.newer.facts);
    }
}

/// When something was last told with the best trust, and until when that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) at: Duration,
    /// From here on a word is overdue.
    pub(super) late: Duration,
    /// From here on nothing is known.
    pub(super) until: Duration,
}

impl Layers {
    /// Takes what is told.
    pub(super) fn tell(&mut self, trust: Trust, facts: &Facts, every: Duration, now: Duration) {
        if let Some(layer) = self.0.get_mut(trust as usize) {
            let layer = layer.get_or_insert_with(|| Box::new(Layer::new(now)));
            layer.tell(facts, every, now);
        }
    }

    /// The best trust with which something was told.
    pub(super) fn best(&self) -> Option<Trust> {
        [Trust::Measured, Trust::Proved, Trust::Asked, Trust::Claimed]
            .into_iter()
            .find(|trust| self.layer(*trust).is_some())
    }

    /// When something was told, by the best trust with which anything was: weaker words make nobody
    /// heard of.
    pub(super) fn heard(&self) -> Option<Heard> {
        let layer = self.layer(self.best()?)?;
        Some(Heard {
            at: layer.heard,
            late: layer.heard + layer.pace() * 3 / 2,
            until: layer.known_until(),
        })
    }

    /// Words that were told with this trust, up to 255.
    pub(super) fn words(&self, trust: Trust) -> u8 {
        self.layer(trust).map_or(0, |layer| layer.words)
    }

    /// The facts, and how far they can be believed. Field by field the better trust counts while it
    /// is fresh; claims count only if nothing better is.
    pub(super) fn view(&self, now: Duration) -> (Facts, Option<Trust>) {
        let mut facts = Facts::default();
        let fresh = |trust: &Trust| {
            self.layer(*trust)
                .is_some_and(|layer| now < layer.known_until())
        };
        let all = [Trust::Claimed, Trust::Asked, Trust::Proved, Trust::Measured];
        let best_fresh = all.iter().rev().copied().find(fresh);
        let trust = best_fresh.or_else(|| self.best());
        let counts = |seen: &Trust| *seen != Trust::Claimed || trust == Some(Trust::Claimed);
        let stale = all.iter().filter(|trust| !fresh(trust));
        for trust in stale.chain(all.iter().filter(|trust| fresh(trust))) {
            if counts(trust)
                && let Some(layer) = self.layer(*trust)
            {
                layer.view_into(&mut facts);
            }
        }
        (facts, trust)
    }

    /// Takes over what another member's layers have and these do not: two members turned out to be
    /// one.
    pub(super) fn absorb(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let newer = match (&mine, &theirs) {
                (Some(mine), Some(theirs)) => theirs.heard > mine.heard,
                (None, Some(_)) => true,
                _ => false,
            };
            if newer {
                *mine = theirs;
            }
        }
    }

    fn layer(&self, trust: Trust) -> Option<&Layer> {
        self.0.get(trust as usize)?.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn cpu(cpu: f32) -> Facts {
        Facts {
            cpu: Some(cpu),
            ..Facts::default()
        }
    }

    fn memory(used: u64) -> Facts {
        Facts {
            memory_used: Some(used),
            ..Facts::default()
        }
    }

    #[test]
    fn a_better_word_counts_field_by_field_while_it_is_fresh() {
        let mut layers = Layers::default();
        layers.tell(Trust::Proved, &cpu(0.1), S(5), S(0));
        layers.tell(Trust::Proved, &memory(7), S(5), S(1));
        layers.tell(Trust::Measured, &cpu(0.2), S(5), S(2));
        let (facts, trust) = layers.view(S(3));
        assert_eq!(
            (facts.cpu, facts.memory_used, trust),
            (Some(0.2), Some(7), Some(Trust::Measured))
        );
        layers.tell(Trust::Proved, &cpu(0.3), S(5), S(30));
        let (facts, trust) = layers.view(S(30));
        assert_eq!((facts.cpu, trust), (Some(0.3), Some(Trust::Proved)));
    }

    #[test]
    fn a_claim_shows_only_where_nothing_better_is_fresh() {
        let mut layers = Layers::default();
        layers.tell(Trust::Claimed, &memory(1), S(5), S(0));
        assert_eq!(layers.view(S(1)).0.memory_used, Some(1));
        layers.tell(Trust::Measured, &cpu(0.2), S(5), S(2));
        layers.tell(Trust::Claimed, &cpu(0.9), S(5), S(3));
        let (facts, trust) = layers.view(S(3));
        assert_eq!(
            (facts.cpu, facts.memory_used, trust),
            (Some(0.2), None, Some(Trust::Measured))
        );
        assert_eq!(layers.heard().unwrap().at, S(2), "claims make nobody heard");
        layers.tell(Trust::Claimed, &cpu(0.9), S(5), S(60));
        let (facts, trust) = layers.view(S(60));
        assert_eq!((facts.cpu, trust), (Some(0.9), Some(Trust::Claimed)));
    }

    #[test]
    fn a_figure_that_is_told_no_longer_is_dropped() {
        let mut layers = Layers::default();
        layers.tell(Trust::Proved, &memory(7), S(5), S(0));
        for second in (5..=50).step_by(5) {
            layers.tell(Trust::Proved, &cpu(0.5), S(5), S(second));
            assert_eq!(layers.view(S(second)).0.memory_used, Some(7), "{second}");
        }
        for second in (55..=120).step_by(5) {
            layers.tell(Trust::Proved, &cpu(0.5), S(5), S(second));
        }
        assert_eq!(layers.view(S(120)).0.memory_used, None);
    }

    /// Between figures that came every ten minutes an agent said that it was there, and each of those
    /// words made the figures older, until none were left.
    #[test]
    fn words_without_figures_drop_none() {
        let mut layers = Layers::default();
        layers.tell(Trust::Proved, &memory(7), S(5), S(0));
        for second in (5..=600).step_by(5) {
            layers.tell(Trust::Proved, &Facts::default(), S(5), S(second));
            assert_eq!(layers.view(S(second)).0.memory_used, Some(7), "{second}");
            assert_eq!(layers.heard().unwrap().until, S(second + 15));
        }
        for second in [600, 1200] {
            layers.tell(Trust::Proved, &cpu(0.5), S(5), S(second));
        }
        let facts = layers.view(S(1200)).0;
        assert_eq!((facts.cpu, facts.memory_used), (Some(0.5), None));
    }

    /// The parts of an agent tell every ten seconds and every seventy: it is not away in between.
    #[test]
    fn the_slowest_part_of_an_agent_sets_its_pace() {
        let mut layers = Layers::default();
        layers.tell(Trust::Proved, &memory(7), S(70), S(0));
        layers.tell(Trust::Proved, &cpu(0.5), S(10), S(10));
        assert_eq!(layers.heard().unwrap().until, S(220));
    }
}
