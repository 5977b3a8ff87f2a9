//! The registry's state: members, by whatever they are known, and what is still to be said.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::config::RegistryConfig;
use super::layers::Layers;
use super::member::{Key, Member, Preserve, Service};
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
    /// The same, as soon as their versions are kept.
    pub(super) waiting: BTreeSet<Arc<str>>,
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
            has_said_enough: false,
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
            .min_by_key(|(key, member)| (member.heard().map(|heard| heard.at), **key))
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
            self.drop_service(address);
        }
        self.renamed.push(Renamed::Forgotten(member.id.clone()));
        // Who was never kept is not missed on disk: anybody could have the file written otherwise.
        if !member.is_claim || member.has_said_enough {
            self.touch();
        }
        Some(member)
    }

    /// Nobody has a server at this address any more.
    pub(super) fn drop_service(&mut self, address: &str) {
        self.services.remove(address);
        self.changed.remove(address);
        self.waiting.remove(address);
    }

    pub(super) fn take_member(&mut self, key: Key) -> Option<Member> {
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
