//! Two servers with one directory: one of them is a copy, or the first one has moved or died.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Contender, Found, Key, Lease, Member, Service};
use super::registration::{LeaseId, Registration, Seen};
use super::table::Registry;

/// What a second server with a directory is told while nothing is known of the first one.
const WAITS: &str = "another server has registered with the same directory, and gets the files as long \
                     as it is there";

/// What it is told when the first one has spoken since.
const COPY: &str = "another server has the same directory and is there, too: one of the directories \
                    is a copy. Stop one of the servers, and remove its directory if it was copied";

/// What a second server with a directory is told.
pub(super) fn told_to_second(is_copy: bool) -> &'static str {
    if is_copy { COPY } else { WAITS }
}

impl Registry {
    /// The second server with a directory takes the place of the first one, if that is not there.
    pub(super) fn promote(&mut self, key: Key, now: Duration) {
        if !self.is_first_away(key) {
            return;
        }
        // It may have died since, and another server may have its address by now.
        self.end_of_contender(key, now);
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let second = (member.contender.as_ref()).filter(|second| !second.seen.left);
        let is_taken = second.map(|second| self.is_taken(&second.address, &member.id).is_some());
        let Some(is_taken) = is_taken else {
            return;
        };
        let member = self.members.get_mut(&key);
        let Some(second) = member.and_then(|member| member.contender.take()) else {
            return;
        };
        if is_taken {
            self.leases.remove(&second.id);
            return;
        }
        let lease = Lease {
            id: Some(second.id),
            address: second.address,
            also_at: None,
            weight: second.weight,
            instance: second.instance,
            lasts: second.lasts,
            heard: second.heard,
            expired: None,
            is_proved: second.is_proved,
            was_found: false,
            seen: second.seen,
        };
        self.take_place(key, lease, now);
        self.settle(key, now);
    }

    /// Whether a member's first server is not there. One that probes find is, whatever becomes of its
    /// registration; one that speaks is, too, once both were heard.
    fn is_first_away(&self, key: Key) -> bool {
        let Some(member) = self.members.get(&key) else {
            return false;
        };
        let Some(lease) = &member.lease else {
            return true;
        };
        if member.has_left() {
            return true;
        }
        let service = self.service_of(member, &lease.address);
        if service.is_some_and(Service::is_found) {
            return false;
        }
        let is_down = service.is_some_and(|service| matches!(service.found, Found::Down(_)));
        let is_copy = member
            .contender
            .as_ref()
            .is_some_and(|second| second.is_copy);
        !lease.is_alive() || is_down && !is_copy
    }

    /// A member's server at this address, if it has one there.
    fn service_of(&self, member: &Member, address: &Arc<str>) -> Option<&Service> {
        let address = member.services.get(address)?;
        self.services.get(address)
    }

    /// Whether this is a second server with a directory, while the first one is there.
    pub(super) fn is_second(&self, key: Key, registration: &Registration) -> bool {
        let Some(member) = self.members.get(&key) else {
            return false;
        };
        let Some(holds) = &member.lease else {
            return false;
        };
        let is_same = holds.address == registration.address
            || holds.instance.is_some() && holds.instance == registration.instance;
        let service = self.service_of(member, &holds.address);
        let is_down = service.is_some_and(|service| matches!(service.found, Found::Down(_)));
        let is_there = service.is_some_and(Service::is_found) || holds.is_alive() && !is_down;
        !is_same && is_there && !member.has_left()
    }

    pub(super) fn contend(
        &mut self,
        key: Key,
        id: LeaseId,
        registration: &Registration,
        lasts: Duration,
        now: Duration,
    ) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let contender = Contender {
            id,
            address: registration.address.clone(),
            weight: registration.weight,
            instance: registration.instance.clone(),
            is_proved: registration.is_proved,
            lasts,
            heard: now,
            is_copy: false,
            seen: Seen::default(),
        };
        if let Some(before) = member.contender.replace(contender) {
            self.leases.remove(&before.id);
        }
    }

    pub(super) fn end_of_contender(&mut self, key: Key, now: Duration) {
        if let Some(member) = self.members.get_mut(&key)
            && let Some(contender) = &member.contender
            && now >= contender.heard + contender.lasts
        {
            let id = contender.id;
            member.contender = None;
            self.leases.remove(&id);
        }
    }
}
