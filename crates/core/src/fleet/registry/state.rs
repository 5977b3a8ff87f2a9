//! What time does, and what follows when a member is in another state.

use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::judge::Judged;
use super::member::{Found, Key, Kind, Lease, Member, Parting, Service};
use super::table::Registry;
use crate::fleet::report::MemberState;
use crate::units::format_duration;

/// The shortest time after which a member is forgotten, so that leases that end together are seen to.
const SHORTEST_MEMORY: Duration = Duration::from_mins(1);

/// When a member that cannot be forgotten yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// How often the leases are looked at while many are away.
const LOOK_FOR_RETURN: Duration = Duration::from_secs(1);

impl Registry {
    /// When [`tick`](Self::tick) is due, if it is.
    pub fn next_tick(&self, now: Duration) -> Option<Duration> {
        let first = self.deadlines.first().map(|(at, _)| *at);
        let look = self.preserve.is_on.then(|| now + LOOK_FOR_RETURN);
        first.into_iter().chain(look).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= now
        {
            self.look_at(key, None);
            match self.members.get(&key).and_then(Member::active_until) {
                // Only words of it have come since.
                Some(late) if late > now => self.look_at(key, Some(late)),
                _ => self.look(key, now),
            }
        }
        self.look_at_leases(now);
    }

    fn look(&mut self, key: Key, now: Duration) {
        self.end_of_lease(key, now);
        self.end_of_contender(key, now);
        self.refresh(key, now);
        if self.is_to_be_forgotten(key, now) && self.forget_silent(key, now) {
            return;
        }
        // What is due now has been done.
        if let Some(member) = self.members.get(&key)
            && member.look_at.is_some_and(|at| at <= now)
        {
            self.look_at(key, Some(now + LOOK_AGAIN));
        }
    }

    fn end_of_lease(&mut self, key: Key, now: Duration) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let is_parting = member.parting.is_some();
        let Some(lease) = &mut member.lease else {
            return;
        };
        if lease.expired.is_some() || now < lease.heard + lease.lasts {
            return;
        }
        lease.expired = Some(now);
        let is_there = member.contender.is_some();
        if !is_parting {
            self.preserve.has_lost = true;
        }
        if is_there {
            self.promote(key, now);
        }
    }

    /// Whether nothing was heard of a member for so long that it may be forgotten.
    fn is_to_be_forgotten(&self, key: Key, now: Duration) -> bool {
        let Some(member) = self.members.get(&key) else {
            return false;
        };
        let is_silent = matches!(member.state, MemberState::Unknown | MemberState::Gone);
        let is_there = member.lease.as_ref().is_some_and(Lease::is_alive);
        let is_due = !is_there && self.forget_at(member).is_some_and(|at| now >= at);
        let may_be_away = self.preserve.is_on && is_of_service(member) && !member.has_left();
        let services = member
            .services
            .iter()
            .filter_map(|at| self.services.get(at));
        is_silent && is_due && !may_be_away && services.clone().all(is_surely_gone)
    }

    /// When a silent member is forgotten, if nothing speaks against it then.
    fn forget_at(&self, member: &Member) -> Option<Duration> {
        if member.protected {
            return None;
        }
        if member.is_claim && !member.has_said_enough || member.is_unproven() {
            return Some(member.since);
        }
        let rest = self.config.forget_after?.saturating_sub(member.silent);
        Some(member.since.saturating_add(rest.max(SHORTEST_MEMORY)))
    }

    /// Forgets a member, or begins to: whether it is gone already.
    fn forget_silent(&mut self, key: Key, now: Duration) -> bool {
        let after = self.config.forget_after.unwrap_or_default();
        let reason: Arc<str> = format!("it was silent for {}", format_duration(after)).into();
        self.send_away(key, reason, now)
    }

    /// A member is to be forgotten as soon as its servers are removed: whether that is now.
    pub(super) fn send_away(&mut self, key: Key, reason: Arc<str>, now: Duration) -> bool {
        let Some(member) = self.members.get_mut(&key) else {
            return true;
        };
        member.parting = Some(Parting {
            reason,
            kind: Kind::Forgotten,
        });
        self.settle(key, now);
        self.refresh(key, now);
        !self.members.contains_key(&key)
    }

    /// Finds the state of a member anew, and tells what changed.
    pub(super) fn refresh(&mut self, key: Key, now: Duration) {
        if self.ends_parting(key) {
            return;
        }
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let judged = self.judge(member, now);
        let forget = match judged.state {
            MemberState::Unknown | MemberState::Gone => self.forget_at(member),
            _ => None,
        };
        let contender = (member.contender.as_ref()).map(|found| found.heard + found.lasts);
        let nexts = [judged.next, forget, contender];
        let next = nexts.into_iter().flatten().min();
        let seen = self.see(member, &judged);
        self.tell_seen(key, seen);
        self.enter(key, judged, now);
        self.look_at(key, next);
    }

    fn enter(&mut self, key: Key, judged: Judged, now: Duration) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let before = member.state;
        member.reason = judged.reason;
        if before == judged.state {
            return;
        }
        member.state = judged.state;
        member.since = now;
        // After a restart a member is late before anything is known of it: its silence goes on.
        let was_silent = matches!(before, MemberState::Unknown | MemberState::Gone);
        let is_heard = match judged.state {
            MemberState::Active | MemberState::Joining => true,
            MemberState::Late => was_silent,
            _ => false,
        };
        if is_heard {
            member.silent = Duration::ZERO;
        }
        if member.lease.is_none() || member.is_made_up() {
            return;
        }
        let (name, reason) = (member.name(), member.reason.clone());
        match (before, judged.state) {
            (_, MemberState::Unknown) => self.notice(Notice::Expired {
                member: name,
                reason: reason.unwrap_or_default(),
            }),
            (MemberState::Unknown, MemberState::Active | MemberState::Joining) => {
                self.notice(Notice::Back { member: name });
            }
            (_, MemberState::Gone) => self.notice(Notice::Left { member: name }),
            _ => {}
        }
    }

    /// A member that leaves or is forgotten, and whose servers are removed: whether it is forgotten
    /// now.
    fn ends_parting(&mut self, key: Key) -> bool {
        let Some(member) = self.members.get_mut(&key) else {
            return true;
        };
        let Some(parting) = &member.parting else {
            return false;
        };
        let mut services = member
            .services
            .iter()
            .filter_map(|at| self.services.get(at));
        let is_given = services.clone().any(Service::is_given);
        let is_over = services.all(Service::is_given);
        let is_there = member.lease.as_ref().is_some_and(Lease::is_alive);
        match parting.kind {
            Kind::Forgotten if is_over && !is_given => {
                let reason = parting.reason.clone();
                let (name, is_made_up) = (member.name(), member.is_made_up());
                self.drop_member(key);
                if !is_made_up {
                    let member = name;
                    self.notice(Notice::Forgotten { member, reason });
                }
                return true;
            }
            // It is a server of the configuration, and no longer a registered one.
            Kind::Forgotten | Kind::Left if is_over && is_given && !is_there => {
                let lease = member.lease.take().and_then(|lease| lease.id);
                member.parting = None;
                lease.map(|id| self.leases.remove(&id));
                self.touch();
            }
            _ => {}
        }
        false
    }
}

/// Nobody answers there, and nothing is in doubt there.
fn is_surely_gone(service: &Service) -> bool {
    !service.is_given() && !service.in_doubt && matches!(service.found, Found::Down(_))
}

/// Whether a member has registered, with a proof or where it was found.
fn is_of_service(member: &Member) -> bool {
    (member.lease.as_ref()).is_some_and(|lease| !lease.is_claim())
}
