//! The HTTP doorway: takes one file from a streamed body. HTTP itself is in `admin/files.rs`.
//!
//! The size of a file may be unknown until its end. Invariant: a file waits for room before it is
//! read, for a bounded time; while it is read it never waits for more, so that no two files wait
//! for each other.

mod arriving;
mod receipts;
mod receive;
#[cfg(test)]
mod tests;

pub use arriving::{HttpUpload, UploadBody};
pub use receipts::{Fate, Receipts};
