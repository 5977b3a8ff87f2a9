//! The figures of a member as people read them.

use std::time::Duration;

use crate::cli::render::bytes_text;
use crate::fleet_core::{Facts, MemberReport, MemberState, Trust};
use crate::units::format_duration;

/// A part of 1 as a percentage.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Bytes a second.
pub(super) fn rate(of: f64) -> String {
    format!("{}/s", bytes_text(of))
}

/// The part of memory that is in use.
pub(super) fn memory(facts: &Facts) -> Option<f64> {
    facts.memory_part().map(f64::from)
}

/// The part of the disk that is in use, of what its users may have.
pub(super) fn disk(facts: &Facts) -> Option<f64> {
    facts.disk_part().map(f64::from)
}

/// How far a member's facts can be believed, where that is to be said.
pub(super) fn doubt(trust: Trust) -> Option<&'static str> {
    (trust == Trust::Claimed).then_some("not verified")
}

/// How long a host is up.
pub(super) fn uptime(seconds: u64) -> String {
    format_duration(Duration::from_secs(seconds))
}

/// The colour of a state.
pub(super) fn colour(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "32",
        MemberState::Late => "33",
        MemberState::Unknown => "31",
        MemberState::Joining | MemberState::Leaving | MemberState::Gone => "36",
    }
}

/// Why a member is in its state, and what else there is to know, in one line.
pub(super) fn why(member: &MemberReport) -> String {
    let doubt = doubt(member.trust).map(str::to_owned);
    let parts = doubt.into_iter().chain(member.reason.clone());
    let parts = parts.chain(member.notes.iter().cloned());
    let protected = member.protected.then(|| "protected".to_owned());
    parts.chain(protected).collect::<Vec<_>>().join("; ")
}
