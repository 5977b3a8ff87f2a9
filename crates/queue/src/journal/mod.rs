//! The journal: what is written, when it is durable, and how room is given back.
//!
//! Operations are appended to a batch; [`Journal::commit`] writes the batch and syncs it, and only
//! what was committed counts (`log.rs`). Room is given back from the oldest end (`clean.rs`): when
//! enough of the journal is garbage, the records of the oldest segment that are still needed are
//! written again at the newest end, a bounded piece with each batch, and the segment is removed. So
//! a file that waits for ever costs no more than its own bytes.
//!
//! Invariant: a segment is removed only when everything that is needed of it is durable elsewhere,
//! and never before an older one, so that the record of a delivery outlives every copy of the file
//! that was delivered.

mod clean;
mod config;
mod live;
mod live_record;
mod location;
mod log;
mod op;
mod reserve;
mod rotate;
#[cfg(test)]
mod tests;

pub use config::{JournalConfig, SEGMENT_SIZES};
pub use location::{Handle, Location, RecordPosition};
pub use log::Journal;
pub use op::{Changes, Committed, Op};

pub(crate) use location::low;
pub(crate) use log::Found;
pub(crate) use reserve::RESERVE;
