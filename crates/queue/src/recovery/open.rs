//! Opening, adopting and checking a journal.

use std::sync::Arc;

use crate::disk::{DirEntry, Disk};
use crate::error::IDENTITY;
use crate::error::JournalError;
use crate::identity::{self, Name};
use crate::journal::{Journal, JournalConfig};
use crate::segment;

use super::SKIPPED;
use super::reading::Reading;
use super::recovered::Recovered;

/// Opens the journal on `disk`, or begins a new one.
#[expect(clippy::needless_pass_by_value, reason = "the journal keeps the disk")]
pub fn open(
    disk: Arc<dyn Disk>,
    config: JournalConfig,
) -> Result<(Journal, Recovered), JournalError> {
    let reading = Reading::of(&*disk)?;
    if reading.written.name == Name::Lost {
        return Err(JournalError::NameLost);
    }
    reading.repair_and_open(&disk, config)
}

/// Gives the journal on `disk` a new identity for servers, and skips request numbers. `None` if
/// there is no journal. If it fails, it can be done again.
#[expect(clippy::needless_pass_by_value, reason = "the journal keeps the disk")]
pub fn adopt(
    disk: Arc<dyn Disk>,
    config: JournalConfig,
) -> Result<Option<Recovered>, JournalError> {
    let mut reading = Reading::of(&*disk)?;
    if reading.is_new {
        return Ok(None);
    }
    reading.skips = SKIPPED;
    if reading.written.name == Name::Lost {
        reading.written.name = Name::Own;
    }
    let (_, mut recovered) = reading.repair_and_open(&disk, config)?;
    // Only now, when the skipped numbers are durable: no server may see the new identity with an
    // old number.
    recovered.known_as = rand::random();
    identity::write(&*disk, recovered.journal, Name::Other(recovered.known_as))?;
    Ok(Some(recovered))
}

/// Whether `disk` holds a journal, or what is left of one.
pub fn is_journal(disk: &dyn Disk) -> std::io::Result<bool> {
    let is_of_journal =
        |entry: &DirEntry| entry.name == IDENTITY || segment::parse_name(&entry.name).is_some();
    Ok(disk.list()?.iter().any(is_of_journal))
}

/// Reads the journal on `disk`, large contents too, and says what it holds and what is wrong with
/// it. Changes nothing.
pub fn check(disk: &dyn Disk) -> Result<Recovered, JournalError> {
    let mut reading = Reading::of(disk)?;
    reading.read_contents(disk)?;
    let id = reading.id.unwrap_or_default();
    Ok(reading.into_recovered(id))
}
