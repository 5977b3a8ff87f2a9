//! The HTTP doorway: takes one file from a streamed body. HTTP itself is in `admin/files.rs`.
//!
//! The size of a file may be unknown until its end. Invariant: a file waits for a bounded time
//! only, before it is read and while it comes, for its client cannot be told that it waits.

mod arriving;
mod receipts;
mod receive;
#[cfg(test)]
mod tests;

pub use arriving::{HttpUpload, UploadBody};
pub use receipts::{Fate, Receipts};
