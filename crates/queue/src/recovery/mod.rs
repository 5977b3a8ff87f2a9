//! Opens a journal: finds every file that is kept, cuts off a torn tail, and sets other damage
//! aside.
//!
//! Owns what a journal's directory may hold and how it is judged. A recovery first reads everything
//! (`reading.rs`: which journal this is, then the records of all segments that are needed) and only
//! then changes something (`repair.rs`).
//!
//! Invariant: nothing is changed before all of the journal has been read, nothing is removed that a
//! record needs, and bytes that cannot be read are kept under a name that says so, and counted.

mod contents;
mod identify;
mod inspect;
mod open;
mod reading;
mod recovered;
mod repair;
mod report;
mod segment_file;

pub use super::error::IDENTITY;
pub use open::{adopt, check, is_journal, open};
#[cfg(test)]
pub(crate) use recovered::FoundFile;
pub use recovered::Recovered;
pub use report::{Damage, Report, Torn};

/// How many request numbers are left out behind the highest that was found, after damage and after
/// an adoption: lost records, or another copy of the journal, may have used them.
pub const SKIPPED: u64 = 1_000_000;
