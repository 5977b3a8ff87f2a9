//! How a registered server is seen, so that it hears why it gets no files.

use super::judge::Judged;
use super::member::{Found, Key, Member};
use super::registration::Seen;
use super::table::Registry;
use crate::fleet::report::MemberState;

impl Registry {
    /// How the balancer sees a server that has registered.
    pub(super) fn see(&self, member: &Member, judged: &Judged) -> Seen {
        let lease = member.lease.as_ref();
        if let Some(parting) = &member.parting {
            let mut services = member
                .services
                .iter()
                .filter_map(|at| self.services.get(at));
            let reason = if member.is_barred() {
                let address = lease.map_or("ADDRESS", |lease| &lease.address);
                format!(
                    "{}: `bilico servers add {address}` takes it back",
                    parting.reason
                )
                .into()
            } else {
                parting.reason.clone()
            };
            return Seen {
                good: false,
                reason: Some(reason),
                // What was told before the drain may be older than the last file.
                left: member.has_left()
                    && services.all(|service| {
                        let is_drained = service.told.as_ref().is_some_and(|told| told.is_drained);
                        service.is_given() && is_drained && !service.in_doubt
                    }),
            };
        }
        let ours = lease.and_then(|lease| member.services.get(&lease.address));
        let service = ours.and_then(|address| self.services.get(address));
        let unfit = match service.map(|service| &service.found) {
            Some(Found::Unfit(reason)) => Some(reason.clone()),
            _ => None,
        };
        let good = judged.state == MemberState::Active && unfit.is_none();
        Seen {
            good,
            reason: unfit.or_else(|| judged.reason.clone().filter(|_| !good)),
            left: false,
        }
    }

    pub(super) fn tell_seen(&mut self, key: Key, seen: Seen) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if let Some(contender) = &mut member.contender
            && !contender.seen.left
        {
            let waits = super::copies::told_to_second(contender.is_copy);
            let told = Seen {
                good: false,
                reason: Some(waits.into()),
                left: false,
            };
            if contender.seen != told {
                contender.seen = told.clone();
                self.seen.push((contender.id, told));
            }
        }
        if let Some(lease) = &mut member.lease
            && lease.seen != seen
        {
            lease.seen = seen.clone();
            self.seen.extend(lease.id.map(|id| (id, seen)));
        }
    }
}
