//! What the driver has to be told, so that the balancer has the servers that it is to have.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::member::{Found, Key, Kind, Lease, Told};
use super::table::Registry;

/// Why an address gets nothing at which somebody else answers.
const OTHER: &str = "another directory than the one that registered answers there";

impl Registry {
    /// This version of what is to be kept is on disk.
    pub fn kept(&mut self, version: u64) {
        self.kept = self.kept.max(version);
        let (services, kept) = (&self.services, self.kept);
        let is_kept = |address: &Arc<str>| {
            services
                .get(address)
                .is_none_or(|found| found.version <= kept)
        };
        let due = self.waiting.extract_if(.., is_kept);
        self.changed.extend(due);
    }

    /// Whether everything that is to be kept is on disk.
    pub fn is_kept(&self) -> bool {
        self.kept >= self.version
    }

    /// Whether there may be something to be done or told.
    pub fn has_actions(&self) -> bool {
        !self.notices.is_empty() || !self.changed.is_empty()
    }

    /// What is to be done or told next.
    pub fn next_action(&mut self) -> Option<Action> {
        if let Some(notice) = self.notices.pop_front() {
            return Some(Action::Notice(notice));
        }
        while let Some(address) = self.changed.pop_first() {
            if let Some(action) = self.act(&address) {
                self.changed.insert(address);
                return Some(action);
            }
        }
        None
    }

    /// The balancer cannot have this server now, for this reason: it is not there, and nothing is in
    /// doubt there.
    pub fn not_added(&mut self, address: &str, reason: Arc<str>, now: Duration) {
        let Some(service) = self.services.get_mut(address) else {
            return;
        };
        service.told = None;
        service.is_refused = true;
        service.in_doubt = false;
        service.is_other = false;
        service.found = Found::Down(reason);
        service.found_since = now;
        let owner = service.owner;
        self.refresh(owner, now);
    }

    /// There may be room for a server that could not be added.
    pub(super) fn try_one_again(&mut self) {
        let refused = self.services.iter_mut();
        if let Some((address, service)) = { refused }.find(|(_, service)| service.is_refused) {
            service.try_again();
            self.changed.insert(address.clone());
        }
    }

    /// What the driver has to be told of a server, so that it is as it should be.
    fn act(&mut self, address: &Arc<str>) -> Option<Action> {
        let service = self.services.get(address)?;
        let drain = if service.is_given() {
            self.drain_of_given(address)
        } else {
            if service.wanted.is_none() {
                self.services.get_mut(address)?.told = None;
                return None;
            }
            if let ControlFlow::Break(action) = self.remove_or_add(address) {
                return action;
            }
            let service = self.services.get(address)?;
            let retiring = (service.wanted.as_ref()).and_then(|wanted| wanted.retiring.clone());
            retiring.or_else(|| service.is_other.then(|| OTHER.into()))
        };
        let service = self.services.get_mut(address)?;
        let told = service.told.as_mut()?;
        if told.is_drained == drain.is_some() {
            return None;
        }
        told.is_drained = drain.is_some();
        let address = address.clone();
        Some(match drain {
            Some(reason) => {
                // What was told before may be older than the last file.
                service.in_doubt = true;
                Action::Drain { address, reason }
            }
            None => Action::Undrain { address },
        })
    }

    /// Why a server that the configuration or an order has is drained, if it is. The rest is their
    /// business.
    fn drain_of_given(&mut self, address: &Arc<str>) -> Option<Arc<str>> {
        let service = self.services.get_mut(address)?;
        let is_drained = (service.told.as_ref()).is_some_and(|told| told.is_drained);
        service.told = Some(Told {
            weight: None,
            directory: None,
            is_drained,
        });
        let owner = self.members.get(&service.owner)?;
        let is_there = owner.lease.as_ref().is_some_and(Lease::is_alive);
        let parting = owner.parting.as_ref()?;
        (is_there && parting.kind == Kind::Left).then(|| parting.reason.clone())
    }

    /// The removal or the addition that is due, or nothing while it has to wait; goes on if the server
    /// is there as it should be.
    fn remove_or_add(&mut self, address: &Arc<str>) -> ControlFlow<Option<Action>> {
        let is_awaited = self.awaits_successor(address);
        let Some((service, wanted)) = self
            .services
            .get(address)
            .and_then(|service| Some((service, service.wanted.as_ref()?)))
        else {
            return ControlFlow::Break(None);
        };
        let is_drained = service.told.as_ref().is_some_and(|told| told.is_drained);
        if let Some(reason) = &wanted.retiring
            && (is_drained || service.is_refused)
            && !service.in_doubt
            && !is_awaited
        {
            let reason = reason.clone();
            return ControlFlow::Break(Some(self.remove(address, reason)));
        }
        let (weight, owner) = (wanted.weight, service.owner);
        let directory = self.directory_at(service).cloned();
        let is_told = service
            .told
            .as_ref()
            .is_some_and(|told| told.weight == Some(weight) && told.directory == directory);
        if service.is_refused {
            return ControlFlow::Break(None);
        }
        if !is_told && service.version > self.kept {
            self.waiting.insert(address.clone());
            return ControlFlow::Break(None);
        }
        if service.is_target()
            && let Some(moved) = self.tell_moved(owner, address, directory.as_ref())
        {
            return ControlFlow::Break(Some(moved));
        }
        if is_told {
            return ControlFlow::Continue(());
        }
        if let Some(service) = self.services.get_mut(address) {
            service.told = Some(Told {
                weight: Some(weight),
                directory: directory.clone(),
                is_drained,
            });
            service.may_be_known = true;
            service.is_removing = false;
        }
        // Its former addresses may be removed now.
        let owner = self.members.get(&owner);
        (self.changed).extend(owner.into_iter().flat_map(|owner| owner.services.clone()));
        ControlFlow::Break(Some(Action::Add {
            address: address.clone(),
            weight,
            directory,
        }))
    }

    /// Tells of a former address of this member that it is at this one now, if that was not told yet.
    fn tell_moved(
        &mut self,
        key: Key,
        to: &Arc<str>,
        directory: Option<&Arc<str>>,
    ) -> Option<Action> {
        let member = self.members.get(&key)?;
        let from = member.services.iter().find(|address| {
            let service = self.services.get(*address);
            service.is_some_and(|service| {
                service.is_retiring()
                    && !service.is_given()
                    // Whoever the driver expects there has moved, and nobody else.
                    && match &service.told {
                        Some(told) => {
                            told.directory.is_none() || told.directory.as_ref() == directory
                        }
                        // It is as it was in an earlier run.
                        None => service.version == 0,
                    }
                    && service.moved_to.as_ref() != Some(to)
            })
        })?;
        let from = from.clone();
        let service = self.services.get_mut(&from)?;
        service.moved_to = Some(to.clone());
        Some(Action::Moved {
            from,
            to: to.clone(),
            directory: directory.cloned(),
        })
    }

    /// Whether the address to which the member moved from here has not been added yet: it is first.
    fn awaits_successor(&self, address: &Arc<str>) -> bool {
        let owner = self.services.get(address).map(|service| service.owner);
        let owner = owner.and_then(|owner| self.members.get(&owner));
        let services = owner.into_iter().flat_map(|owner| &owner.services);
        services
            .filter_map(|other| self.services.get(other))
            .any(|other| other.is_target() && other.told.is_none())
    }

    fn remove(&mut self, address: &Arc<str>, reason: Arc<str>) -> Action {
        if let Some(service) = self.services.get_mut(address) {
            service.wanted = None;
            service.told = None;
            service.moved_to = None;
            service.is_removing = true;
        }
        self.touch();
        Action::Remove {
            address: address.clone(),
            reason,
        }
    }
}
