//! Self-preservation: when many leases end together, it is probably this balancer that is cut off,
//! and nobody is removed.

use std::time::Duration;

use super::action::Notice;
use super::member::{Lease, Preserve};
use super::table::Registry;

/// The fewest leases of which many can end together.
const FEWEST: usize = 3;

impl Registry {
    /// Looks whether many leases ended together, or enough of those members are back.
    pub(super) fn look_at_leases(&mut self, now: Duration) {
        if self.preserve.is_on {
            self.look_for_return();
        } else if std::mem::take(&mut self.preserve.has_lost) {
            self.look_for_loss(now);
        }
    }

    fn look_for_return(&mut self) {
        let of = self.preserve.counted;
        let counted = self.members.values().filter(|member| member.is_counted);
        let back = counted
            .filter(|member| member.lease.as_ref().is_some_and(Lease::is_alive))
            .count();
        if back * 4 < of * 3 {
            return;
        }
        for member in self.members.values_mut() {
            member.is_counted = false;
        }
        self.preserve = Preserve::default();
        self.notice(Notice::PreservingEnded { back, of });
    }

    fn look_for_loss(&mut self, now: Duration) {
        let (mut of, mut lost) = (0, 0);
        for member in self.members.values_mut() {
            member.is_counted = false;
            let Some(lease) = member.lease.as_ref().filter(|_| member.parting.is_none()) else {
                continue;
            };
            // Anybody could have many of those end together.
            if lease.is_claim() {
                continue;
            }
            let has_just_expired = lease
                .expired
                .is_some_and(|expired| now.saturating_sub(expired) <= lease.lasts);
            if lease.expired.is_none() || has_just_expired {
                of += 1;
                lost += usize::from(has_just_expired);
                member.is_counted = true;
            }
        }
        if of >= FEWEST && lost * 2 > of {
            self.preserve.is_on = true;
            self.preserve.counted = of;
            self.notice(Notice::Preserving { lost, of });
        } else {
            for member in self.members.values_mut() {
                member.is_counted = false;
            }
        }
    }

    /// Whether many leases ended together and nobody is removed: how many of how many are there.
    #[cfg(test)]
    pub(super) fn preserving(&self) -> Option<(usize, usize)> {
        self.preserve.is_on.then(|| {
            let counted = self.members.values().filter(|member| member.is_counted);
            let back = counted.filter(|member| {
                let lease = member.lease.as_ref();
                lease.is_some_and(Lease::is_alive)
            });
            (back.count(), self.preserve.counted)
        })
    }
}
