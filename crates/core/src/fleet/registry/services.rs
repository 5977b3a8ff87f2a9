//! The servers of members: which of them the balancer is to have, and how probes find them.

use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::member::{Found, Key, Lease, Member, Service, Wanted};
use super::probed::Probed;
use super::registration::InService;
use super::table::Registry;
use crate::fleet::identity::Identity;
use crate::fleet::told::Trust;

impl Registry {
    /// What the balancer's own probe of a server found. Only changes need to be told.
    pub fn probed(&mut self, address: &str, found: Probed, now: Duration) {
        let Some((address, service)) = self.services.get_key_value(address) else {
            return;
        };
        let (address, mut key) = (address.clone(), service.owner);
        if let Probed::Up {
            directory: Some(directory),
        }
        | Probed::Other {
            directory: Some(directory),
        }
        | Probed::Unfit {
            directory: Some(directory),
            ..
        } = &found
        {
            key = self.answers_as(key, &address, directory, now);
        }
        let owner = self.members.get(&key).map(|member| &member.id);
        let Some(service) = self.services.get_mut(&address) else {
            return;
        };
        let found = match found {
            Probed::Up { .. } => Found::Up,
            Probed::Other { directory } => {
                if directory.is_none() {
                    service.is_other = !service.is_given();
                }
                Found::Up
            }
            Probed::Unfit { directory, reason } => {
                if directory.is_none() {
                    service.is_other = false;
                }
                Found::Unfit(reason)
            }
            Probed::Second { directory, reason } => {
                service.is_other = match (owner, directory) {
                    (Some(Identity::Directory(owner)), Some(directory)) => *owner != directory,
                    _ => false,
                };
                Found::Unfit(reason)
            }
            Probed::Down { reason } => {
                service.is_other = false;
                Found::Down(reason)
            }
        };
        if service.found != found {
            service.found = found;
            service.found_since = now;
        }
        if let Some(member) = self.members.get_mut(&key)
            && let Some(lease) = &mut member.lease
            && lease.address == address
        {
            let service = self.services.get(&address);
            let was_claim = lease.is_claim();
            lease.was_found |= service.is_some_and(Service::is_found);
            if was_claim && lease.was_found {
                self.is_proved_by_probe(key, &address);
            }
        }
        self.changed.insert(address.clone());
        self.found_elsewhere(key, &address, now);
        self.promote(key, now);
        self.settle(key, now);
        self.refresh(key, now);
    }

    /// Whether a file is in flight to a server or in doubt there.
    pub fn in_doubt(&mut self, address: &str, is_in_doubt: bool, now: Duration) {
        let Some((address, _)) = self.services.get_key_value(address) else {
            return;
        };
        let address = address.clone();
        if let Some(service) = self.services.get_mut(&address) {
            service.in_doubt = is_in_doubt;
            let owner = service.owner;
            self.changed.insert(address);
            self.refresh(owner, now);
        }
    }

    /// The balancer has forgotten a server, as [`super::Action::Remove`] wanted.
    pub fn removed(&mut self, address: &str, now: Duration) {
        self.try_one_again();
        let Some(service) = self.services.get_mut(address) else {
            return;
        };
        service.is_removing = false;
        let owner = service.owner;
        self.settle(owner, now);
        self.refresh(owner, now);
    }

    /// The servers that are in service because they registered; those too that are to be removed once
    /// nothing is in doubt there.
    pub fn registered(&self) -> impl Iterator<Item = InService<'_>> {
        self.services.iter().filter_map(|(address, service)| {
            let wanted = service.wanted.as_ref()?;
            // What is not kept yet is not to be relied on.
            let is_sure = service.version <= self.kept;
            is_sure.then(|| InService {
                address,
                weight: wanted.weight,
                directory: self.directory_at(service),
            })
        })
    }

    /// The directory that has registered at a server's address, and that is to answer there. A server
    /// of the configuration may have any.
    pub(super) fn directory_at(&self, service: &Service) -> Option<&Arc<str>> {
        match &self.members.get(&service.owner)?.id {
            Identity::Directory(directory) if !service.is_given() => Some(directory),
            _ => None,
        }
    }

    /// A server says that it has this directory: the member is the one of this directory, wherever
    /// it was before.
    fn answers_as(
        &mut self,
        key: Key,
        address: &Arc<str>,
        directory: &Arc<str>,
        now: Duration,
    ) -> Key {
        let id = Identity::Directory(directory.clone());
        let Some(member) = self.members.get(&key) else {
            return key;
        };
        let is_same = member.id == id;
        let knows_another = matches!(member.id, Identity::Directory(_)) && !is_same;
        if !knows_another {
            if let Some(service) = self.services.get_mut(address) {
                service.is_other = false;
            }
            return if is_same {
                key
            } else {
                self.identify(key, id, now)
            };
        }
        let is_registered = (self.services.get(address))
            .is_some_and(|service| service.wanted.is_some() && !service.is_given());
        if is_registered {
            if let Some(service) = self.services.get_mut(address) {
                service.is_other = true;
            }
            return key;
        }
        // The configured address has another directory than before: it is another member.
        let source = member.source;
        let into = match self.by_identity.get(&id).copied() {
            Some(into) => into,
            None => self.insert(id, source, false, now),
        };
        self.give(into, address, now);
        self.settle(key, now);
        if !self.drop_if_over(key) {
            self.refresh(key, now);
        }
        into
    }

    /// A server that registered without a proof is where it said.
    fn is_proved_by_probe(&mut self, key: Key, address: &Arc<str>) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if member.trust() == Trust::Claimed {
            let member = member.name();
            let address = address.clone();
            self.notice(Notice::Joined { member, address });
        }
        if let Some(member) = self.members.get_mut(&key) {
            member.believed = Trust::Measured;
        }
        self.touch();
    }

    /// A process that has registered with two addresses is not at the one that counts: the other one
    /// counts.
    fn found_elsewhere(&mut self, key: Key, address: &Arc<str>, now: Duration) {
        let is_down = (self.services.get(address))
            .is_some_and(|service| matches!(service.found, Found::Down(_)));
        if let Some(lease) = self
            .members
            .get_mut(&key)
            .and_then(|member| member.lease.as_mut())
            && is_down
            && lease.address == *address
            && let Some(other) = lease.also_at.take()
        {
            lease.also_at = Some(std::mem::replace(&mut lease.address, other));
            self.touch();
            self.look_soon(key, now);
        }
    }

    /// Brings the services of a member in line with its registration.
    pub(super) fn settle(&mut self, key: Key, now: Duration) {
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let lease = member.lease.as_ref();
        let asked = lease.filter(|_| member.parting.is_none());
        let given = self.given_of(member, true);
        let target = asked
            .filter(|lease| given.is_none_or(|given| *given == lease.address))
            .map(|lease| (lease.address.clone(), lease.weight));
        let reason: Arc<str> = match (&member.parting, given, &target) {
            (Some(parting), ..) => parting.reason.clone(),
            (None, _, Some((address, _))) => format!("it moved to {address}").into(),
            (None, Some(given), None) => format!("it is configured as {given}").into(),
            (None, None, None) => "it has not registered there".into(),
        };
        // An address that another server has, or had, is taken only by registering.
        let is_there = lease.is_some_and(Lease::is_alive);
        let target = target.filter(|(address, _)| {
            let service = self.services.get(address);
            service.map_or(is_there, |service| service.owner == key)
        });
        if let Some((address, _)) = &target {
            let is_ours = self
                .services
                .get(address)
                .is_some_and(|service| service.owner == key);
            if !is_ours {
                self.give(key, address, now);
            }
        }
        let addresses = self.members.get(&key).map(|member| member.services.clone());
        let addresses = addresses.unwrap_or_default();
        for address in &addresses {
            let Some(service) = self.services.get_mut(address) else {
                continue;
            };
            let wanted = match (&target, &service.wanted) {
                (Some((target, weight)), _) if target == address => Some(Wanted {
                    weight: *weight,
                    retiring: None,
                }),
                (_, Some(before)) if service.may_be_known && !service.is_given() => Some(Wanted {
                    weight: before.weight,
                    retiring: Some(before.retiring.clone().unwrap_or_else(|| reason.clone())),
                }),
                // The configuration has it, or the balancer never knew it.
                _ => None,
            };
            if service.wanted != wanted {
                self.version += 1;
                // Once its address is on disk, the rest of it does not matter.
                if service.wanted.is_none() {
                    service.version = self.version;
                }
                if wanted.as_ref().is_none_or(|now| now.retiring.is_none()) {
                    service.moved_to = None;
                }
                service.wanted = wanted;
                self.changed.insert(address.clone());
                // What has moved there may have to be told.
                self.changed
                    .extend(target.iter().map(|(address, _)| address.clone()));
            }
            if service.is_over() {
                self.drop_service(address);
                if let Some(member) = self.members.get_mut(&key) {
                    member.services.remove(address);
                }
            }
        }
    }

    /// The first address of a member that the configuration or an order has, and at which it is found,
    /// or is not.
    pub(super) fn given_of<'a>(&self, member: &'a Member, is_found: bool) -> Option<&'a Arc<str>> {
        member.services.iter().find(|address| {
            (self.services.get(*address))
                .is_some_and(|service| service.is_given() && service.is_found() == is_found)
        })
    }

    /// How far the facts of a member are believed, if nothing was told since the start.
    pub(super) fn trust_of(&self, key: Key) -> Trust {
        let member = self.members.get(&key);
        member.map_or(Trust::Claimed, Member::trust)
    }
}
