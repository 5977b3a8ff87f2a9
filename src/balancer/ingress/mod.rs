//! The doorways: how files come in from clients.
//!
//! On the balancer's port the first byte of a connection says which doorway it wants: the native
//! one or the JSON one. HTTP comes in at the admin listener. The doorways differ only in their
//! languages: each reads with deadlines, asks for the same reservations in the same order, and ends
//! in [`Gate::admit`](super::gate::Gate::admit).
//!
//! # What a file holds, and when
//!
//! 1. [`DiskReservation`](super::room::DiskReservation): bytes of the disk, held until the journal
//!    has written the file. It is never waited for: a client is refused, unless it is old-style
//!    and cannot be told.
//! 2. Leave to read (`Gate::incoming`): units out of half of the queue's bytes, for large files
//!    only, held until the content was read. A peer that stalls in a large file holds it, so that
//!    at least half of the queue stays free for others.
//! 3. [`Room`](super::room::Room): a place in the queue, held until the file has left the queue.
//! 4. The content is read: in memory if it is small, to the disk if it is large.
//! 5. Memory permit (`Gate::wait_for_memory`): small content waits here until the journal has
//!    caught up. The permit is part of the disk reservation and goes with it.
//!
//! A file waits for 2, 3 and 5 in this order only, and what it waits for is given back by files
//! that are further on: by a peer that sends or is closed at its deadline, by a server that takes
//! files, by the journal that writes. So no two files wait for each other. Two cases are different.
//! An HTTP file of unknown size needs more room while it is read; then it is refused if there is
//! none, for others may wait for what it holds. A large JSON object has leave to be in memory
//! (`Gate::json_memory`) instead of 2, asks for 3 after it was read, and waits for 1 last.
//!
//! Towards a native client there is backpressure, too: nothing more is read from a connection while
//! more than [`MAX_UNREAD_RECEIPTS`](crate::protocol::limits::MAX_UNREAD_RECEIPTS) messages, or
//! [`MAX_UNREAD_BYTES`](crate::protocol::limits::MAX_UNREAD_BYTES) of them, wait to be written to
//! it, or the answer to a status request. `receipts` keeps that account.

mod door;
pub mod http;
mod json;
mod native;
mod put;
mod receipts;
mod serve;
mod session;
mod upload;

pub use door::{Door, DoorBounds};
pub(super) use serve::serve;
pub(super) use upload::Uploads;
