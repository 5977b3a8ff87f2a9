//! The HTTP doorway: takes one file from a streamed body. HTTP itself is in `admin/files.rs`.
//!
//! A file without a key gets one of its title and content (`sums`), so that a client which repeats a
//! request, not knowing what became of the first, gets the receipts of the first.
//!
//! The size of a file may be unknown until its end. Invariant: a file waits for a bounded time
//! only, before it is read and while it comes, for its client cannot be told that it waits.

mod arriving;
mod receipts;
mod receive;
mod sums;
#[cfg(test)]
mod tests;

pub use arriving::{HttpUpload, UploadBody};
pub use receipts::{Fate, Receipts};
pub use sums::{Algorithm, Claim, hex};
