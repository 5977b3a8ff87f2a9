//! What the hub does for operators: samples, orders, and other settings while it runs.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{After, Hub};
use crate::balancer::events::{Kind, Level};
use crate::balancer::orders::{Command, MAX_SERVERS, Order, OrderError, Sample, Settings};
use crate::balancer::probe::ProbePace;
use crate::config::{ServerSpec, SpecError};
use crate::schedule::{Fact, Flip, Slot};

/// The longest time that is told apart from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// How many digits of times are kept.
const DIGITS: u8 = 2;

/// How long files took, in microseconds.
#[derive(Debug)]
pub(super) struct Times {
    accept: Histogram<u64>,
    deliver: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants that the tests have tried")]
        let times = || Histogram::new_with_max(LONGEST, DIGITS).expect("the bounds are good");
        Self {
            accept: times(),
            deliver: times(),
        }
    }
}

impl Times {
    /// A file got its receipt so long after it was read whole.
    pub(super) fn accepted(&mut self, took: Duration) {
        self.accept.saturating_record(micros(took));
    }

    /// A server acknowledged a file so long after its acceptance.
    pub(super) fn delivered(&mut self, took: Duration) {
        self.deliver.saturating_record(micros(took));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How servers are probed with these settings.
pub(super) fn pace(settings: &Settings) -> ProbePace {
    ProbePace {
        interval: settings.probe_interval,
        timeout: settings.probe_timeout,
    }
}

impl Hub {
    pub(super) fn command(&mut self, command: Command, now: Duration) {
        // Who asked may have gone in the meantime; an order is carried out all the same.
        match command {
            Command::Sample(to) => drop(to.send(self.sample(now))),
            Command::Order(order, to) => drop(to.send(self.order(order, now))),
            Command::Apply(settings, to) => drop(to.send(self.apply(&settings, now))),
        }
    }

    fn sample(&self, now: Duration) -> Sample {
        let Times { accept, deliver } = &self.times;
        Sample {
            status: self.status(now),
            accept: accept.clone(),
            deliver: deliver.clone(),
            at: Instant::now(),
        }
    }

    fn order(&mut self, order: Order, now: Duration) -> Result<(), OrderError> {
        match order {
            Order::SetWeight { server, weight } => {
                let slot = self.slot_of(&server)?;
                self.set_weight(slot, &server, weight, now);
            }
            Order::Drain { server } => {
                let slot = self.slot_of(&server)?;
                self.dispatcher.drain(slot, true, now);
                tracing::info!(server, "drained by the operator");
                let text = "drained: what is in flight finishes, and it gets nothing new";
                self.with
                    .notices
                    .tell(Level::Warn, Kind::Drain, Some(&server), None, text);
            }
            Order::Undrain { server } => {
                let slot = self.slot_of(&server)?;
                self.dispatcher.drain(slot, false, now);
                tracing::info!(server, "no longer drained");
                self.with.notices.tell(
                    Level::Info,
                    Kind::Drain,
                    Some(&server),
                    None,
                    "no longer drained",
                );
            }
            Order::Add(spec) => self.add(&spec, now)?,
            Order::Remove { server } => {
                let slot = self.slot_of(&server)?;
                self.remove(slot, &server, now);
            }
        }
        Ok(())
    }

    fn slot_of(&self, server: &str) -> Result<Slot, OrderError> {
        self.dispatcher
            .slot_of(server)
            .ok_or_else(|| OrderError::UnknownServer(server.to_owned()))
    }

    fn set_weight(&mut self, slot: Slot, server: &str, weight: u32, now: Duration) {
        self.dispatcher.set_weight(slot, weight, now);
        tracing::info!(server, weight, "weight set");
        self.with.notices.tell(
            Level::Info,
            Kind::Weight,
            Some(server),
            None,
            format!("weight {weight}"),
        );
    }

    fn add(&mut self, spec: &ServerSpec, now: Duration) -> Result<(), OrderError> {
        let ServerSpec { address, weight } = spec;
        match self.dispatcher.slot_of(address) {
            // It has not gone yet, so it need not.
            Some(slot) if self.dispatcher.is_leaving(slot) => {
                self.dispatcher.leave(slot, false, now);
                self.dispatcher.set_weight(slot, *weight, now);
            }
            Some(_) => return Err(SpecError::Twice(address.clone()).into()),
            None if self.dispatcher.staying().count() >= MAX_SERVERS => {
                return Err(OrderError::TooMany);
            }
            None if !self.with.share.take_for_server() => {
                return Err(OrderError::Descriptors(self.with.share.limit()));
            }
            None => self.add_server(address, *weight),
        }
        tracing::info!(server = address, weight, "server added");
        self.with.notices.tell(
            Level::Info,
            Kind::Added,
            Some(address),
            None,
            format!("added with weight {weight}"),
        );
        Ok(())
    }

    fn remove(&mut self, slot: Slot, server: &str, now: Duration) {
        if !self.dispatcher.is_leaving(slot) {
            self.dispatcher.leave(slot, true, now);
            tracing::info!(server, "server is being removed");
            let text = "being removed: what is in flight finishes first";
            self.with
                .notices
                .tell(Level::Warn, Kind::Removed, Some(server), None, text);
        }
    }

    /// Forgets servers that are to go and have nothing under way, neither files nor words about
    /// files: those go by their slots, which the next servers get.
    pub(super) fn let_servers_go(&mut self, now: Duration) {
        for slot in self.dispatcher.can_go() {
            let is_of = |after: &After| matches!(after, After::Confirm(of, _) | After::Drop(of, ..) if of.slot == slot);
            if self.afters.iter().any(is_of) || self.cold.claimed().next().is_some() {
                continue;
            }
            let server = self.address_of(slot);
            self.dispatcher.remove_server(slot, now);
            // Its link is closed by what the dispatcher decides.
            self.act(now);
            self.servers.remove(slot);
            self.directories.release(slot);
            self.with.share.give_back();
            tracing::info!(server = &*server, "server removed");
            self.with
                .notices
                .tell(Level::Info, Kind::Removed, Some(&server), None, "removed");
        }
    }

    fn apply(&mut self, settings: &Settings, now: Duration) -> Result<(), OrderError> {
        let staying: Vec<(String, u32)> = self
            .dispatcher
            .staying()
            .map(|(name, weight)| (name.to_string(), weight))
            .collect();
        let new = settings
            .servers
            .iter()
            .filter(|spec| self.dispatcher.slot_of(&spec.address).is_none())
            .count();
        if !self.with.share.has_room_for(new) {
            return Err(OrderError::Descriptors(self.with.share.limit()));
        }
        for (name, _) in &staying {
            if !settings.servers.iter().any(|spec| spec.address == *name) {
                let slot = self.slot_of(name)?;
                self.remove(slot, name, now);
            }
        }
        for spec in &settings.servers {
            match staying.iter().find(|(name, _)| *name == spec.address) {
                None => self.add(spec, now)?,
                Some((name, weight)) if *weight != spec.weight => {
                    let slot = self.slot_of(name)?;
                    self.set_weight(slot, name, spec.weight, now);
                }
                Some(_) => {}
            }
        }
        self.dispatcher.configure(settings.dispatch);
        self.ledger.set_retention(settings.retention);
        self.pace.send_replace(pace(settings));
        self.with.config.settings.stall = settings.stall;
        Ok(())
    }

    pub(super) fn tell_flip(&self, server: &str, flip: &Flip) {
        log_flip(server, flip);
        let fact = flip.fact.name();
        // What an operator has ordered is told as the order that it is.
        if flip.fact == Fact::Drain {
            return;
        }
        let level = match (flip.good, flip.fact) {
            (true, _) => Level::Info,
            (false, Fact::Identity) => Level::Error,
            (false, _) => Level::Warn,
        };
        let text = format!("{fact}: {}", flip.reason);
        self.with
            .notices
            .tell(level, Kind::Server, Some(server), None, text);
    }
}

fn log_flip(server: &str, flip: &Flip) {
    let fact = flip.fact.name();
    let reason = &*flip.reason;
    let after_s = flip.lasted.as_secs_f64();
    if flip.good {
        tracing::info!(server, fact, reason, after_s, "server recovered");
    } else {
        tracing::warn!(server, fact, reason, after_s, "server ineligible");
    }
}
