//! `bilico queue check`: reads a journal and tells its state, and changes nothing.

use std::path::Path;

use serde_json::json;

use super::journal::{complain_of, no_journal};
use crate::cli::journal_errors::journal_failure;
use crate::cli::output::{Exit, Failure, say, say_json};
use crate::queue::RealDisk;
use crate::queue::recovery::{self, Recovered, Report, Torn};
use crate::units::ByteSize;

/// Reads the journal in `dir` and tells its state, as text or as a JSON object.
pub(super) fn check(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let found = read(dir)?;
    if json {
        say_json(state_json(&found));
    } else {
        say_state(&found);
    }
    Ok(if found.report.is_sound() {
        Exit::Done
    } else {
        Exit::Journal
    })
}

fn read(dir: &Path) -> Result<Recovered, Failure> {
    let shown = dir.display();
    if !dir.is_dir() {
        let failure = Failure::new(Exit::Failed, format!("{shown} is not a directory"));
        return Err(failure.hint("name the directory that the balancer was given with --journal"));
    }
    let disk = RealDisk::read_only(dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot open {shown}: {error}")))?;
    let found = recovery::check(&disk)
        .map_err(|error| journal_failure(error, dir, "name the directory"))?;
    if found.report == Report::default() && !dir.join(recovery::IDENTITY).exists() {
        return Err(no_journal(dir));
    }
    Ok(found)
}

fn state_json(found: &Recovered) -> serde_json::Value {
    let report = &found.report;
    let dead = found.dead();
    let damage = report.damage.iter().map(|damage| {
        json!({
            "file": damage.name,
            "what": damage.what,
            "offset": damage.offset,
            "bytes": damage.len,
            "aside": damage.aside,
            "known": damage.is_known,
        })
    });
    json!({
        "sound": report.is_sound(),
        "waiting": found.files.len() - dead,
        "dead": dead,
        "remembered": found.ended.len(),
        "next_number": found.next_number,
        "segments": report.segments,
        "bytes": report.bytes,
        "records": report.records,
        "torn_bytes": report.torn.as_ref().map_or(0, |torn| torn.len),
        "lost_records": report.lost_records,
        "lost_content": report.lost_content,
        "orphans": report.orphans,
        "damage": damage.collect::<Vec<_>>(),
    })
}

fn say_state(found: &Recovered) {
    let report = &found.report;
    let dead = found.dead();
    say(format_args!(
        "segments: {}, {}, with {} records",
        report.segments,
        ByteSize(report.bytes),
        report.records
    ));
    say(format_args!(
        "files: {} wait, {dead} are dead letters, {} that ended are remembered",
        found.files.len() - dead,
        found.ended.len()
    ));
    say(format_args!(
        "the next request number is {}",
        found.next_number
    ));
    if let Some(torn) = &report.torn {
        say_torn(torn);
    }
    if report.orphans > 0 {
        say(format_args!(
            "content that belongs to no file: {} files",
            report.orphans
        ));
    }
    complain_of(report);
    say(if report.is_sound() {
        "sound"
    } else {
        "not sound"
    });
}

fn say_torn(
    Torn {
        name, offset, len, ..
    }: &Torn,
) {
    say(format_args!(
        "{len} bytes at the end, from {offset} in {name}, were never synced: \
         no receipt was given for them; \
         the next start copies them to a file `torn-…` and cuts them off"
    ));
}
