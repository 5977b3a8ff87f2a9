//! Servers that have registered: the registry of members says which there are, and is told how they
//! fare. It decides nothing about files: probes and links do.

use std::sync::Arc;
use std::time::Duration;

use super::servers::{ServerHandle, ToldOfServer};
use super::state::Hub;
use crate::balancer::dispatch::{Found, Speaker};
use crate::balancer::orders::{MemberOrder, OrderError};
use crate::config::ServerSpec;
use crate::fleet_core::registry::Probed;
use crate::schedule::Slot;

impl Hub {
    /// Does what the registry wants. Whether the orders that stand are others by it.
    pub(super) fn member(&mut self, order: MemberOrder, now: Duration) -> Result<bool, OrderError> {
        match order {
            MemberOrder::Add { spec, directory } => self.add_member(&spec, directory, now),
            MemberOrder::Moved {
                from,
                to,
                directory,
            } => Ok(self.has_moved(from, to, directory.as_ref())),
            MemberOrder::HoldBack { server, reason } => {
                let Ok(slot) = self.slot_of(&server) else {
                    // Nothing can be in doubt where there is no server.
                    self.deps.fleet.in_doubt(&server, false);
                    return Err(OrderError::UnknownServer(server.to_string()));
                };
                if reason.is_some() {
                    self.retiring.held_back.insert(server);
                } else {
                    self.retiring.held_back.remove(&server);
                }
                self.files.dispatcher.hold_back(slot, reason, now);
                self.tell_again(slot);
                Ok(false)
            }
            MemberOrder::Remove { server } => {
                let Ok(slot) = self.slot_of(&server) else {
                    self.retired(&server);
                    return Ok(false);
                };
                // What was ordered about it stays: it may come back.
                self.remove(slot, &server, now);
                self.retiring.removing.insert(server);
                Ok(false)
            }
        }
    }

    fn add_member(
        &mut self,
        spec: &ServerSpec,
        directory: Option<Arc<str>>,
        now: Duration,
    ) -> Result<bool, OrderError> {
        let server: Arc<str> = spec.address.as_str().into();
        let has_changed = self.deps.standing.registered(&server, spec.weight);
        let held = self.deps.standing.of(&server).cloned().unwrap_or_default();
        let ordered = held.weight.filter(|held| held.configured == spec.weight);
        let weight = ordered.map_or(spec.weight, |held| held.ordered);
        let is_new = match self.files.dispatcher.slot_of(&server) {
            Some(slot) if !self.files.dispatcher.is_leaving(slot) => {
                let dispatcher = &self.files.dispatcher;
                let is_so = dispatcher
                    .staying()
                    .any(|(name, now)| *name == server && now == weight);
                if !is_so {
                    self.set_weight(slot, &server, weight, now);
                }
                false
            }
            _ => {
                let address = spec.address.clone();
                self.add(&ServerSpec { address, weight }, now)?;
                true
            }
        };
        self.retiring.removing.remove(&server);
        self.retiring.held_back.remove(&server);
        let slot = self.slot_of(&server)?;
        if is_new {
            self.files.dispatcher.hold_back(slot, None, now);
            self.files.dispatcher.drain(slot, held.drained, now);
        }
        if let Some(handle) = self.servers.get_mut(slot) {
            if handle.expected != directory {
                // Another server has taken the address over.
                self.retiring.moved.remove(&server);
                handle.another = None;
            }
            handle.expected = directory;
            // Its lease may be another by now.
            handle.told = ToldOfServer::default();
            handle.nudge.notify_one();
        }
        Ok(has_changed)
    }

    /// A server has another address. Whether something was ordered about it.
    fn has_moved(&mut self, from: Arc<str>, to: Arc<str>, directory: Option<&Arc<str>>) -> bool {
        let former = self.files.dispatcher.slot_of(&from);
        let handle = former.and_then(|slot| self.servers.get(slot));
        let expected = handle.and_then(|server| server.expected.as_ref());
        if expected.is_some() && expected != directory {
            // The address is another server's by now.
            return false;
        }
        if let Some(handle) = handle {
            // The sooner it is known not to answer, the sooner the new address gets files.
            handle.nudge.notify_one();
        }
        let has_changed = self.deps.standing.moved(&from, &to);
        self.retiring.moved.remove(&to);
        self.retiring.moved.insert(from, to);
        has_changed
    }

    /// The identities that servers of an earlier run have registered with.
    pub(super) fn expect_registered(&mut self) {
        for (address, directory) in self.deps.fleet.directories() {
            let slot = self.files.dispatcher.slot_of(&address);
            if let Some(handle) = slot.and_then(|slot| self.servers.get_mut(slot)) {
                handle.expected = Some(directory);
            }
        }
    }

    /// Why whoever answers is not the server that registered at this address, if so.
    pub(super) fn why_another(&self, slot: Slot, speaker: &Speaker) -> Option<String> {
        let expected = self.servers.get(slot)?.expected.as_ref()?;
        match &speaker.identity {
            Some(identity) if identity == expected => None,
            Some(identity) => Some(format!(
                "the directory {identity} answers here, and {expected} has registered"
            )),
            None => Some(format!(
                "who answers here names no directory, and {expected} has registered"
            )),
        }
    }

    /// A server that has moved has the files that were in doubt at its former address, or they are
    /// nowhere: once it has listed its files over its present link, nothing is in doubt there.
    pub(super) fn settle_moved(&mut self) {
        let servers = &self.servers;
        let dispatcher = &mut self.files.dispatcher;
        for (from, to) in &self.retiring.moved {
            let (Some(former), Some(present)) = (dispatcher.slot_of(from), dispatcher.slot_of(to))
            else {
                continue;
            };
            if dispatcher.is_unlinked(former)
                && !dispatcher.answers(former)
                && dispatcher.has_reported(present)
                && is_the_one(servers.get(former), servers.identity(present))
            {
                dispatcher.is_the_same_as(former, present);
            }
        }
    }

    /// Tells the fleet how a server fares, if that is another thing than before.
    pub(super) fn tell_fleet(&mut self, slot: Slot) {
        let Some(found) = self.files.dispatcher.found(slot) else {
            return;
        };
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let found = match (&server.another, found) {
            (Some(another), Found::Up(_) | Found::Unfit(..)) => Found::Other(another.clone()),
            (_, found) => found,
        };
        let found = probed(found, server.twice.is_some());
        if server.told.found.as_ref() != Some(&found) {
            self.deps.fleet.probed(&server.address, found.clone());
            server.told.found = Some(found);
        }
        self.tell_doubt(slot);
    }

    /// Tells the fleet whether something is in doubt at a server, if that is another thing than
    /// before. It matters where the server is held back or away: about others it is no news.
    fn tell_doubt(&mut self, slot: Slot) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let matters = !matches!(server.told.found, Some(Probed::Up { .. }))
            || self.retiring.held_back.contains(&server.address);
        let in_doubt = !matters || !self.files.dispatcher.is_settled(slot);
        if server.told.in_doubt != Some(in_doubt) {
            self.deps.fleet.in_doubt(&server.address, in_doubt);
            server.told.in_doubt = Some(in_doubt);
        }
    }

    /// Tells the fleet when nothing is in doubt any more at servers that it wants to be rid of.
    pub(super) fn look_at_retiring(&mut self) {
        if self.retiring.held_back.is_empty() {
            return;
        }
        let held_back = self.retiring.held_back.iter();
        let slots: Vec<Slot> = held_back
            .filter_map(|server| self.files.dispatcher.slot_of(server))
            .collect();
        for slot in slots {
            self.tell_doubt(slot);
        }
    }

    /// The fleet hears again whether something is in doubt at a server.
    fn tell_again(&mut self, slot: Slot) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.told.in_doubt = None;
        }
        self.tell_doubt(slot);
        self.tell_fleet(slot);
    }

    /// A server is forgotten.
    pub(super) fn retired(&mut self, server: &Arc<str>) {
        self.retiring.held_back.remove(server);
        self.retiring.moved.remove(server);
        self.retiring.removing.remove(server);
        self.deps.fleet.removed(server);
    }
}

/// Whether the directory that has listed its files is the one that was at a former address.
fn is_the_one(former: Option<&ServerHandle>, present: Option<Arc<str>>) -> bool {
    let expected = former.and_then(|former| former.expected.as_ref());
    present.is_some_and(|present| expected.is_none_or(|expected| *expected == present))
}

fn probed(found: Found, is_second: bool) -> Probed {
    match found {
        Found::Up(speaker) => Probed::Up {
            directory: speaker.identity,
        },
        Found::Other(speaker) => Probed::Other {
            directory: speaker.identity,
        },
        Found::Unfit(speaker, reason) if is_second => Probed::Second {
            directory: speaker.identity,
            reason: reason.into(),
        },
        Found::Unfit(speaker, reason) => Probed::Unfit {
            directory: speaker.identity,
            reason: reason.into(),
        },
        Found::Down(reason) => Probed::Down {
            reason: reason.into(),
        },
    }
}
