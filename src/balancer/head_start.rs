//! Head starts: a large file's content goes to a server while it still comes in.
//!
//! The upload ([`HeadStart`]) tells how much of its part is written, and the link ([`Ahead`]) sends
//! that to the server that the dispatcher has reserved for the file. The server holds it without a
//! name. Once the file is accepted and is sent, as any other, its number is all that still has to
//! go.
//!
//! A head start is worth time and nothing else. Whatever ends one early, the file's content is in
//! the journal by the time that it is accepted, and goes to any server as if there had been none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::dispatch::Ticket;
use crate::queue::disk::DiskFile;

/// The upload's end of a head start, and the file's once it is accepted. Dropping it ends the head
/// start.
#[derive(Debug)]
pub struct HeadStart {
    ticket: Ticket,
    written: watch::Sender<u64>,
}

/// The link's end.
pub struct Ahead {
    /// Names the head start.
    pub ticket: Ticket,
    /// The size of the file in bytes.
    pub size: u64,
    /// Its content is written to this.
    pub file: Arc<dyn DiskFile>,
    /// How many bytes of it are written. Closed once the head start is over.
    pub written: watch::Receiver<u64>,
}

impl HeadStart {
    /// A head start of a file of this size, of which so many bytes are written to `file`.
    pub fn new(file: Arc<dyn DiskFile>, size: u64, written: u64) -> (Self, Ahead) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let ticket = Ticket(NEXT.fetch_add(1, Ordering::Relaxed));
        let (written, seen) = watch::channel(written);
        let ahead = Ahead {
            ticket,
            size,
            file,
            written: seen,
        };
        (Self { ticket, written }, ahead)
    }

    /// Its name.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// How many bytes the link was told of.
    pub fn told(&self) -> u64 {
        *self.written.borrow()
    }

    /// So many bytes are written now.
    pub fn tell(&self, bytes: u64) {
        self.written.send_replace(bytes);
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("ticket", &self.ticket)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
