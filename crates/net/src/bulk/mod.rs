//! Large content between a peer and the disk: written behind what comes in, read ahead of what goes
//! out.
//!
//! Tasks wait for peers. The disk's part is cut into jobs for the runtime's threads that may block;
//! a job waits for the disk, and for no other job. While a peer is fast, a job also reads from or
//! writes to its socket (`straight`), and waits for it a moment at most. So a slow peer holds no
//! thread, and any number of transfers gets along with any number of threads.

mod job;
mod read_ahead;
mod straight;
mod syncs;
mod write_behind;

pub use read_ahead::{Fill, Next, ReadAhead};
pub use straight::Received;
pub use write_behind::{More, Sink, SyncJob, WriteBehind};
