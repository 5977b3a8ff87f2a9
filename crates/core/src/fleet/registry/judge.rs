//! In which state a member is, and why.

use std::sync::Arc;
use std::time::Duration;

use super::member::{Found, Lease, Member, Parting, Service};
use super::table::Registry;
use crate::fleet::report::MemberState;
use crate::units::format_duration;

/// How long a server of the configuration is late before nothing is known of it.
const LATE: Duration = Duration::from_secs(15);

const RESTARTED: &str = "not heard of since the balancer started";

/// A state, why, and when it may be another one.
pub(super) struct Judged {
    pub(super) state: MemberState,
    pub(super) reason: Option<Arc<str>>,
    pub(super) next: Option<Duration>,
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
    pub(super) fn judge(&self, member: &Member, now: Duration) -> Judged {
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
        let ours = (member.services.get(&lease.address))
            .or_else(|| self.given_of(member, true))
            .or_else(|| self.given_of(member, false));
        let address = ours.unwrap_or(&lease.address);
        let service = ours.and_then(|address| self.services.get(address));
        let trouble = service.and_then(|service| trouble(service, address));
        let end = lease.heard + lease.lasts;
        if lease.expired.is_some() {
            let mut reason = match lease.id {
                None if lease.was_found || member.best().is_some() => format!(
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
            let reason = match member.best() {
                None => RESTARTED,
                Some(_) => "its connection broke",
            };
            return Judged::new(MemberState::Late, reason, Some(end));
        }
        if !lease.was_found && !service.is_some_and(Service::is_up) {
            let reason = trouble.unwrap_or_else(|| "no probe of it was answered yet".to_owned());
            return Judged::new(MemberState::Joining, reason, Some(end));
        }
        let late = lease.late();
        if now >= late {
            return Judged::new(MemberState::Late, "a word of it is overdue", Some(end));
        }
        match trouble {
            Some(trouble) => Judged::new(MemberState::Late, trouble, Some(late)),
            None => Judged::active(Some(late)),
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
    let Some(heard) = member.heard() else {
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
