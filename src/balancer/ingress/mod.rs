//! The doorways: how files come in from clients.
//!
//! On the balancer's port TLS comes first, if it is on (`secure`). Then the first byte of a
//! connection says which doorway it wants: the native one or the JSON one. HTTP comes in at the
//! admin listener. The doorways differ only in their languages: each reads with deadlines, asks for
//! the same reservations in the same order, and ends in
//! [`Gate::admit`](super::gate::Gate::admit).
//!
//! # What a file holds, and when
//!
//! What a client announces holds little before it comes: of a large file, 1 to 3 are reserved for
//! what came and one step more, and for more as more comes ([`Pool`](crate::pool::Pool)). A file
//! that can never be taken is refused before it is read.
//!
//! 1. [`DiskReservation`](super::room::DiskReservation): bytes of the disk, held until the journal
//!    has written the file. It is not waited for: a client is refused, unless it is old-style and
//!    cannot be told. Of files that find the disk full in their middle, one at a time waits for
//!    seconds, so that not all of them are refused.
//! 2. Leave to read (`Gate::incoming`): units out of a quarter of the queue's bytes, for large
//!    files only, held until the content was read. Peers that stall in large files hold it, and no
//!    more than that.
//! 3. [`Room`](super::room::Room): a place in the queue, held until the file has left the queue.
//! 4. The content is read: in memory if it is small, to the disk if it is large.
//! 5. Memory permit (`Gate::wait_for_memory`): small content waits here until the journal has
//!    caught up. The permit is part of the disk reservation and goes with it.
//!
//! A file waits for 2, 3 and 5 in this order only. Large files, though, hold a part of 2 and 3
//! while they wait for more, and might wait for each other. So there is a turn: who waits in its
//! middle for 2 may have the turn instead, one file at a time in the order of asking. It then gets
//! room for all that it still needs, gives back its units, and never waits again. No two files wait
//! for each other, since
//!
//! - the others hold at most a quarter of the queue, the one with the turn at most half, and what
//!   is asked for is never more than half: while the one with the turn waits for its room, the
//!   queue can be empty but for that quarter, and whoever is ahead of it in the line gets its room
//!   and goes on;
//! - what else is in the way is given back by files that are further on: by a peer that sends or is
//!   closed at its deadline, by a server that takes files, by the journal that writes;
//! - the one with the turn must keep up
//!   ([`LEAST_PACE`](crate::protocol::limits::LEAST_PACE)) while others wait for the turn, or give
//!   way: its connection ends, and what came of it stays for its client to go on with.
//!
//! A waiter whose client has gone before its content came leaves the line. An HTTP client cannot be
//! told that it waits: it waits for a bounded time, then it is refused. A large JSON object has
//! leave to be in memory (`Gate::json_memory`) instead of 2, taken in the same steps and with a
//! turn of its own, asks for 3 after it was read, and waits for 1 last.
//!
//! Towards a native client there is backpressure, too: nothing more is read from a connection while
//! more than [`MAX_UNREAD_RECEIPTS`](crate::protocol::limits::MAX_UNREAD_RECEIPTS) messages, or
//! [`MAX_UNREAD_BYTES`](crate::protocol::limits::MAX_UNREAD_BYTES) of them, wait to be written to
//! it, or the answer to a status request. `receipts` keeps that account.

mod door;
mod growing;
mod holding;
pub mod http;
mod introduction;
mod join;
mod json;
mod member;
mod native;
mod put;
mod receipts;
mod secure;
mod serve;
mod session;
mod upload;

pub(super) use door::Inner;
pub use door::{Door, DoorBounds};
pub(super) use serve::serve;
pub(super) use upload::Uploads;
