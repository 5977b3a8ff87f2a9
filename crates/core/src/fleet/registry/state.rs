//! In which state a member is and why, and what time does.

use std::sync::Arc;
use std::time::Duration;

use super::action::Notice;
use super::member::{Found, Key, Kind, Lease, Member, Parting, Service, WORDS_TO_STAY};
use super::registration::Seen;
use super::table::Registry;
use crate::fleet::report::MemberState;
use crate::fleet::told::Trust;
use crate::units::format_duration;

/// How long a server of the configuration is late before nothing is known of it.
const LATE: Duration = Duration::from_secs(15);

/// The shortest time after which a member is forgotten, so that leases that end together are seen to.
const SHORTEST_MEMORY: Duration = Duration::from_mins(1);

/// When a member that cannot be forgotten yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// How often the leases are looked at while many are away.
const LOOK_FOR_RETURN: Duration = Duration::from_secs(1);

const RESTARTED: &str = "not heard of since the balancer started";

/// A state, why, and when it may be another one.
struct Judged {
    state: MemberState,
    reason: Option<Arc<str>>,
    next: Option<Duration>,
}

impl Judged {
    fn new(state: MemberState, reason: impl Into<Arc<str>>, next: Option<Duration>) -> Self {
        Self {
            state,
            reason: Some(reason.into()),
            next,
        }
    }

    fn active(next: Option<Duration>) -> Self {
        Self {
            state: MemberState::Active,
            reason: None,
            next,
        }
    }
}

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
            self.look(key, now);
        }
        self.look_at_leases(now);
    }

    fn look(&mut self, key: Key, now: Duration) {
        self.end_of_lease(key, now);
        self.end_of_contender(key, now);
        if self.is_to_be_forgotten(key, now) && self.forget_silent(key, now) {
            return;
        }
        self.refresh(key, now);
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

    fn end_of_contender(&mut self, key: Key, now: Duration) {
        if let Some(member) = self.members.get_mut(&key)
            && let Some(contender) = &member.contender
            && now >= contender.heard + contender.lasts
        {
            let id = contender.id;
            member.contender = None;
            self.leases.remove(&id);
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
        let may_be_away = self.preserve.is_on && member.lease.is_some() && !member.has_left();
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
        if member.is_claim && member.layers.words(Trust::Claimed) < WORDS_TO_STAY {
            return Some(member.since);
        }
        let after = self.config.forget_after?.max(SHORTEST_MEMORY);
        Some(member.since + after.saturating_sub(member.silent))
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
        if matches!(judged.state, MemberState::Active | MemberState::Joining) {
            member.silent = Duration::ZERO;
        }
        if member.lease.is_none() {
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
                let member = member.name();
                self.drop_member(key);
                self.notice(Notice::Forgotten { member, reason });
                return true;
            }
            // It is a server of the configuration, and no longer a registered one.
            Kind::Forgotten | Kind::Left if is_over && is_given && !is_there => {
                member.lease = None;
                member.parting = None;
                self.touch();
            }
            _ => {}
        }
        false
    }

    fn judge(&self, member: &Member, now: Duration) -> Judged {
        if let Some(parting) = &member.parting {
            return self.judge_parting(member, parting);
        }
        if let Some(lease) = &member.lease {
            return self.judge_lease(member, lease, now);
        }
        let services = member
            .services
            .iter()
            .filter_map(|at| self.services.get(at));
        if let Some(judged) = services
            .map(|service| judge_service(service, now))
            .min_by_key(|judged| judged.state)
        {
            return judged;
        }
        judge_words(member, now)
    }

    fn judge_parting(&self, member: &Member, parting: &Parting) -> Judged {
        let reason = &parting.reason;
        let services = member
            .services
            .iter()
            .filter_map(|at| self.services.get(at));
        let in_doubt = services.clone().filter(|service| service.in_doubt).count();
        if services.count() == 0 {
            return Judged::new(MemberState::Gone, reason.clone(), None);
        }
        let reason = match in_doubt {
            0 => reason.clone(),
            _ => format!("{reason}; files may be in flight to it").into(),
        };
        Judged::new(MemberState::Leaving, reason, None)
    }

    fn judge_lease(&self, member: &Member, lease: &Lease, now: Duration) -> Judged {
        let mut given = member
            .services
            .iter()
            .filter(|address| (self.services.get(*address)).is_some_and(Service::is_given));
        let ours = member.services.get(&lease.address).or_else(|| given.next());
        let address = ours.unwrap_or(&lease.address);
        let service = ours.and_then(|address| self.services.get(address));
        let trouble = service.and_then(|service| trouble(service, address));
        let end = lease.heard + lease.lasts;
        if lease.expired.is_some() {
            let mut reason = match lease.id {
                None if lease.was_found || member.layers.best().is_some() => format!(
                    "its connection broke, and it has not come back for {}",
                    format_duration(lease.lasts)
                ),
                None => RESTARTED.to_owned(),
                Some(_) => format!("no word of it for {}", format_duration(lease.lasts)),
            };
            if let Some(trouble) = trouble {
                reason = format!("{reason}; {trouble}");
            }
            return Judged::new(MemberState::Unknown, reason, None);
        }
        if lease.id.is_none() {
            let reason = match member.layers.best() {
                None => RESTARTED,
                Some(_) => "its connection broke",
            };
            return Judged::new(MemberState::Late, reason, Some(end));
        }
        if !lease.was_found && !service.is_some_and(Service::is_up) {
            let reason = trouble.unwrap_or_else(|| "no probe of it was answered yet".to_owned());
            return Judged::new(MemberState::Joining, reason, Some(end));
        }
        let late = lease.heard + lease.lasts / 2;
        if now >= late {
            return Judged::new(MemberState::Late, "a word of it is overdue", Some(end));
        }
        match trouble {
            Some(trouble) => Judged::new(MemberState::Late, trouble, Some(late)),
            None => Judged::active(Some(late)),
        }
    }

    /// How the balancer sees a server that has registered.
    fn see(&self, member: &Member, judged: &Judged) -> Seen {
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

    fn tell_seen(&mut self, key: Key, seen: Seen) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if let Some(contender) = &mut member.contender
            && !contender.seen.left
        {
            let waits = super::leases::told_to_second(contender.is_copy);
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

/// What is wrong with a server, as probes find it.
fn trouble(service: &Service, address: &str) -> Option<String> {
    if service.is_other {
        return Some(format!("at {address} another directory answers"));
    }
    match &service.found {
        Found::Down(reason) => Some(format!("{address}: {reason}")),
        _ => None,
    }
}

/// The state of a server of the configuration or of an order.
fn judge_service(service: &Service, now: Duration) -> Judged {
    match &service.found {
        Found::NotYet => Judged::new(
            MemberState::Joining,
            "no probe of it was answered yet",
            None,
        ),
        Found::Up | Found::Unfit(_) => Judged::active(None),
        Found::Down(reason) => {
            let until = service.found_since + LATE;
            if now < until {
                Judged::new(MemberState::Late, reason.clone(), Some(until))
            } else {
                Judged::new(MemberState::Unknown, reason.clone(), None)
            }
        }
    }
}

/// The state of a member that only tells something.
fn judge_words(member: &Member, now: Duration) -> Judged {
    let Some(heard) = member.layers.heard() else {
        return Judged::new(MemberState::Unknown, RESTARTED, None);
    };
    if now < heard.late {
        return Judged::active(Some(heard.late));
    }
    let silent = format_duration(heard.until.saturating_sub(heard.at));
    if now < heard.until {
        Judged::new(
            MemberState::Late,
            "a word of it is overdue",
            Some(heard.until),
        )
    } else {
        Judged::new(
            MemberState::Unknown,
            format!("no word of it for {silent}"),
            None,
        )
    }
}

/// Nobody answers there, and nothing is in doubt there.
fn is_surely_gone(service: &Service) -> bool {
    !service.is_given() && !service.in_doubt && matches!(service.found, Found::Down(_))
}
