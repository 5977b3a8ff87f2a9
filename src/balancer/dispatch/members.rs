//! What the registry of members wants of a server, and what it is told of one.

use std::sync::Arc;
use std::time::Duration;

use super::config::InDoubt;
use super::dispatcher::Dispatcher;
use super::names::Speaker;
use super::server::{Intent, LinkState};
use crate::schedule::{Fact, Slot};

/// How a server is found by probes and its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It can take files, or could if the registry did not hold it back.
    Up(Speaker),
    /// Somebody else than the server that has registered answers there.
    Other(Speaker),
    /// It is there, and gets none for this reason.
    Unfit(Speaker, String),
    /// It is not there.
    Down(String),
}

impl<T> Dispatcher<T> {
    /// Lets a server get nothing new for this reason, or files again. What operators want of it
    /// stays.
    pub fn hold_back(&mut self, slot: Slot, reason: Option<Arc<str>>, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.held_back = reason;
        let flip = server.apply_intent(now);
        self.flipped(slot, flip);
        self.refresh(slot);
    }

    /// Whether nothing is in flight to a server, and nothing in doubt there that holds a file up or
    /// that the server has yet to answer for.
    pub fn is_settled(&self, slot: Slot) -> bool {
        self.servers.get(slot).is_none_or(|server| {
            let has_answered = server.has_reported || !self.unreported.contains(&slot);
            server.in_flight.is_empty() && server.doubts.is_empty() && has_answered
        })
    }

    /// Whether a server has listed its files, or can list none.
    pub fn has_reported(&self, slot: Slot) -> bool {
        self.servers
            .get(slot)
            .is_some_and(|server| server.has_reported)
    }

    /// Whether there is no link to the server, nor one on its way.
    pub fn is_unlinked(&self, slot: Slot) -> bool {
        let server = self.servers.get(slot);
        server.is_none_or(|server| server.link == LinkState::Closed)
    }

    /// Somebody else than the server that registered answers at its address: it gets no files. Its
    /// list would be another's, so files that the server may have go on waiting for it, if they are
    /// to wait.
    pub fn is_another(&mut self, slot: Slot, reason: String, now: Duration) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let flip = server.health.identity(false, reason, now);
        self.flipped(slot, flip);
        if self.config.in_doubt == InDoubt::Redirect {
            self.need_not_report(slot);
        }
        self.refresh(slot);
    }

    /// How a server is found; `None` before its first probe has ended.
    pub fn found(&self, slot: Slot) -> Option<Found> {
        let server = self.servers.get(slot)?;
        let of_registry = server.intent == Intent::Work && server.held_back.is_some();
        let beside = server.health.problem_beside(Fact::Drain);
        let problem = match beside {
            // A server that is not there is not there, whatever was ordered about it.
            Some((Fact::Connection, ..)) => beside,
            // That it is held back is what the registry has said itself.
            _ if of_registry => beside,
            _ => server.health.problem(),
        };
        let unfit = |reason| Found::Unfit(server.who.speaker.clone(), reason);
        Some(match problem {
            None => Found::Up(server.who.speaker.clone()),
            Some((Fact::Connection, ..)) if server.health.is_fresh() => return None,
            Some((Fact::Connection, reason, _)) => Found::Down(reason.to_owned()),
            Some((Fact::Drain, reason, _)) => unfit(format!("drained: {reason}")),
            Some((_, reason, _)) => unfit(reason.to_owned()),
        })
    }
}
