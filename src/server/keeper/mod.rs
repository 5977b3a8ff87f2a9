//! The store's thread: does everything that may wait for the disk, in the order in which it was
//! asked for.
//!
//! The jobs that queue up while the thread syncs are its next batch. The files of a batch are
//! written without their final names and announced in the index; both are synced; the files get
//! their names, the directory is synced, the index is told, and only then are they acknowledged. So
//! many files share the cost of a sync.
//!
//! If the server dies at any point, each file either has no copy under its final name, or one that
//! the index finds again. A batch whose announcement cannot be written or synced is refused before
//! any of its files gets a name, so it leaves nothing behind.
//!
//! The directory must stay in place: before a batch, after its syncs, and about once a second while
//! there are no jobs, the thread checks that the path still leads to the directory and its index.
//! If it does not, nothing is acknowledged any more, and the server ends.

mod batch;
mod pending;
mod sorting;
mod storing;
mod thread;

pub use self::batch::most_files;
pub(super) use self::thread::Keeper;
