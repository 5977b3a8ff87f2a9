//! Sends many files and follows their receipts, over as many connections as it takes.
//!
//! Each file has a key, the same on each resend, so that the balancer takes it once. When a
//! connection is lost, files without a receipt are sent again; accepted files are only asked about.
//! A file that was cut in the middle goes on where the balancer's part of it ends.
//!
//! A file that changes while it is read is never sent to its end, so that no part of it can be
//! accepted, and is read anew a little later.

mod connections;
mod job;
mod state;
mod upload;

pub use connections::{resume, transfer};
