//! Servers that have registered: the registry of members says which there are, and is told how they
//! fare. It decides nothing about files: probes and links do.

use std::sync::Arc;
use std::time::Duration;

use super::servers::ToldOfServer;
use super::state::Hub;
use crate::balancer::dispatch::{Found, Speaker};
use crate::balancer::orders::{MemberOrder, OrderError};
use crate::config::ServerSpec;
use crate::fleet_core::registry::Probed;
use crate::fleet_core::{Identity, Source};
use crate::schedule::Slot;

impl Hub {
    /// Does what the registry wants.
    pub(super) fn member(&mut self, order: MemberOrder, now: Duration) -> Result<(), OrderError> {
        match order {
            MemberOrder::Add {
                spec,
                directory,
                moved_from,
            } => self.add_member(&spec, directory, moved_from, now),
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
                self.forget_told_doubt(slot);
                Ok(())
            }
            MemberOrder::Remove { server } => {
                let Ok(slot) = self.slot_of(&server) else {
                    self.retired(&server);
                    return Ok(());
                };
                // What was ordered about it stays: it may come back.
                self.remove(slot, &server, now);
                self.retiring.removing.insert(server);
                Ok(())
            }
        }
    }

    fn add_member(
        &mut self,
        spec: &ServerSpec,
        directory: Option<Arc<str>>,
        moved_from: Option<Arc<str>>,
        now: Duration,
    ) -> Result<(), OrderError> {
        let server: Arc<str> = spec.address.as_str().into();
        if let Some(from) = &moved_from {
            self.deps.standing.moved(from, &server);
        }
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
            handle.expected = directory;
            // Its lease may be another by now.
            handle.told = ToldOfServer::default();
            handle.nudge.notify_one();
        }
        self.retiring.moved.remove(&server);
        if let Some(from) = moved_from
            && let Some(former) = self.files.dispatcher.slot_of(&from)
        {
            let reason = format!("it has moved to {server}").into();
            self.files.dispatcher.hold_back(former, Some(reason), now);
            // The sooner it is known not to answer, the sooner the new address gets files.
            if let Some(former) = self.servers.get(former) {
                former.nudge.notify_one();
            }
            self.forget_told_doubt(former);
            self.retiring.held_back.insert(from.clone());
            self.retiring.moved.insert(from, server);
        }
        Ok(())
    }

    /// The identities that servers of an earlier run have registered with.
    pub(super) fn expect_registered(&mut self) {
        for member in self.deps.fleet.members() {
            let (Some(address), Source::Registered) = (member.address, member.source) else {
                continue;
            };
            let slot = self.files.dispatcher.slot_of(&address);
            if let Some(handle) = slot.and_then(|slot| self.servers.get_mut(slot)) {
                handle.expected = directory_of(&member.id);
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
                && servers.identity(present).is_some()
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
        let in_doubt = !self.files.dispatcher.is_settled(slot);
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let fleet = &self.deps.fleet;
        if server.told.found.as_ref() != Some(&found) {
            fleet.probed(&server.address, probed(&found));
            server.told.found = Some(found);
        }
        if server.told.in_doubt != Some(in_doubt) {
            fleet.in_doubt(&server.address, in_doubt);
            server.told.in_doubt = Some(in_doubt);
        }
    }

    /// Tells the fleet when nothing is in doubt any more at servers that it wants to be rid of.
    pub(super) fn look_at_retiring(&mut self) {
        if self.retiring.held_back.is_empty() {
            return;
        }
        let slots: Vec<Slot> = self
            .retiring
            .held_back
            .iter()
            .filter_map(|server| self.files.dispatcher.slot_of(server))
            .collect();
        for slot in slots {
            let in_doubt = !self.files.dispatcher.is_settled(slot);
            let fleet = &self.deps.fleet;
            if let Some(server) = self.servers.get_mut(slot)
                && server.told.in_doubt != Some(in_doubt)
            {
                fleet.in_doubt(&server.address, in_doubt);
                server.told.in_doubt = Some(in_doubt);
            }
        }
    }

    /// The fleet hears again whether something is in doubt at a server.
    fn forget_told_doubt(&mut self, slot: Slot) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.told.in_doubt = None;
        }
        self.tell_fleet(slot);
        let in_doubt = !self.files.dispatcher.is_settled(slot);
        let address = self.servers.address(slot);
        self.deps.fleet.in_doubt(&address, in_doubt);
    }

    /// A server is forgotten.
    pub(super) fn retired(&mut self, server: &Arc<str>) {
        self.retiring.held_back.remove(server);
        self.retiring.moved.remove(server);
        self.retiring.removing.remove(server);
        self.deps.fleet.removed(server);
    }
}

/// The directory in a member's identity, if that is one.
pub(in crate::balancer) fn directory_of(id: &str) -> Option<Arc<str>> {
    match id.parse() {
        Ok(Identity::Directory(directory)) => Some(directory),
        _ => None,
    }
}

fn probed(found: &Found) -> Probed {
    match found {
        Found::Up(speaker) => Probed::Up {
            directory: speaker.identity.clone(),
            instance: speaker.instance.clone(),
        },
        Found::Unfit(reason) => Probed::Unfit {
            reason: reason.as_str().into(),
        },
        Found::Down(reason) => Probed::Down {
            reason: reason.as_str().into(),
        },
    }
}
