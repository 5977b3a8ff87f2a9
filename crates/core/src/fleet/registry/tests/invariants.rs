//! What holds after each change.

use super::super::Registry;
use super::super::member::{Key, Member};

impl Registry {
    /// Panics if something does not fit together.
    pub(in super::super) fn check_invariants(&self) {
        for (key, member) in &self.members {
            self.check_member(*key, member);
        }
        for (id, key) in &self.by_identity {
            let member = &self.members[key];
            assert!(
                member.id == *id || member.also.contains(id),
                "{id} leads astray"
            );
        }
        for (address, service) in &self.services {
            let owner = &self.members[&service.owner];
            assert!(owner.services.contains(address), "{address} has no owner");
        }
        for (lease, key) in &self.leases {
            let member = &self.members[key];
            let holds = member.lease.as_ref().and_then(|found| found.id) == Some(*lease);
            let contends = member.contender.as_ref().map(|found| found.id) == Some(*lease);
            assert!(holds || contends, "{lease:?} leads astray");
        }
        for (at, key) in &self.deadlines {
            assert_eq!(self.members[key].look_at, Some(*at));
        }
        let claims = self
            .members
            .values()
            .filter(|member| member.is_claim)
            .count();
        assert_eq!(claims, self.claims);
        assert!(claims <= self.config.claimed);
        let counted = self
            .members
            .values()
            .filter(|member| member.is_counted)
            .count();
        assert_eq!(counted, self.preserve.counted);
    }

    fn check_member(&self, key: Key, member: &Member) {
        assert!(!member.also.contains(&member.id));
        for id in member.also.iter().chain([&member.id]) {
            assert_eq!(self.by_identity.get(id), Some(&key), "{id}");
        }
        let mut wanted = 0;
        for address in &member.services {
            let service = &self.services[address];
            assert_eq!(service.owner, key, "{address}");
            wanted += usize::from(
                (service.wanted.as_ref()).is_some_and(|wanted| wanted.retiring.is_none()),
            );
        }
        assert!(wanted <= 1, "{} is wanted at {wanted} addresses", member.id);
        if member.is_claim {
            assert!(
                member.services.is_empty() && member.lease.is_none(),
                "{}",
                member.id
            );
        }
        if let Some(id) = member.lease.as_ref().and_then(|lease| lease.id) {
            assert_eq!(self.leases.get(&id), Some(&key));
        }
        if let Some(contender) = &member.contender {
            assert_eq!(self.leases.get(&contender.id), Some(&key));
        }
        if let Some(at) = member.look_at {
            assert!(self.deadlines.contains(&(at, key)));
        }
    }
}
