//! The servers that the configuration and operators' orders have.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Key, Kind, Parting, Service};
use super::table::Registry;
use crate::fleet::identity::Identity;
use crate::fleet::told::Source;

impl Registry {
    /// The configuration has these servers with these weights, and no others.
    pub fn configured<'a>(
        &mut self,
        servers: impl IntoIterator<Item = (&'a str, u32)>,
        now: Duration,
    ) {
        let mut gone: Vec<Arc<str>> = self
            .services
            .iter()
            .filter(|(_, service)| service.configured.is_some())
            .map(|(address, _)| address.clone())
            .collect();
        for (address, weight) in servers {
            let address: Arc<str> = address.into();
            gone.retain(|before| *before != address);
            let service = self.given(&address, Source::Configuration, now);
            service.configured = Some(weight);
            self.given_changed(&address, now);
        }
        for address in gone {
            if let Some(service) = self.services.get_mut(&address) {
                service.configured = None;
            }
            self.given_changed(&address, now);
        }
    }

    /// An operator's order added this server, or gave it another weight.
    pub fn ordered(&mut self, address: &str, weight: u32, now: Duration) {
        let address: Arc<str> = address.into();
        if self.taken_back(&address, now) {
            return;
        }
        // A registered server stays one: the order is about its weight, which is not the registry's.
        let is_registered = (self.services.get(&address))
            .is_some_and(|service| service.wanted.is_some() && !service.is_given());
        if is_registered {
            return;
        }
        let service = self.given(&address, Source::Order, now);
        if service.configured.is_none() {
            service.ordered = Some(weight);
        }
        self.given_changed(&address, now);
    }

    /// What operators ordered about this server counts no longer.
    pub fn order_forgotten(&mut self, address: &str, now: Duration) {
        self.taken_back(address, now);
        let Some((address, _)) = self.services.get_key_value(address) else {
            return;
        };
        let address = address.clone();
        if let Some(service) = self.services.get_mut(&address)
            && service.ordered.take().is_some()
        {
            self.given_changed(&address, now);
        }
    }

    /// The balancer has dropped a server that neither the configuration nor a kept registration has.
    /// If a registration has it that is not kept yet, it is added when that is.
    pub fn dropped(&mut self, address: &str, now: Duration) {
        let Some((address, _)) = self.services.get_key_value(address) else {
            return;
        };
        let address = address.clone();
        if let Some(service) = self.services.get_mut(&address) {
            service.ordered = None;
            service.told = None;
        }
        self.given_changed(&address, now);
    }

    /// An operator lets a member come back that was removed at this address: whether there is one.
    fn taken_back(&mut self, address: &str, now: Duration) -> bool {
        let barred = self.members.iter_mut().find(|(_, member)| {
            let is_here = (member.lease.as_ref()).is_some_and(|lease| *lease.address == *address);
            is_here && member.is_barred()
        });
        let Some((key, member)) = barred else {
            return false;
        };
        let key = *key;
        member.parting = None;
        self.touch();
        self.settle(key, now);
        self.refresh(key, now);
        true
    }

    /// An operator's order removed this server. A member that had registered there stays away until
    /// it is ordered back.
    pub fn ordered_away(&mut self, address: &str, now: Duration) {
        let Some((address, service)) = self.services.remove_entry(address) else {
            return;
        };
        let key = service.owner;
        self.drop_service(&address);
        if let Some(member) = self.members.get_mut(&key) {
            member.services.remove(&address);
            if member
                .lease
                .as_ref()
                .is_some_and(|lease| lease.address == address)
            {
                let reason = "an operator removed it".into();
                member.parting = Some(Parting {
                    reason,
                    kind: Kind::Barred,
                });
            }
        }
        self.touch();
        self.settle(key, now);
        self.drop_if_over(key);
        self.refresh(key, now);
    }

    /// The service at an address that the configuration or an order has.
    fn given(&mut self, address: &Arc<str>, source: Source, now: Duration) -> &mut Service {
        if !self.services.contains_key(address) {
            let id = Identity::Address(address.clone());
            let known = self.by_identity.get(&id).copied();
            let key = known.unwrap_or_else(|| {
                if self.members.len() >= self.config.members {
                    self.evict_claim();
                }
                self.insert(id, source, false, now)
            });
            self.give(key, address, now);
        }
        let service = self.services.entry(address.clone());
        let service = service.or_insert_with(|| Service::new(0, now));
        service.may_be_known = true;
        if let Some(member) = self.members.get_mut(&service.owner)
            && (source < member.source || member.lease.is_none())
        {
            member.source = source;
        }
        service
    }

    /// The configuration or an order has, or no longer has, a server here.
    fn given_changed(&mut self, address: &Arc<str>, now: Duration) {
        self.changed.insert(address.clone());
        let Some(service) = self.services.get(address) else {
            return;
        };
        let owner = service.owner;
        self.settle(owner, now);
        if !self.drop_if_over(owner) {
            self.refresh(owner, now);
        }
    }

    /// A member that was a server of the configuration or of an order, and nothing else, is none any
    /// more.
    pub(super) fn drop_if_over(&mut self, key: Key) -> bool {
        let Some(member) = self.members.get(&key) else {
            return true;
        };
        let is_over = member.services.is_empty()
            && member.lease.is_none()
            && !member.protected
            && matches!(member.source, Source::Configuration | Source::Order);
        if is_over {
            self.drop_member(key);
        }
        is_over
    }
}
