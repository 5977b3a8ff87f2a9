//! Large content between a peer and the disk: written behind what comes in, read ahead of what goes
//! out.
//!
//! All waiting for peers is done by tasks. The disk's part is cut into jobs for the runtime's
//! threads that may block; a job waits for the disk and for nothing else, neither for a peer nor
//! for another job. So a slow peer holds no thread, and any number of transfers gets along with any
//! number of threads.

mod read_ahead;
mod syncs;
mod write_behind;

pub use read_ahead::{Fill, ReadAhead};
pub use write_behind::{Sink, SyncJob, WriteBehind};
