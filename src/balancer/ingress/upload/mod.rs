//! Large content on its way in: straight to the journal's disk, never whole in memory.
//!
//! The connection's task hands what comes (`source`) to a job
//! ([`WriteBehind`](crate::bulk::WriteBehind)) that writes it to a part of the upload's own
//! (`write`, `parts`); at the end the part becomes content of the journal (`uploaded`).

mod lead;
mod parts;
mod source;
#[cfg(test)]
mod tests;
mod uploaded;
mod uploads;
mod write;

pub(super) use source::{Framed, Source};
pub(super) use uploaded::Uploaded;
pub(in crate::balancer) use uploads::Uploads;
pub(super) use write::Coming;
pub(super) use write::Upload;
