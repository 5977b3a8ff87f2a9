//! `bilico queue adopt`: a journal that was copied, or restored from a backup, goes on under a new
//! identity.

use std::path::Path;
use std::sync::Arc;

use super::journal::{complain_of, no_journal};
use crate::cli::journal_errors::journal_failure;
use crate::cli::output::{Exit, Failure, say};
use crate::queue::RealDisk;
use crate::queue::recovery::{self, IDENTITY, Recovered, Report, SKIPPED};
use crate::queue::{self, Durability, JournalConfig, JournalError};

/// Gives the journal in `dir` a new identity, and tells what it did.
pub(super) fn adopt(dir: &Path) -> Result<Exit, Failure> {
    // First of all, so that nothing is made or locked in a directory that has no journal.
    let looked = RealDisk::read_only(dir).and_then(|disk| recovery::is_journal(&disk));
    match looked {
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("cannot open {}: {error}", dir.display()),
            ));
        }
        Ok(false) => return Err(no_journal(dir)),
        Ok(true) => {}
    }
    let failed = |error: JournalError| journal_failure(error, dir, "name the directory");
    let (_lock, disk) = queue::take_hold(dir).map_err(failed)?;
    let config = JournalConfig {
        durability: Durability::Disk,
        segment_size: None,
    };
    let adopted = recovery::adopt(Arc::new(disk), config)
        .map_err(failed)?
        .ok_or_else(|| no_journal(dir))?;
    complain_of(&adopted.report);
    tell(dir, &adopted);
    Ok(if is_whole(&adopted.report) {
        Exit::Done
    } else {
        Exit::Journal
    })
}

/// Whether every file of the journal is there. A damaged identity counts for nothing: adopting
/// wrote it anew.
fn is_whole(report: &Report) -> bool {
    let is_damaged = report.damage.iter().any(|damage| damage.name != IDENTITY);
    !is_damaged && report.lost_records == 0 && report.lost_content.is_empty()
}

fn tell(dir: &Path, adopted: &Recovered) {
    let dead = adopted.dead();
    let waiting = adopted.files.len() - dead;
    let name = u128::from_be_bytes(adopted.known_as);
    say(format_args!(
        "servers know the journal in {} by a new identity now: {name:032x}",
        dir.display()
    ));
    say(format_args!(
        "the next request number is {}: {SKIPPED} are left out",
        adopted.next_number
    ));
    say(format_args!(
        "files: {waiting} wait and {dead} are dead letters, as before"
    ));
    say(
        "a waiting file that a server has already may be stored a second time, \
         under the new identity",
    );
}
