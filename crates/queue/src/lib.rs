//! The queue: accepted files are kept in a journal until a server has them.
//!
//! [`journal`] writes what happens to files, [`recovery`] reads it back, and [`Writer`] is the one
//! thread that writes. [`Ledger`] remembers the files that do not wait. Which files wait, how many
//! may, and where they go is the balancer's business.
//!
//! Invariant: whatever a commit has counted outlives what its [`Durability`] says, and a request
//! number is never given twice, not even after a restart.
//!
//! # The seam
//!
//! A caller uses the queue in two ways:
//!
//! - *Writing.* It hands [`Op`]s to the [`Writer`], in order, and [`Progress`] comes back: how
//!   many of them are durable now, and where their files are ([`Committed`](journal::Committed)).
//! - *Reading back.* It asks for files by number and place ([`backlog_entry::read_back`]), or for
//!   the content of one file ([`Location::read`]). A [`Location`] is opaque. When cleaning writes a
//!   record again, a commit says where it is now; the old location can be read for as long as it
//!   is held.
//!
//! Large content is received beside the journal ([`content::Part`]) and named by the record of its
//! file only when it is durable.
//!
//! # Another backend
//!
//! Journal, recovery and cleaning know a disk only as [`disk::Disk`] and [`disk::DiskFile`]: a flat
//! directory of files that are written at an offset, synced, renamed and removed. A backend that
//! keeps the bytes elsewhere, such as on a replicated log, implements these two traits. Everything
//! above them, and its proof over a simulated disk (the feature `sim`), stays as it is.

mod aside;
pub mod backlog_entry;
mod body;
mod closer;
pub mod content;
pub mod disk;
pub mod error;
mod identity;
pub mod journal;
mod keys;
mod ledger;
mod lock;
pub mod paged;
#[cfg(test)]
mod proof;
mod real;
pub mod record;
pub mod recovery;
mod remembered;
mod sealed_file;
pub mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod writer;

pub use bilico_core::durability::Durability;
pub use body::{FileBody, INLINE};
pub use error::JournalError;
pub use journal::{Handle, JournalConfig, Location, Op, RecordPosition};
pub use keys::key_hash;
pub use ledger::{DeadLetter, Ledger, Retention};
pub use lock::{Lock, lock, take_hold};
pub use real::RealDisk;
pub use sealed_file::SealedFile;
pub use writer::{Progress, Writer};

/// What log filters call the queue: they name it as a module of the library, as users do.
pub(crate) const LOG: &str = "bilico::queue";
