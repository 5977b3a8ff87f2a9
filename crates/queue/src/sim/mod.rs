//! A disk in memory that knows what was synced, for tests of what a crash leaves behind.
//!
//! [`SimDisk`] counts the operations that change it. Any of them can fail, or be the one at which
//! the process dies. [`SimDisk::crash`] gives the disk as it may be found afterwards, one for each
//! [`Shape`]. `at_every_operation` goes through all of them.
//!
//! It behaves as badly as POSIX and Linux allow:
//! - A write, a change of length or of a name is *unsynced* until its file, or the directory, is
//!   synced. Each can be lost without the others. Syncing a file does not sync its name, nor the
//!   other way round.
//! - Changes of one name stay in order: what needs a lost one is lost with it, so a rename leaves
//!   the old name or the new one, and each name has one file's content or another's, never a mix.
//! - After a failed sync, what it should have written is *in doubt*: still read back, perhaps on
//!   the disk and perhaps not, and no later sync changes that. Only writing it again does.
//! - The operation at which the process dies may have happened or not, a sync excepted: died after
//!   a sync is died at the next operation.
//!
//! Not modelled: reads that fail, a failed operation (other than a sync) that happened all the
//! same, a sector that is itself garbled by the power cut, old content of other files in blocks
//! that were never written, allocation apart from length (a file takes its length in space, holes
//! or not), and removed files that take space while open.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that uses the disk wrongly has to fail"
)]

mod content;
mod crash;
mod directory;
mod disk;
#[cfg(test)]
mod explore;
mod fault;
mod file;
mod meddling;
mod names;
mod rng;
mod shape;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

pub use disk::SimDisk;
#[cfg(test)]
pub(crate) use explore::at_every_operation;
pub use fault::Fault;
#[cfg(test)]
pub(crate) use rng::Rng;
pub use shape::Shape;
