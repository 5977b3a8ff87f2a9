//! Whether a server may get files: the AND of independent facts, each with its reason and since
//! when.
//!
//! Owns the rules (how many failed probes make a server down, what a doubt does, how long a refusal
//! pauses it) and leaves probing, timing and logging to the balancer. Every change gives a [`Flip`]
//! only when a fact changed.

use std::borrow::Cow;
use std::time::Duration;

/// How probes count.
#[derive(Debug, Clone, Copy)]
pub struct HealthConfig {
    /// Failed probes in a row that make a connected server down.
    pub fall: u32,
    /// Good probes in a row that make a down server connected again.
    pub rise: u32,
    /// How long a server that refused a file for a cause of its own gets none, the first time;
    /// doubled up to a quarter of a minute while it goes on refusing.
    pub pause: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            fall: 2,
            rise: 2,
            pause: Duration::from_millis(500),
        }
    }
}

/// The longest pause of a server that goes on refusing files.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// What a server's state is made of. The order is the one in which a reason is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// An operator's wish, or weight 0.
    Drain,
    /// What the probes say.
    Connection,
    /// What dispatch saw: a reset or a timeout is believed at once, and until a probe says
    /// otherwise.
    Trust,
    /// Whether no other name leads to the same server, or to a copy of its directory.
    Identity,
    /// The connection that files are sent over.
    Link,
    /// The overload byte.
    Load,
    /// Whether the server can store, by its last refusals.
    Storage,
}

const FACTS: [Fact; 7] = [
    Fact::Drain,
    Fact::Connection,
    Fact::Trust,
    Fact::Identity,
    Fact::Link,
    Fact::Load,
    Fact::Storage,
];

impl Fact {
    /// The fact's name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Connection => "connection",
            Self::Trust => "trust",
            Self::Identity => "identity",
            Self::Link => "link",
            Self::Load => "load",
            Self::Storage => "storage",
        }
    }
}

/// What keeps a server from getting files, as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It does not answer, or its connection broke.
    Down,
    /// Another name leads to the same server, or to a copy of its directory.
    Twice,
    /// It says that it has too much to do.
    Overloaded,
    /// It refused files for a cause of its own.
    Paused,
}

/// The facts that are troubles, the gravest first.
const TROUBLES: [(Fact, Trouble); 6] = [
    (Fact::Connection, Trouble::Down),
    (Fact::Trust, Trouble::Down),
    (Fact::Link, Trouble::Down),
    (Fact::Identity, Trouble::Twice),
    (Fact::Load, Trouble::Overloaded),
    (Fact::Storage, Trouble::Paused),
];

/// A fact that has just changed, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// Which fact.
    pub fact: Fact,
    /// Whether it now allows files.
    pub good: bool,
    /// Why.
    pub reason: Cow<'static, str>,
    /// How long the fact had been as it was before.
    pub lasted: Duration,
}

#[derive(Debug, Clone)]
struct State {
    good: bool,
    reason: Cow<'static, str>,
    since: Duration,
}

/// The state of one server.
#[derive(Debug, Clone)]
pub struct Health {
    config: HealthConfig,
    states: [State; FACTS.len()],
    /// Probes in a row that contradict the connection fact.
    streak: u32,
    /// No probe has been answered yet: the first answer decides alone.
    fresh: bool,
    pause: Duration,
    paused_until: Option<Duration>,
}

impl Health {
    /// A server that nothing is known of yet: it gets no file before its first good probe and its
    /// link.
    pub fn new(config: HealthConfig, now: Duration) -> Self {
        let state = |good, reason| State {
            good,
            reason: Cow::Borrowed(reason),
            since: now,
        };
        let states = FACTS.map(|fact| match fact {
            Fact::Connection => state(false, "not probed yet"),
            Fact::Link => state(false, "not connected yet"),
            _ => state(true, ""),
        });
        Self {
            config,
            states,
            streak: 0,
            fresh: true,
            pause: config.pause,
            paused_until: None,
        }
    }

    /// What keeps the server from getting files, and why, whatever an operator wants of it.
    pub fn trouble(&self) -> Option<(Trouble, &str)> {
        let (fact, trouble) = TROUBLES.into_iter().find(|(fact, _)| !self.allows(*fact))?;
        Some((trouble, &self.state(fact).reason))
    }

    /// Whether every fact allows files.
    pub fn is_good(&self) -> bool {
        self.states.iter().all(|state| state.good)
    }

    /// Whether no probe has ended yet.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Counts probes in another way from now on.
    pub fn configure(&mut self, config: HealthConfig) {
        self.config = config;
    }

    /// Whether this fact allows files.
    pub fn allows(&self, fact: Fact) -> bool {
        self.state(fact).good
    }

    /// The first fact that forbids files, why, and since when.
    pub fn problem(&self) -> Option<(Fact, &str, Duration)> {
        self.first_problem(|_| true)
    }

    /// The same, as if this fact allowed them.
    pub fn problem_beside(&self, but: Fact) -> Option<(Fact, &str, Duration)> {
        self.first_problem(|fact| fact != but)
    }

    fn first_problem(&self, counts: impl Fn(Fact) -> bool) -> Option<(Fact, &str, Duration)> {
        let mut facts = FACTS.into_iter();
        let fact = facts.find(|fact| counts(*fact) && !self.allows(*fact))?;
        let state = self.state(fact);
        Some((fact, &state.reason, state.since))
    }

    /// Since when the state as a whole is what it is.
    pub fn since(&self) -> Duration {
        let changed = |good| {
            self.states
                .iter()
                .filter(move |state| state.good == good)
                .map(|state| state.since)
        };
        if self.is_good() {
            changed(true).max()
        } else {
            changed(false).min()
        }
        .unwrap_or_default()
    }

    /// A probe was answered, with this overload byte.
    pub fn probe_answered(&mut self, overloaded: bool, now: Duration) -> Vec<Flip> {
        let mut flips = Vec::new();
        self.streak = if self.allows(Fact::Connection) {
            0
        } else {
            self.streak + 1
        };
        if !self.allows(Fact::Connection) && (self.fresh || self.streak >= self.config.rise) {
            flips.extend(self.set(Fact::Connection, true, "probes answered", now));
            self.streak = 0;
        }
        self.fresh = false;
        flips.extend(self.set(Fact::Trust, true, "a probe was answered", now));
        let reason = if overloaded {
            "overload byte 1"
        } else {
            "overload byte 0"
        };
        flips.extend(self.set(Fact::Load, !overloaded, reason, now));
        flips
    }

    /// A probe failed.
    pub fn probe_failed(&mut self, reason: &str, now: Duration) -> Option<Flip> {
        if !self.allows(Fact::Connection) {
            self.streak = 0;
            self.fresh = false;
            // The newest reason is the one that helps: "refused" may have become "timed out".
            self.state_mut(Fact::Connection).reason = Cow::Owned(reason.to_owned());
            return None;
        }
        self.streak += 1;
        if self.streak < self.config.fall {
            return None;
        }
        self.streak = 0;
        self.set(Fact::Connection, false, reason.to_owned(), now)
    }

    /// Dispatch saw the server fail. It gets no file until a probe is answered.
    pub fn doubt(&mut self, reason: &str, now: Duration) -> Option<Flip> {
        self.set(Fact::Trust, false, reason.to_owned(), now)
    }

    /// The connection for files opened or closed.
    pub fn link(
        &mut self,
        open: bool,
        reason: impl Into<Cow<'static, str>>,
        now: Duration,
    ) -> Option<Flip> {
        self.set(Fact::Link, open, reason, now)
    }

    /// The server is known under another name already, or no longer.
    pub fn identity(
        &mut self,
        good: bool,
        reason: impl Into<Cow<'static, str>>,
        now: Duration,
    ) -> Option<Flip> {
        let reason = reason.into();
        let flip = self.set(Fact::Identity, good, reason.clone(), now);
        // It may turn out later what the other one is.
        self.state_mut(Fact::Identity).reason = reason;
        flip
    }

    /// An operator drains the server, or lets it work again.
    pub fn drain(
        &mut self,
        drained: bool,
        reason: impl Into<Cow<'static, str>>,
        now: Duration,
    ) -> Option<Flip> {
        self.set(Fact::Drain, !drained, reason, now)
    }

    /// The server refused a file for a cause that lies with it: it gets none for a while.
    pub fn refused(&mut self, reason: &str, now: Duration) -> Option<Flip> {
        if self.paused_until.is_none() {
            self.paused_until = Some(now + self.pause);
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
        self.set(Fact::Storage, false, reason.to_owned(), now)
    }

    /// The server stored a file: its refusals are forgotten.
    pub fn stored(&mut self) {
        self.pause = self.config.pause;
    }

    /// When a pause ends, if there is one.
    pub fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Ends a pause whose time has come.
    pub fn wake(&mut self, now: Duration) -> Option<Flip> {
        self.paused_until.take_if(|until| *until <= now)?;
        self.set(Fact::Storage, true, "tried again", now)
    }

    fn set(
        &mut self,
        fact: Fact,
        good: bool,
        reason: impl Into<Cow<'static, str>>,
        now: Duration,
    ) -> Option<Flip> {
        let state = self.state_mut(fact);
        if state.good == good {
            return None;
        }
        let lasted = now.saturating_sub(state.since);
        *state = State {
            good,
            reason: reason.into(),
            since: now,
        };
        Some(Flip {
            fact,
            good,
            reason: state.reason.clone(),
            lasted,
        })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a place for each fact"
    )]
    fn state(&self, fact: Fact) -> &State {
        &self.states[fact as usize]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a place for each fact"
    )]
    fn state_mut(&mut self, fact: Fact) -> &mut State {
        &mut self.states[fact as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A server with an open link whose first probe was answered.
    fn healthy() -> Health {
        let mut health = Health::new(HealthConfig::default(), at(0));
        health.link(true, "", at(0));
        health.probe_answered(false, at(0));
        assert!(health.is_good());
        health
    }

    #[test]
    fn places_in_the_array_follow_the_order_of_the_facts() {
        for (place, fact) in FACTS.into_iter().enumerate() {
            assert_eq!(fact as usize, place);
        }
    }

    #[test]
    fn the_first_answer_makes_a_new_server_good_and_nothing_less() {
        let mut health = Health::new(HealthConfig::default(), at(0));
        assert_eq!(health.problem().unwrap().0, Fact::Connection);
        assert_eq!(health.probe_answered(false, at(1)).len(), 1);
        assert_eq!(health.problem().unwrap().0, Fact::Link);
        health.link(true, "", at(1));
        assert!(health.is_good() && health.problem().is_none());
    }

    #[test]
    fn falls_after_two_and_rises_after_two() {
        let mut health = healthy();
        assert_eq!(health.probe_failed("timed out", at(1)), None);
        health.probe_answered(false, at(2));
        assert_eq!(health.probe_failed("timed out", at(3)), None);
        let flip = health.probe_failed("timed out", at(4)).unwrap();
        assert_eq!(
            (flip.fact, flip.good, &*flip.reason, flip.lasted),
            (Fact::Connection, false, "timed out", at(4))
        );
        assert_eq!(health.probe_failed("refused", at(5)), None);
        assert_eq!(
            health.problem().unwrap(),
            (Fact::Connection, "refused", at(4))
        );

        assert!(health.probe_answered(false, at(6)).is_empty());
        health.probe_failed("refused", at(7));
        assert!(health.probe_answered(false, at(8)).is_empty());
        assert_eq!(health.probe_answered(false, at(9)).len(), 1);
        assert!(health.is_good());
    }

    #[test]
    fn a_new_server_that_fails_first_needs_two_answers() {
        let mut health = Health::new(HealthConfig::default(), at(0));
        health.probe_failed("refused", at(0));
        assert!(health.probe_answered(false, at(1)).is_empty());
        assert_eq!(health.probe_answered(false, at(2)).len(), 1);
    }

    #[test]
    fn a_doubt_counts_at_once_and_a_probe_clears_it() {
        let mut health = healthy();
        assert!(health.doubt("reset", at(3)).is_some());
        assert!(health.doubt("reset again", at(4)).is_none());
        assert_eq!(health.problem().unwrap(), (Fact::Trust, "reset", at(3)));
        assert_eq!(health.probe_answered(false, at(5)).len(), 1);
        assert!(health.is_good());
    }

    #[test]
    fn the_overload_byte_is_a_fact_of_its_own() {
        let mut health = healthy();
        let flips = health.probe_answered(true, at(1));
        assert_eq!((flips[0].fact, flips[0].good), (Fact::Load, false));
        assert!(health.probe_answered(true, at(2)).is_empty());
        assert!(!health.is_good() && health.allows(Fact::Connection));
        assert_eq!(health.probe_answered(false, at(3)).len(), 1);
        assert!(health.is_good());
    }

    #[test]
    fn refusals_pause_longer_and_longer_until_a_file_is_stored() {
        let mut health = healthy();
        let mut now = at(10);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(health.refused("disk full", now).is_some());
            assert!(
                health.refused("disk full", now).is_none(),
                "refusals in flight count once"
            );
            let until = health.paused_until().unwrap();
            assert_eq!(
                health.wake(until.saturating_sub(Duration::from_millis(1))),
                None
            );
            pauses.push(until.saturating_sub(now));
            now = until;
            assert!(health.wake(now).is_some() && health.is_good());
        }
        assert_eq!(pauses[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(pauses[7], MAX_PAUSE);
        health.stored();
        health.refused("disk full", now);
        assert_eq!(
            health.paused_until(),
            Some(now + Duration::from_millis(500))
        );
    }

    #[test]
    fn facts_are_independent() {
        let mut health = healthy();
        health.drain(true, "operator", at(1));
        health.link(false, "reset", at(2));
        health.drain(false, "", at(3));
        assert_eq!(health.problem().unwrap().0, Fact::Link);
        assert_eq!(health.since(), at(2));
        health.link(true, "", at(4));
        assert!(health.is_good());
        assert_eq!(health.since(), at(4));
    }
}
