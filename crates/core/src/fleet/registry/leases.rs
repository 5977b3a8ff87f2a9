//! Registrations: who registers, beats, leaves, and whose connection is lost.

use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::config::BEATS_IN_LEASE;
use super::member::{Found, Key, Kind, Lease, MAX_FORMER, MAX_UNPROVEN, Member, Parting};
use super::registration::{LeaseId, NotRegistered, Registered, Registration, Seen};
use super::table::Registry;
use crate::fleet::facts::Facts;
use crate::fleet::identity::Identity;
use crate::fleet::report::MemberState;
use crate::fleet::told::{Source, Trust};
use crate::text::excerpt;

/// The shortest and the longest lease.
pub(super) const LASTS: (Duration, Duration) = (Duration::from_secs(3), Duration::from_hours(1));

impl Registry {
    /// A server registers. Who may was decided before.
    pub fn register(
        &mut self,
        registration: &Registration,
        now: Duration,
    ) -> Result<Registered, NotRegistered> {
        let id = Identity::Directory(registration.directory.clone());
        self.check_address(registration, &id)?;
        let lasts = registration.lease.clamp(LASTS.0, LASTS.1);
        self.check_unproven(registration, &id)?;
        let known = self.by_identity.get(&id).copied();
        let key = known.or_else(|| self.make(id, Source::Registered, false, now));
        let key = key.ok_or(NotRegistered::Full(self.members.len()))?;
        self.check_former(key)?;
        self.next_lease += 1;
        let lease = LeaseId(self.next_lease);
        let is_second = self.is_second(key, registration);
        let asked = registration.address.clone();
        let instance = registration.instance.clone();
        if is_second {
            self.contend(key, lease, registration, lasts, now);
        } else {
            self.hold(key, lease, registration, lasts, now);
            self.tell_of(key, registration, lasts, now);
        }
        self.leases.insert(lease, key);
        self.settle(key, now);
        self.refresh(key, now);
        let member = self.members.get(&key);
        let holds = member.and_then(|member| member.lease.as_ref());
        let address = holds.filter(|holds| !is_second && holds.instance == instance);
        Ok(Registered {
            lease,
            name: member.map_or_else(|| asked.clone(), Member::name),
            address: address.map_or(asked, |holds| holds.address.clone()),
            lasts,
            beat: lasts / BEATS_IN_LEASE,
        })
    }

    /// A server that has registered is there, and tells this. Whether the registration is known: if
    /// not, another one took its place, or it was forgotten.
    #[must_use]
    pub fn beat(&mut self, lease: LeaseId, facts: &Facts, now: Duration) -> bool {
        let Some(key) = self.leases.get(&lease).copied() else {
            return false;
        };
        let Some(member) = self.members.get_mut(&key) else {
            return false;
        };
        if let Some(contender) = member.contender.as_mut().filter(|found| found.id == lease) {
            contender.heard = now;
            return true;
        }
        let Some(holds) = &mut member.lease else {
            return false;
        };
        holds.heard = now;
        let every = holds.lasts / BEATS_IN_LEASE;
        member.layers.tell(holds.trust(), facts, every, now);
        let was_silent = holds.expired.take().is_some();
        let is_copied = member.contender.as_mut().and_then(|contender| {
            let is_news = !std::mem::replace(&mut contender.is_copy, true);
            is_news.then(|| contender.address.clone())
        });
        let copied = is_copied.map(|second| (holds.address.clone(), second));
        // It was to be forgotten, and is there.
        let is_wanted = (member.parting)
            .take_if(|parting| parting.kind == Kind::Forgotten)
            .is_some();
        if let Some((first, second)) = copied {
            let member = member.name();
            self.notice(Notice::Copied {
                member,
                first,
                second,
            });
            self.refresh(key, now);
        }
        let member = self.members.get(&key);
        if is_wanted || was_silent {
            self.settle(key, now);
            self.refresh(key, now);
        } else if member.is_some_and(|member| member.state != MemberState::Active) {
            self.refresh(key, now);
        }
        true
    }

    /// A server leaves, in order: it gets nothing new.
    pub fn leave(&mut self, lease: LeaseId, reason: &str, now: Duration) {
        let Some(key) = self.leases.get(&lease).copied() else {
            return;
        };
        let reason: Arc<str> = match excerpt(reason).trim() {
            "" => "it leaves".into(),
            reason => reason.into(),
        };
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if let Some(contender) = member.contender.as_mut().filter(|found| found.id == lease) {
            let left = Seen {
                good: false,
                reason: None,
                left: true,
            };
            if contender.seen != left {
                contender.seen = left.clone();
                self.seen.push((lease, left));
            }
            return;
        }
        if member.has_left() {
            return;
        }
        if !member.is_barred() {
            member.parting = Some(Parting {
                reason: reason.clone(),
                kind: Kind::Left,
            });
        }
        let was_counted = std::mem::take(&mut member.is_counted);
        let (member, given) = (member.name(), member.services.clone());
        self.preserve.uncount(was_counted);
        self.notice(Notice::Leaving { member, reason });
        self.changed.extend(given);
        self.touch();
        self.settle(key, now);
        self.refresh(key, now);
    }

    /// A server's connection is lost: its registration ends with its lease, unless it comes back.
    pub fn connection_lost(&mut self, lease: LeaseId, now: Duration) {
        let Some(key) = self.leases.remove(&lease) else {
            return;
        };
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if member
            .contender
            .as_ref()
            .is_some_and(|found| found.id == lease)
        {
            member.contender = None;
        } else if let Some(holds) = &mut member.lease {
            holds.id = None;
            let services = member.services.clone();
            self.changed.extend(services);
            self.promote(key, now);
        }
        self.refresh(key, now);
    }

    fn hold(
        &mut self,
        key: Key,
        id: LeaseId,
        registration: &Registration,
        lasts: Duration,
        now: Duration,
    ) {
        let mut lease = Lease {
            id: Some(id),
            address: registration.address.clone(),
            also_at: None,
            weight: registration.weight,
            instance: registration.instance.clone(),
            lasts,
            heard: now,
            expired: None,
            is_proved: registration.is_proved,
            was_found: false,
            seen: Seen::default(),
        };
        let before = self
            .members
            .get(&key)
            .and_then(|member| member.lease.as_ref());
        if let Some(before) = before {
            let is_down = (self.services.get(&before.address))
                .is_some_and(|service| matches!(service.found, Found::Down(_)));
            let is_one = before.instance.is_some() && before.instance == lease.instance;
            // One process under two addresses stays at the first while it is found there.
            if is_one && before.is_alive() && before.address != lease.address && !is_down {
                let asked = std::mem::replace(&mut lease.address, before.address.clone());
                lease.also_at = Some(asked);
            }
            lease.was_found = before.was_found && before.address == lease.address;
        }
        self.take_place(key, lease, now);
    }

    /// A registration counts from now on.
    pub(super) fn take_place(&mut self, key: Key, lease: Lease, now: Duration) {
        let is_taken = self
            .services
            .get(&lease.address)
            .is_some_and(|service| service.owner != key);
        if is_taken {
            self.give(key, &lease.address, now);
        }
        let is_found = match self.services.get_mut(&lease.address) {
            Some(service) => {
                service.try_again();
                service.is_found()
            }
            None => false,
        };
        self.believe(key);
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let (address, weight) = (lease.address.clone(), lease.weight);
        let before = member.lease.replace(lease);
        if let Some(lease) = &mut member.lease {
            lease.was_found |= is_found;
        }
        if member.services.is_empty() || member.source > Source::Registered {
            member.source = Source::Registered;
        }
        let was_parting = if member.is_barred() {
            None
        } else {
            member.parting.take()
        };
        let (name, is_made_up) = (member.name(), member.is_made_up());
        let old_lease = before.as_ref().and_then(|before| before.id);
        old_lease.map(|id| self.leases.remove(&id));
        match &before {
            // It is told once a probe has found it.
            None if is_made_up => {}
            None => self.notice(Notice::Joined {
                member: name,
                address: address.clone(),
            }),
            Some(before) if before.address != address => self.notice(Notice::Moved {
                member: name,
                from: before.address.clone(),
                to: address.clone(),
            }),
            Some(before) if before.expired.is_some() || was_parting.is_some() => {
                self.notice(Notice::Back { member: name });
            }
            Some(_) => {}
        }
        let is_as_before = before
            .is_some_and(|before| before.address == address && before.weight == weight)
            && was_parting.is_none();
        if !is_as_before {
            self.touch();
        }
        self.changed.insert(address);
    }

    fn tell_of(&mut self, key: Key, registration: &Registration, lasts: Duration, now: Duration) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let trust = (member.lease.as_ref()).map_or(Trust::Claimed, Lease::trust);
        let every = lasts / BEATS_IN_LEASE;
        let is_known_better = member.trust() > Trust::Claimed;
        (member.layers).tell(trust, &registration.facts, every, now);
        if trust == Trust::Claimed && is_known_better {
            return;
        }
        if let Some(name) = &registration.name
            && member.name.as_ref() != Some(name)
        {
            member.name = Some(name.clone());
            self.version += 1;
        }
        member.named = trust;
        member.believed = member.believed.max(trust);
        member.host = registration.peer.or(member.host);
        member.ticket = registration.ticket.clone().or(member.ticket.take());
    }

    /// The address must not be that of another server which is there.
    fn check_address(
        &self,
        registration: &Registration,
        id: &Identity,
    ) -> Result<(), NotRegistered> {
        match self.is_taken(&registration.address, id) {
            None => Ok(()),
            Some(owner) => Err(NotRegistered::Taken {
                address: registration.address.clone(),
                member: owner.name(),
            }),
        }
    }

    /// The member with another directory that is there at this address, if there is one.
    pub(super) fn is_taken(&self, address: &Arc<str>, id: &Identity) -> Option<&Member> {
        let service = self.services.get(address)?;
        let owner = self.members.get(&service.owner)?;
        let knows_another = matches!(owner.id, Identity::Directory(_)) && owner.id != *id;
        let is_leased_here = (owner.lease.as_ref())
            .is_some_and(|lease| lease.is_alive() && lease.address == *address);
        let is_down = matches!(service.found, Found::Down(_));
        let is_there = service.is_found() || is_leased_here && !is_down;
        (knows_another && is_there && !owner.has_left()).then_some(owner)
    }

    /// Whoever can reach the balancer can register without a proof, and each of those is probed.
    fn check_unproven(
        &self,
        registration: &Registration,
        id: &Identity,
    ) -> Result<(), NotRegistered> {
        if registration.is_proved {
            return Ok(());
        }
        let (mut all, mut from_there) = (0, 0);
        let others = self.members.values().filter(|member| member.id != *id);
        for member in others.filter(|member| member.is_unproven()) {
            all += 1;
            from_there += usize::from(member.host == registration.peer);
        }
        if from_there >= MAX_UNPROVEN || all >= self.config.claimed {
            return Err(NotRegistered::Unproven(from_there));
        }
        Ok(())
    }

    fn check_former(&self, key: Key) -> Result<(), NotRegistered> {
        let member = self.members.get(&key);
        let services = member.map_or(0, |member| member.services.len());
        if services > MAX_FORMER {
            return Err(NotRegistered::Restless(services));
        }
        Ok(())
    }
}
