//! Members for people and programs, and what operators order about them.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Found, Lease, Member};
use super::registration::LeaseId;
use super::table::Registry;
use crate::fleet::identity::Identity;
use crate::fleet::report::{Capabilities, MemberReport, MemberState};

/// Why a member is not found, or not forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// There is no such member.
    Unknown,
    /// Several have a name that contains what was asked for; these are some of them.
    Ambiguous(Vec<String>),
    /// It cannot be forgotten.
    Kept {
        /// The member's name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The most names that are given for one that could be any of them.
const MAX_CANDIDATES: usize = 10;

impl Registry {
    /// All identities, in no order.
    pub fn identities(&self) -> Vec<Identity> {
        self.members
            .values()
            .map(|member| member.id.clone())
            .collect()
    }

    /// The identities and names of all members, in no order.
    pub fn names(&self) -> Vec<(Identity, Arc<str>)> {
        let members = self.members.values();
        members
            .map(|member| (member.id.clone(), member.name()))
            .collect()
    }

    /// One member.
    pub fn report(&self, id: &Identity, now: Duration) -> Option<MemberReport> {
        let member = self.members.get(&self.key_of(id)?)?;
        Some(self.report_of(member, now))
    }

    /// The member with this identity, name or address, or the only one whose name contains it.
    pub fn find(&self, name: &str) -> Result<Identity, NotDone> {
        match self.find_exactly(name) {
            Err(NotDone::Unknown) => self.only_one(name, |found| found.contains(name)),
            found => found,
        }
    }

    /// The member with this identity, name or address: what an order is about is never guessed.
    pub fn find_exactly(&self, name: &str) -> Result<Identity, NotDone> {
        let id = name.parse::<Identity>().ok();
        let key = (id.as_ref().and_then(|id| self.key_of(id)))
            .or_else(|| self.services.get(name).map(|service| service.owner));
        if let Some(member) = key.and_then(|key| self.members.get(&key)) {
            return Ok(member.id.clone());
        }
        self.only_one(name, |found| found == name)
    }

    /// The only member whose name is as it should be; `name` is what was asked for.
    fn only_one(&self, name: &str, is: impl Fn(&str) -> bool) -> Result<Identity, NotDone> {
        let members = self.members.values();
        let found: Vec<&Member> = members.filter(|member| is(&member.name())).collect();
        match found.as_slice() {
            [] => Err(NotDone::Unknown),
            [member] => Ok(member.id.clone()),
            several => {
                let mut ids: Vec<_> = several
                    .iter()
                    .map(|member| match &*member.name() {
                        same if same == name => member.id.to_string(),
                        other => other.to_owned(),
                    })
                    .collect();
                ids.sort();
                ids.truncate(MAX_CANDIDATES);
                Err(NotDone::Ambiguous(ids))
            }
        }
    }

    /// Keeps a member however long nothing is heard of it, or no longer.
    pub fn protect(&mut self, id: &Identity, is_protected: bool, now: Duration) {
        let Some(key) = self.key_of(id) else {
            return;
        };
        if let Some(member) = self.members.get_mut(&key)
            && member.protected != is_protected
        {
            member.protected = is_protected;
            self.believe(key);
            self.touch();
            self.refresh(key, now);
        }
    }

    /// An operator says that a member is gone for good.
    pub fn forget(&mut self, id: &Identity, now: Duration) -> Result<(), NotDone> {
        let key = self.key_of(id).ok_or(NotDone::Unknown)?;
        let member = self.members.get(&key).ok_or(NotDone::Unknown)?;
        if let Some(reason) = self.stays_because(member) {
            let name = member.name().to_string();
            return Err(NotDone::Kept { name, reason });
        }
        self.send_away(key, "an operator said so".into(), now);
        Ok(())
    }

    fn stays_because(&self, member: &Member) -> Option<String> {
        let mut services = member
            .services
            .iter()
            .filter_map(|at| self.services.get_key_value(at));
        if member.protected {
            return Some("it is protected; `bilico fleet protect --off` ends that".to_owned());
        }
        if services
            .clone()
            .any(|(_, service)| service.configured.is_some())
        {
            return Some("it is a server of the configuration; take it out there".to_owned());
        }
        if let Some((address, _)) = services
            .clone()
            .find(|(_, service)| service.ordered.is_some())
        {
            return Some(format!(
                "it was ordered; `bilico servers remove {address}` ends that"
            ));
        }
        let is_heard = matches!(
            member.state,
            MemberState::Active | MemberState::Late | MemberState::Joining
        );
        if is_heard || member.lease.as_ref().is_some_and(Lease::is_alive) {
            return Some("it is still heard of; stop it first".to_owned());
        }
        if let Some((address, _)) = services.clone().find(|(_, service)| service.is_up()) {
            return Some(format!("{address} still answers; stop it first"));
        }
        services.find(|(_, service)| service.in_doubt).map(|(address, _)| {
            format!(
                "files may be stored there that the balancer is not sure of; when it is gone for good, \
                 `bilico servers remove {address}` gives them up"
            )
        })
    }

    fn report_of(&self, member: &Member, now: Duration) -> MemberReport {
        let (facts, trust) = member.layers.view(now);
        let heard = heard(member);
        let address = self.address_of(member);
        let takes_files = member.services.iter().any(|address| {
            let service = self.services.get(address);
            service.is_some_and(|service| {
                let is_wanted = service
                    .wanted
                    .as_ref()
                    .is_some_and(|wanted| wanted.retiring.is_none());
                service.is_given() || is_wanted
            })
        });
        let seconds = |time: Duration| time.as_secs_f64();
        MemberReport {
            id: member.id.to_string(),
            name: member.name().to_string(),
            address: address.map(ToString::to_string),
            host: member.host.map(|host| host.to_string()),
            source: member.source,
            state: member.state,
            reason: member.reason.as_deref().map(str::to_owned),
            since_s: seconds(silence(member, now)),
            heard_s: heard.map(|at| seconds(now.saturating_sub(at))),
            lease_s: member.lease.as_ref().map(|lease| {
                let end = lease.heard + lease.lasts;
                seconds(end.saturating_sub(now))
            }),
            capabilities: Capabilities {
                files: takes_files,
                facts: member.layers.best().is_some(),
                load: facts.load.is_some(),
            },
            trust: trust.unwrap_or(member.believed),
            protected: member.protected,
            facts,
            notes: self.notes(member),
        }
    }

    fn address_of<'a>(&self, member: &'a Member) -> Option<&'a Arc<str>> {
        let lease = member.lease.as_ref().map(|lease| &lease.address);
        let told = match &member.id {
            Identity::Address(address) => Some(address),
            _ => None,
        };
        self.given_of(member, true)
            .or(lease)
            .or_else(|| self.given_of(member, false))
            .or(member.services.first())
            .or(told)
    }

    /// What people should know beside the state.
    fn notes(&self, member: &Member) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(contender) = &member.contender {
            let address = &contender.address;
            notes.push(if contender.is_copy {
                format!(
                    "{address} has the same directory, and is there, too: one is a copy. {address} gets \
                     no files. Stop one of them"
                )
            } else {
                format!("{address} has registered with the same directory, and waits")
            });
        }
        if let Some(other) = member
            .lease
            .as_ref()
            .and_then(|lease| lease.also_at.as_ref())
        {
            notes.push(format!(
                "it has registered as {other}, too, from the same process"
            ));
        }
        for address in &member.services {
            let Some(service) = self.services.get(address) else {
                continue;
            };
            if service.is_other {
                notes.push(format!(
                    "at {address} another directory answers: it gets no files"
                ));
            }
            if let Found::Unfit(reason) = &service.found {
                notes.push(format!("{address} gets no files: {reason}"));
            }
            if let Some(reason) = service
                .wanted
                .as_ref()
                .and_then(|wanted| wanted.retiring.as_ref())
            {
                let doubt = if service.in_doubt {
                    ", once nothing is in doubt there"
                } else {
                    ""
                };
                notes.push(format!("{address} is to be removed{doubt}: {reason}"));
            }
        }
        if self.preserve.is_on && member.is_counted && member.state == MemberState::Unknown {
            notes.push("many leases ended together: nobody is removed".to_owned());
        }
        notes
    }

    /// The identity of the member whose server a registration is of. The second server with a
    /// directory is none: what it tells is not of the first one.
    pub fn speaks_for(&self, lease: LeaseId) -> Option<&Identity> {
        let member = self.members.get(self.leases.get(&lease)?)?;
        let holds = member.lease.as_ref()?;
        (holds.id == Some(lease) && !holds.is_claim()).then_some(&member.id)
    }
}

/// How long a member is in its state, earlier runs of the balancer included if it is silent.
fn silence(member: &Member, now: Duration) -> Duration {
    let before = match member.state {
        MemberState::Unknown | MemberState::Gone => member.silent,
        _ => Duration::ZERO,
    };
    before.saturating_add(now.saturating_sub(member.since))
}

fn heard(member: &Member) -> Option<Duration> {
    let told = member.heard().map(|heard| heard.at);
    let beat = member.lease.as_ref();
    let beat = beat.filter(|lease| lease.id.is_some() || told.is_some());
    told.max(beat.map(|lease| lease.heard))
}
