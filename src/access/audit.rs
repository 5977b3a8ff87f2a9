//! What is written down about who was let in and who was not.
//!
//! Each entry is a line of the log whose target is [`AUDIT`], so that it goes to the audit file,
//! too. No entry has a secret: the types that hold one cannot be shown.

use super::at::At;
use super::denied::{Denied, DeniedKind};
use super::pass::Pass;
use super::users::TokenId;
use crate::logging::AUDIT;
use crate::text::excerpt;

/// Writes an entry about somebody who is not known yet, for whom they say they are.
pub(super) fn attempt(event: &'static str, at: At, said: &str, result: Result<(), &Denied>) {
    let (from, user) = (at.address(), excerpt(said));
    match result {
        Ok(()) => tracing::info!(target: AUDIT, event, user = &*user, %from, "let in"),
        Err(denied) => {
            let reason = denied.why();
            tracing::warn!(target: AUDIT, event, user = &*user, %from, %reason, "not let in");
        }
    }
}

/// Writes an entry about a token that is not good.
pub(super) fn bad_token(at: At, token: &TokenId, denied: &Denied) {
    let (from, reason) = (at.address(), denied.why());
    tracing::warn!(target: AUDIT, event = "token.refused", %token, %from, %reason, "not let in");
}

/// Writes an entry about a user who may not do something: one a second for each token at most.
pub(crate) fn denied(who: &Pass, what: &str, denied: &Denied) {
    let is_due = || who.known().is_some_and(|known| known.is_worth_a_word());
    if denied.kind() == DeniedKind::Forbidden && is_due() {
        let (from, reason) = (who.from(), denied.why());
        tracing::warn!(target: AUDIT, event = "denied", %from, what, %reason, "not let do");
    }
}

/// Writes an entry about somebody who is known and does something.
pub(crate) fn done(event: &'static str, who: &Pass, about: &str) {
    let from = who.from();
    let token = who.token().map(ToString::to_string).unwrap_or_default();
    tracing::info!(target: AUDIT, event, %from, token, about, "done");
}
