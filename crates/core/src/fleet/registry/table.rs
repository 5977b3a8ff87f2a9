//! The registry's state: members, by whatever they are known, and what is still to be said.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::config::RegistryConfig;
use super::layers::Layers;
use super::member::{Found, Key, MAX_ALSO, Member, Preserve, Service};
use super::registration::{LeaseId, Seen};
use crate::fleet::identity::Identity;
use crate::fleet::report::MemberState;
use crate::fleet::told::{Source, Trust};

/// Notices that wait to be taken; the oldest are dropped beyond that.
const MAX_NOTICES: usize = 1_024;

/// The registry of members.
///
/// Times that it is told are on a clock that never steps back.
#[derive(Debug)]
pub struct Registry {
    pub(super) config: RegistryConfig,
    pub(super) members: HashMap<Key, Member>,
    next_key: Key,
    /// All identities but those of the addresses of services.
    pub(super) by_identity: HashMap<Identity, Key>,
    pub(super) services: HashMap<Arc<str>, Service>,
    pub(super) leases: HashMap<LeaseId, Key>,
    pub(super) next_lease: u64,
    /// When members are to be looked at.
    pub(super) deadlines: BTreeSet<(Duration, Key)>,
    /// How many members are known by claims only.
    pub(super) claims: usize,
    /// Counts changes of what is to be kept on disk.
    pub(super) version: u64,
    /// This version is on disk.
    pub(super) kept: u64,
    /// Servers about which the driver may have to be told something.
    pub(super) changed: BTreeSet<Arc<str>>,
    /// The same, as soon as a version is kept.
    pub(super) waiting: BTreeSet<(u64, Arc<str>)>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) seen: Vec<(LeaseId, Seen)>,
    pub(super) renamed: Vec<Renamed>,
    pub(super) preserve: Preserve,
    pub(super) is_full_told: bool,
}

/// A member has another identity from now on, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renamed {
    /// What was known by the first identity is known by the second one.
    To(Identity, Identity),
    /// The member is forgotten.
    Forgotten(Identity),
}

impl Registry {
    /// A registry without members.
    pub fn new(config: RegistryConfig) -> Self {
        Self {
            config,
            members: HashMap::new(),
            next_key: 0,
            by_identity: HashMap::new(),
            services: HashMap::new(),
            leases: HashMap::new(),
            next_lease: 0,
            deadlines: BTreeSet::new(),
            claims: 0,
            version: 0,
            kept: 0,
            changed: BTreeSet::new(),
            waiting: BTreeSet::new(),
            notices: VecDeque::new(),
            seen: Vec::new(),
            renamed: Vec::new(),
            preserve: Preserve::default(),
            is_full_told: false,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What became known of identities since this was asked last: their history goes along.
    pub fn take_renamed(&mut self) -> Vec<Renamed> {
        std::mem::take(&mut self.renamed)
    }

    /// How servers are seen, where that changed since this was asked last.
    pub fn take_seen(&mut self) -> Vec<(LeaseId, Seen)> {
        std::mem::take(&mut self.seen)
    }

    /// The identity by which this member is known.
    pub fn identity_of(&self, who: &Identity) -> Option<&Identity> {
        let member = self.members.get(&self.key_of(who)?)?;
        Some(&member.id)
    }

    pub(super) fn key_of(&self, who: &Identity) -> Option<Key> {
        if let Identity::Address(address) = who
            && let Some(service) = self.services.get(address)
        {
            return Some(service.owner);
        }
        self.by_identity.get(who).copied()
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// Something changed that is kept on disk.
    pub(super) fn touch(&mut self) {
        self.version += 1;
    }

    /// Makes a member, if there is room.
    pub(super) fn make(
        &mut self,
        id: Identity,
        source: Source,
        is_claim: bool,
        now: Duration,
    ) -> Option<Key> {
        if is_claim && self.claims >= self.config.claimed {
            return None;
        }
        if self.members.len() >= self.config.members && (is_claim || !self.evict_claim()) {
            if !self.is_full_told {
                self.is_full_told = true;
                let members = self.members.len();
                self.notice(Notice::Full { members });
            }
            return None;
        }
        Some(self.insert(id, source, is_claim, now))
    }

    /// Makes a member, whether there is room or not: the configuration has it.
    pub(super) fn insert(
        &mut self,
        id: Identity,
        source: Source,
        is_claim: bool,
        now: Duration,
    ) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        self.claims += usize::from(is_claim);
        self.by_identity.insert(id.clone(), key);
        let member = Member {
            id,
            also: BTreeSet::new(),
            name: None,
            named: Trust::Claimed,
            source,
            host: None,
            protected: false,
            ticket: None,
            services: BTreeSet::new(),
            lease: None,
            contender: None,
            parting: None,
            layers: Layers::default(),
            believed: Trust::Claimed,
            state: MemberState::Joining,
            reason: None,
            since: now,
            silent: Duration::ZERO,
            is_claim,
            is_counted: false,
            look_at: None,
        };
        self.members.insert(key, member);
        key
    }

    /// Forgets the claimed member that was silent for longest, for a better one.
    pub(super) fn evict_claim(&mut self) -> bool {
        let claims = self.members.iter().filter(|(_, member)| member.is_claim);
        let oldest = claims
            .min_by_key(|(key, member)| (member.layers.heard().map(|heard| heard.at), **key))
            .map(|(key, _)| *key);
        let Some(key) = oldest else {
            return false;
        };
        self.drop_member(key);
        true
    }

    /// A member that was known by claims only is known better.
    pub(super) fn believe(&mut self, key: Key) {
        if let Some(member) = self.members.get_mut(&key)
            && std::mem::take(&mut member.is_claim)
        {
            self.claims -= 1;
        }
    }

    /// Takes a member out. Its services must be gone, or go with it.
    pub(super) fn drop_member(&mut self, key: Key) -> Option<Member> {
        let member = self.take_member(key)?;
        for address in &member.services {
            self.services.remove(address);
            self.changed.remove(address);
        }
        self.renamed.push(Renamed::Forgotten(member.id.clone()));
        self.touch();
        Some(member)
    }

    fn take_member(&mut self, key: Key) -> Option<Member> {
        let member = self.members.remove(&key)?;
        self.claims -= usize::from(member.is_claim);
        for id in member.also.iter().chain([&member.id]) {
            self.by_identity.remove(id);
        }
        if let Some(at) = member.look_at {
            self.deadlines.remove(&(at, key));
        }
        let lease = member.lease.as_ref().and_then(|lease| lease.id);
        let contender = member.contender.as_ref().map(|contender| contender.id);
        for id in lease.into_iter().chain(contender) {
            self.leases.remove(&id);
        }
        self.preserve.uncount(member.is_counted);
        self.is_full_told = false;
        Some(member)
    }

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
            if !service.is_given() {
                service.found = Found::NotYet;
                service.found_since = now;
                self.version += 1;
                service.version = self.version;
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

    /// A member is to be looked at at the next tick.
    pub(super) fn look_soon(&mut self, key: Key, now: Duration) {
        self.look_at(key, Some(now));
    }

    /// A member is to be looked at then, and not before.
    pub(super) fn look_at(&mut self, key: Key, at: Option<Duration>) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if member.look_at == at {
            return;
        }
        if let Some(before) = member.look_at {
            self.deadlines.remove(&(before, key));
        }
        member.look_at = at;
        self.deadlines.extend(at.map(|at| (at, key)));
    }
}
