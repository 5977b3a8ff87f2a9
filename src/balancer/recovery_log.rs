//! Logs what was found in the journal at the start.

use crate::queue::recovery::{Damage, Recovered, Report, Torn};

/// Logs what a recovery found.
pub(super) fn log_recovery(recovered: &Recovered) {
    let dead = recovered.dead();
    let Report {
        segments,
        bytes,
        torn,
        damage,
        lost_records,
        lost_content,
        ..
    } = &recovered.report;
    tracing::info!(
        waiting = recovered.files.len() - dead,
        dead,
        next_number = recovered.next_number,
        segments,
        bytes,
        "journal opened"
    );
    if let Some(torn) = torn {
        log_torn(torn);
    }
    damage
        .iter()
        .filter(|damage| !damage.is_known)
        .for_each(log_damage);
    if *lost_records > 0 {
        tracing::error!(
            records = lost_records,
            "records are missing from the journal: files may be lost, or come twice"
        );
    }
    for number in lost_content {
        tracing::error!(
            number,
            "the content of a file is lost: it is a dead letter now"
        );
    }
}

fn log_torn(torn: &Torn) {
    let aside = torn.aside.as_deref().unwrap_or("no room for it");
    tracing::warn!(
        segment = torn.name,
        offset = torn.offset,
        bytes = torn.len,
        copy = aside,
        "the end of the journal was never synced, and is cut off"
    );
}

fn log_damage(damage: &Damage) {
    tracing::error!(
        segment = damage.name,
        what = damage.what,
        offset = damage.offset,
        bytes = damage.len,
        aside = damage.aside.as_deref().unwrap_or("-"),
        "the journal is damaged"
    );
}
