//! What `check` and `adopt` both say of a journal.

use std::path::Path;

use crate::cli::output::{Exit, Failure, complain};
use crate::queue::recovery::{Damage, Report};
use crate::text::Printable;

/// The failure when a directory has no journal in it.
pub(super) fn no_journal(dir: &Path) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("there is no journal in {}", dir.display()),
    )
    .hint("name the directory that the balancer was given with --journal")
}

/// Tells of each damage and each loss, on standard error.
pub(super) fn complain_of(report: &Report) {
    for damage in &report.damage {
        complain(&damage_text(damage), None);
    }
    if report.lost_records > 0 {
        let missing = format!(
            "records are missing: {}. Files may be lost, or come twice",
            report.lost_records
        );
        complain(&missing, None);
    }
    for number in &report.lost_content {
        complain(&format!("file {number}: its content is missing"), None);
    }
}

fn damage_text(damage: &Damage) -> String {
    let name = Printable(&damage.name);
    let what = Printable(&damage.what);
    let aside = match damage.aside.as_ref().filter(|_| damage.is_known) {
        Some(aside) => format!("; a copy is in {}", Printable(aside)),
        None => String::new(),
    };
    format!(
        "{name}: damaged: {what}: {} bytes at {}{aside}",
        damage.len, damage.offset
    )
}
