//! Which identities are one member.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Found, Key, MAX_ALSO, Service};
use super::table::{Registry, Renamed};
use crate::fleet::identity::Identity;

impl Registry {
    /// A member turned out to have this identity, too. If another member has it they are one, known
    /// by the stronger identity from now on. Gives the key of the one that stays.
    pub(super) fn identify(&mut self, key: Key, id: Identity, now: Duration) -> Key {
        match self.by_identity.get(&id).copied() {
            Some(other) if other == key => key,
            Some(other) => {
                // Whoever has registered, or has the stronger identity, takes the other one in.
                let rank = |key: &Key| {
                    let member = self.members.get(key);
                    member.map(|member| (member.lease.is_none(), member.id.clone()))
                };
                let (into, from) = if rank(&other) <= rank(&key) {
                    (other, key)
                } else {
                    (key, other)
                };
                self.merge(into, from, now);
                into
            }
            None => {
                self.by_identity.insert(id.clone(), key);
                self.know(key, id);
                key
            }
        }
    }

    /// Adds an identity to a member; the strongest becomes the one that it is known by.
    fn know(&mut self, key: Key, id: Identity) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let weaker = if id < member.id {
            let weaker = std::mem::replace(&mut member.id, id.clone());
            self.renamed.push(Renamed::To(weaker.clone(), id));
            weaker
        } else {
            id
        };
        member.also.insert(weaker);
        while member.also.len() > MAX_ALSO
            && let Some(weakest) = member.also.pop_last()
        {
            self.by_identity.remove(&weakest);
        }
        self.touch();
    }

    /// Two members are one.
    fn merge(&mut self, into: Key, from: Key, now: Duration) {
        let Some(from_member) = self.take_member(from) else {
            return;
        };
        for address in &from_member.services {
            if let Some(service) = self.services.get_mut(address) {
                service.owner = into;
            }
        }
        let Some(member) = self.members.get_mut(&into) else {
            return;
        };
        let renamed = Renamed::To(from_member.id.clone(), member.id.clone());
        self.renamed.push(renamed);
        member.services.extend(from_member.services);
        member.protected |= from_member.protected;
        member.layers.absorb(from_member.layers);
        member.believed = member.believed.max(from_member.believed);
        member.source = member.source.min(from_member.source);
        member.host = member.host.or(from_member.host);
        if member.name.is_none() || member.named < from_member.named {
            member.name = from_member.name.or(member.name.take());
            member.named = member.named.max(from_member.named);
        }
        if member.lease.is_none() && from_member.lease.is_some() {
            member.lease = from_member.lease;
            let id = member.lease.as_ref().and_then(|lease| lease.id);
            member.parting = member.parting.take().or(from_member.parting);
            self.leases.extend(id.map(|id| (id, into)));
        }
        member.has_said_enough |= from_member.has_said_enough;
        if !from_member.is_claim {
            self.believe(into);
        }
        for id in from_member.also.into_iter().chain([from_member.id]) {
            self.by_identity.insert(id.clone(), into);
            self.know(into, id);
        }
        self.look_soon(into, now);
        self.touch();
    }

    /// The member that is known by an address is the one that has a server there, unless it is known
    /// better.
    fn release_announced(&mut self, other: Key, key: Key, announced: &Identity, now: Duration) {
        let Some(member) = self.members.get_mut(&other) else {
            return;
        };
        if member.id == *announced && member.services.is_empty() && member.lease.is_none() {
            self.merge(key, other, now);
        } else if member.also.remove(announced) {
            self.by_identity.remove(announced);
        }
    }

    /// The service at an address becomes this member's; it is made if there is none.
    pub(super) fn give(&mut self, key: Key, address: &Arc<str>, now: Duration) {
        let service = self
            .services
            .entry(address.clone())
            .or_insert_with(|| Service::new(key, now));
        let before = std::mem::replace(&mut service.owner, key);
        if before != key {
            // What is known of the former owner says nothing of this one, who is to be kept first.
            service.is_other = false;
            service.moved_to = None;
            self.version += 1;
            service.version = self.version;
            if !service.is_given() {
                service.found = Found::NotYet;
                service.found_since = now;
                // The driver is told again, also if it expects this owner: then it looks again.
                if let Some(told) = &mut service.told {
                    told.weight = None;
                }
            }
            if let Some(member) = self.members.get_mut(&before) {
                member.services.remove(address);
            }
        }
        if let Some(member) = self.members.get_mut(&key) {
            member.services.insert(address.clone());
        }
        self.believe(key);
        // Whoever announced this address is the member that has it.
        let announced = Identity::Address(address.clone());
        if let Some(other) = self.by_identity.get(&announced).copied()
            && other != key
        {
            self.release_announced(other, key, &announced, now);
        }
    }
}
