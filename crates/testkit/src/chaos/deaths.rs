//! Processes that ended although nobody killed them.

use super::stage::Stage;
use super::tamper;
use crate::Role;

/// Takes note of the processes that have ended. Returns those that should not have: only a balancer
/// whose journal was taken away ends by itself, with the exit code for that.
pub(super) fn find(stage: &mut Stage) -> Vec<String> {
    let mut findings = Vec::new();
    for place in 0..=stage.servers.len() {
        let must_end = place == 0 && stage.is_journal_away;
        let post = stage.post(place);
        if let Some(status) = post.role.as_mut().and_then(Role::ended) {
            if !must_end || status.code() != Some(tamper::JOURNAL_FAILED) {
                findings.push(format!("the {} ended by itself: {status}", post.name));
            }
            post.role = None;
        }
    }
    findings
}
