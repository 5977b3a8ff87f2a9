//! What outlives the balancer: members with their identities, addresses and leases, not their facts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{MAX_MEMBERS, RegistryConfig};
use super::leases::LASTS;
use super::member::{Key, Kind, Lease, Member, Parting, Service, Wanted};
use super::registration::Seen;
use super::table::Registry;
use crate::fleet::identity::{BadIdentity, Identity};
use crate::fleet::report::MemberState;
use crate::fleet::told::{Source, Trust};

/// A member, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMember {
    id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    source: Source,
    trust: Trust,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "is_false")]
    protected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<KeptLease>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parting: Option<KeptParting>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    servers: Vec<KeptServer>,
    /// Seconds for which nothing was heard of it, when this was written.
    #[serde(default, skip_serializing_if = "is_zero")]
    silent_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptLease {
    address: Box<str>,
    weight: u32,
    lasts_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptParting {
    reason: Box<str>,
    kind: KeptKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptKind {
    Left,
    Barred,
    Forgotten,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptServer {
    address: Box<str>,
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retiring: Option<Box<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why members that were kept cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKept {
    /// More than there can be.
    #[error("it has {0} members, at most {MAX_MEMBERS} are expected")]
    TooMany(usize),
    /// An identity that cannot be read.
    #[error(transparent)]
    Identity(#[from] BadIdentity),
    /// Two members with one identity or one address.
    #[error("two members have {0}")]
    Twice(String),
}

impl Registry {
    /// Counts the changes of what [`keep`](Self::keep) gives.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What is to be kept of the members. Servers of the configuration come by it again, and members
    /// that were claimed once or twice are not worth it.
    pub fn keep(&self, now: Duration) -> Vec<KeptMember> {
        let members = self.members.values().filter(|member| is_kept(member));
        let mut kept: Vec<_> = members.map(|member| self.keep_one(member, now)).collect();
        kept.truncate(MAX_MEMBERS);
        kept
    }

    fn keep_one(&self, member: &Member, now: Duration) -> KeptMember {
        let is_silent = matches!(member.state, MemberState::Unknown | MemberState::Gone);
        let here = if is_silent {
            now.saturating_sub(member.since)
        } else {
            Duration::ZERO
        };
        let silent = member.silent.saturating_add(here);
        let server = |address: &Arc<str>| {
            let wanted = self.services.get(address)?.wanted.as_ref()?;
            Some(KeptServer {
                address: boxed(address),
                weight: wanted.weight,
                retiring: wanted.retiring.as_ref().map(boxed),
            })
        };
        KeptMember {
            id: member.id.to_string(),
            also: member.also.iter().map(Identity::to_string).collect(),
            name: member.name.as_ref().map(boxed),
            source: member.source,
            trust: member.trust(),
            host: member.host,
            protected: member.protected,
            ticket: member.ticket.as_ref().map(boxed),
            lease: member.lease.as_ref().map(|lease| KeptLease {
                address: boxed(&lease.address),
                weight: lease.weight,
                lasts_ms: u64::try_from(lease.lasts.as_millis()).unwrap_or(u64::MAX),
            }),
            parting: member.parting.as_ref().map(|parting| KeptParting {
                reason: boxed(&parting.reason),
                kind: match parting.kind {
                    Kind::Left => KeptKind::Left,
                    Kind::Barred => KeptKind::Barred,
                    Kind::Forgotten => KeptKind::Forgotten,
                },
            }),
            servers: member.services.iter().filter_map(server).collect(),
            silent_s: silent.as_secs(),
        }
    }

    /// A registry with the members of an earlier run. Their leases begin anew: they could not beat
    /// while there was no balancer.
    pub fn restore(
        config: RegistryConfig,
        kept: Vec<KeptMember>,
        now: Duration,
    ) -> Result<Self, BadKept> {
        if kept.len() > MAX_MEMBERS {
            return Err(BadKept::TooMany(kept.len()));
        }
        let mut registry = Self::new(config);
        for member in kept {
            registry.restore_one(member, now)?;
        }
        registry.renamed.clear();
        registry.kept = registry.version;
        let keys: Vec<Key> = registry.members.keys().copied().collect();
        for key in keys {
            registry.settle(key, now);
            registry.refresh(key, now);
        }
        registry.notices.clear();
        Ok(registry)
    }

    fn restore_one(&mut self, kept: KeptMember, now: Duration) -> Result<(), BadKept> {
        let id: Identity = kept.id.parse()?;
        if self.by_identity.contains_key(&id) {
            return Err(BadKept::Twice(kept.id));
        }
        let is_claim = kept.trust == Trust::Claimed && kept.lease.is_none();
        let key = self.insert(id, kept.source, is_claim, now);
        for also in &kept.also {
            let id: Identity = also.parse()?;
            if self.by_identity.insert(id.clone(), key).is_some() {
                return Err(BadKept::Twice(also.clone()));
            }
            if let Some(member) = self.members.get_mut(&key) {
                member.also.insert(id);
            }
        }
        for server in kept.servers {
            let address: Arc<str> = server.address.into();
            if self.services.contains_key(&address) {
                return Err(BadKept::Twice(address.to_string()));
            }
            let mut service = Service::new(key, now);
            service.may_be_known = true;
            service.wanted = Some(Wanted {
                weight: server.weight,
                retiring: server.retiring.map(Into::into),
            });
            self.changed.insert(address.clone());
            self.services.insert(address.clone(), service);
            if let Some(member) = self.members.get_mut(&key) {
                member.services.insert(address);
            }
        }
        let Some(member) = self.members.get_mut(&key) else {
            return Ok(());
        };
        member.name = kept.name.map(Into::into);
        member.named = kept.trust;
        member.believed = kept.trust;
        // It would not have been kept otherwise.
        member.has_said_enough = is_claim;
        member.host = kept.host;
        member.protected = kept.protected;
        member.ticket = kept.ticket.map(Into::into);
        member.silent = Duration::from_secs(kept.silent_s);
        member.lease = kept.lease.map(|lease| Lease {
            id: None,
            address: lease.address.into(),
            also_at: None,
            weight: lease.weight,
            instance: None,
            lasts: Duration::from_millis(lease.lasts_ms).clamp(LASTS.0, LASTS.1),
            heard: now,
            expired: None,
            is_proved: kept.trust > Trust::Claimed,
            was_found: false,
            seen: Seen::default(),
        });
        member.parting = kept.parting.map(|parting| Parting {
            reason: parting.reason.into(),
            kind: match parting.kind {
                KeptKind::Left => Kind::Left,
                KeptKind::Barred => Kind::Barred,
                KeptKind::Forgotten => Kind::Forgotten,
            },
        });
        Ok(())
    }
}

fn boxed(text: &Arc<str>) -> Box<str> {
    (**text).into()
}

fn is_kept(member: &Member) -> bool {
    let is_given = matches!(member.source, Source::Configuration | Source::Order);
    let is_known = !member.is_claim || member.has_said_enough;
    member.lease.is_some() || member.protected || is_known && !is_given
}
