//! What is written down about who was let in and who was not.
//!
//! Each entry is an event of the log with a target of its own; [`crate::logging`] sends those to a
//! file of their own, too. No entry has a secret: the types that hold one cannot be shown.

use super::at::At;
use super::denied::Denied;
use super::pass::Pass;
use crate::text::excerpt;

/// The target of entries.
pub(crate) const TARGET: &str = "audit";

/// Writes an entry about somebody who is not known yet, for whom they say they are.
pub(super) fn attempt(event: &'static str, at: At, said: &str, result: Result<(), &Denied>) {
    let (from, user) = (at.address(), excerpt(said));
    match result {
        Ok(()) => tracing::info!(target: TARGET, event, user = &*user, %from, "let in"),
        Err(denied) => {
            let reason = denied.why();
            tracing::warn!(target: TARGET, event, user = &*user, %from, %reason, "not let in");
        }
    }
}

/// Writes an entry about somebody who is known and does something.
pub(crate) fn done(event: &'static str, who: &Pass, about: &str) {
    let from = who.from();
    let token = who.token().map(ToString::to_string).unwrap_or_default();
    tracing::info!(target: TARGET, event, %from, token, about, "done");
}
