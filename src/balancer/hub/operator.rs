//! Operators' orders about servers, and new settings while the balancer runs.

use std::time::Duration;

use super::state::{Hub, pace};
use crate::balancer::happening::Happening;
use crate::balancer::orders::{Command, Order, OrderError, Settings};
use crate::config::{ServerSpec, SpecError};
use crate::schedule::Slot;

impl Hub {
    /// Carries out an order, even if whoever gave it has gone meanwhile.
    pub(super) fn command(&mut self, command: Command, now: Duration) {
        self.news.is_stale = true;
        match command {
            Command::Member(order, to) => {
                match self.member(order, now) {
                    Ok(changed) if changed => self.keep(Ok(()), to),
                    // The registry's driver may have gone.
                    done => drop(to.send(done.map(|_| ()))),
                }
            }
            Command::Order(order, to) => {
                let done = self.order(order, now);
                self.keep(done, to);
            }
            Command::Apply(settings, to) => {
                let done = self.apply(&settings, now);
                self.keep(done, to);
            }
            Command::Standing(to) => {
                let standing = self.deps.standing.all();
                let standing = standing.map(|(server, held)| (server.clone(), held.clone()));
                drop(to.send(standing.collect()));
            }
        }
    }

    fn order(&mut self, order: Order, now: Duration) -> Result<(), OrderError> {
        match order {
            Order::SetWeight { server, weight } => {
                let slot = self.slot_of(&server)?;
                self.set_weight(slot, &server, weight, now);
                let configured = self.configured(&server);
                self.deps.standing.weigh(&server, weight, configured);
                self.deps.fleet.ordered(&server, weight);
            }
            Order::Drain { server } => {
                let slot = self.slot_of(&server)?;
                self.deps.standing.drain(&server, true);
                self.files.dispatcher.drain(slot, true, now);
                self.report(&Happening::Drained { server: &server });
            }
            Order::Undrain { server } => {
                let slot = self.slot_of(&server)?;
                self.deps.standing.drain(&server, false);
                self.files.dispatcher.drain(slot, false, now);
                self.report(&Happening::Undrained { server: &server });
            }
            Order::Add(spec) => {
                self.add(&spec, now)?;
                let configured = self.configured(&spec.address);
                self.deps
                    .standing
                    .add(&spec.address, spec.weight, configured);
                self.deps.fleet.ordered(&spec.address, spec.weight);
            }
            Order::Remove { server } => {
                let slot = self.slot_of(&server)?;
                self.remove(slot, &server, now);
                // What may be in doubt there is given up.
                self.retiring.removing.remove(&*server);
                let configured = self.configured(&server);
                self.deps.standing.remove(&server, configured);
                self.deps.fleet.ordered_away(&server);
            }
            Order::Forget { server } => self.forget_order(&server, now)?,
        }
        Ok(())
    }

    /// The weight that a server has without orders: it is configured with it, or registered with it.
    fn configured(&self, server: &str) -> Option<u32> {
        let servers = &self.deps.config.settings.servers;
        let is_it = |spec: &&ServerSpec| spec.address == server;
        let of_configuration = servers.iter().find(is_it).map(|spec| spec.weight);
        of_configuration.or_else(|| {
            let registered = self.deps.fleet.registered();
            registered.iter().find(is_it).map(|spec| spec.weight)
        })
    }

    /// Makes a server as it is configured.
    fn forget_order(&mut self, server: &str, now: Duration) -> Result<(), OrderError> {
        let no_order = || OrderError::NoOrder(server.to_owned());
        let held = self
            .deps
            .standing
            .of(server)
            .cloned()
            .ok_or_else(no_order)?;
        let slot = self.files.dispatcher.slot_of(server);
        match (slot, self.configured(server)) {
            (Some(slot), None) => self.remove(slot, server, now),
            (slot, Some(weight)) if held.removed.is_some() || slot.is_none() => {
                let address = server.to_owned();
                self.add(&ServerSpec { address, weight }, now)?;
            }
            (Some(slot), Some(weight)) => {
                if held.weight.is_some() || held.added.is_some() {
                    self.set_weight(slot, server, weight, now);
                }
                if held.drained {
                    self.files.dispatcher.drain(slot, false, now);
                    self.report(&Happening::Undrained { server });
                }
            }
            (None, _) => {}
        }
        self.deps.standing.forget(server);
        self.deps.fleet.order_forgotten(server);
        if held.removed.is_some() {
            self.tell_configured();
        }
        Ok(())
    }

    pub(super) fn slot_of(&self, server: &str) -> Result<Slot, OrderError> {
        let slot = self.files.dispatcher.slot_of(server);
        slot.ok_or_else(|| OrderError::UnknownServer(server.to_owned()))
    }

    pub(super) fn set_weight(&mut self, slot: Slot, server: &str, weight: u32, now: Duration) {
        self.files.dispatcher.set_weight(slot, weight, now);
        self.report(&Happening::Weight { server, weight });
    }

    pub(super) fn add(&mut self, spec: &ServerSpec, now: Duration) -> Result<(), OrderError> {
        let ServerSpec { address, weight } = spec;
        let dispatcher = &mut self.files.dispatcher;
        match dispatcher.slot_of(address) {
            // It is still here: it stays.
            Some(slot) if dispatcher.is_leaving(slot) => {
                dispatcher.leave(slot, false, now);
                dispatcher.set_weight(slot, *weight, now);
            }
            Some(_) => return Err(SpecError::Twice(address.clone()).into()),
            None => {
                self.room_for_server()?;
                self.add_server(address, *weight, now);
            }
        }
        self.report(&Happening::Added {
            server: address,
            weight: *weight,
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, slot: Slot, server: &str, now: Duration) {
        if !self.files.dispatcher.is_leaving(slot) {
            self.files.dispatcher.leave(slot, true, now);
            self.report(&Happening::Leaving { server });
        }
    }

    /// Removes servers that are to leave once nothing is in flight to them and nobody speaks of
    /// their slots any more: the next servers get those slots.
    pub(super) fn remove_leaving_servers(&mut self, now: Duration) {
        for slot in self.files.dispatcher.can_go() {
            let is_spoken_of = self.commits.concern(slot) || self.files.backlog.has_claims();
            if is_spoken_of {
                continue;
            }
            let server = self.servers.address(slot);
            if self.retiring.waits_for(&server) && !self.files.dispatcher.is_settled(slot) {
                continue;
            }
            self.files.dispatcher.remove_server(slot, now);
            // The dispatcher has decided to close the link: the handle must still be there for it.
            self.act(now);
            self.servers.remove(slot);
            self.directories.release(slot);
            self.deps.share.give_back();
            self.report(&Happening::Removed { server: &server });
            self.retired(&server);
        }
    }

    /// Applies new settings, or nothing of them if the new servers do not fit.
    fn apply(&mut self, settings: &Settings, now: Duration) -> Result<(), OrderError> {
        let dispatcher = &self.files.dispatcher;
        let is_new = |spec: &&ServerSpec| dispatcher.slot_of(&spec.address).is_none();
        let new = settings.servers.iter().filter(is_new).count();
        if !self.deps.share.has_room_for(new) {
            return Err(OrderError::Descriptors(self.deps.share.limit()));
        }
        self.deps.fleet.configured(&settings.servers);
        let registered = self.deps.fleet.registered();
        self.apply_servers(&settings.servers, &registered, now)?;
        self.deps
            .config
            .settings
            .servers
            .clone_from(&settings.servers);
        self.deps
            .standing
            .configured(&settings.servers, &registered);
        self.files.dispatcher.configure(settings.dispatch);
        self.files.ledger.set_retention(settings.retention);
        self.pace.send_replace(pace(settings));
        self.deps.config.settings.stall = settings.stall;
        self.deps.config.settings.old_style = settings.old_style;
        Ok(())
    }

    /// Makes the servers of the configuration what they are to be. Those that have registered are not
    /// its business.
    fn apply_servers(
        &mut self,
        servers: &[ServerSpec],
        registered: &[ServerSpec],
        now: Duration,
    ) -> Result<(), OrderError> {
        let staying: Vec<(String, u32)> = self
            .files
            .dispatcher
            .staying()
            .map(|(name, weight)| (name.to_string(), weight))
            .collect();
        for (name, _) in &staying {
            let is_it = |spec: &ServerSpec| spec.address == *name;
            if !servers.iter().any(is_it) && !registered.iter().any(is_it) {
                let slot = self.slot_of(name)?;
                self.remove(slot, name, now);
                self.deps.fleet.dropped(name);
            }
        }
        for spec in servers {
            match staying.iter().find(|(name, _)| *name == spec.address) {
                None => self.add(spec, now)?,
                Some((name, weight)) if *weight != spec.weight => {
                    let slot = self.slot_of(name)?;
                    self.set_weight(slot, name, spec.weight, now);
                }
                Some(_) => {}
            }
            // Whoever is there is the one.
            let slot = self.slot_of(&spec.address)?;
            if let Some(server) = self.servers.get_mut(slot) {
                server.expected = None;
            }
        }
        Ok(())
    }
}
