//! Remedies for a journal that cannot be used, shared by the commands that open one.

use std::path::Path;

use super::output::{Exit, Failure};
use crate::queue::JournalError;

/// The failure for the journal in `dir`, with its remedy. `another` completes "… for another
/// directory" with the flag or argument that the command has for it, e.g. `pass --journal`.
pub(super) fn journal_failure(error: JournalError, dir: &Path, another: &str) -> Failure {
    let dir = dir.display();
    let hint = match &error {
        JournalError::Locked { .. } => format!(
            "one balancer per journal: {another} for another directory, or stop the other balancer"
        ),
        JournalError::Directory { .. } => {
            format!("{another} for another directory, or let this user write there")
        }
        JournalError::Moved { .. } => format!(
            "the accepted files are in the directory that was {dir}: move it back, or {another} \
             for its new place"
        ),
        JournalError::Removed { name, .. } => format!(
            "restore {name} from a backup if there is one; without it, the files in it cannot be \
             delivered"
        ),
        JournalError::Intruder { name } => format!(
            "find and stop the program that created {name}, and move its files out of {dir}"
        ),
        JournalError::NotRegular { name } => {
            format!("replace {name} with the regular file; links are not followed")
        }
        JournalError::SegmentsGone { .. } => format!(
            "restore the segments (`….log`) in {dir}; to start again without their files, \
             {another} for another directory"
        ),
        JournalError::NameLost => {
            format!("restore `journal-id` from a backup, or run `bilico queue adopt {dir}`")
        }
        _ => format!("`bilico queue check {dir}` shows its state; accepted files stay in it"),
    };
    let exit = if matches!(error, JournalError::Locked { .. }) {
        Exit::Failed
    } else {
        Exit::Journal
    };
    Failure::new(exit, error).hint(hint)
}
