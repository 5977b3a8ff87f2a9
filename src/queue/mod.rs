//! Core: the files that were accepted and are not delivered yet.
//!
//! [`Queue`] is all that the balancer asks of it, narrow on purpose: [`MemoryQueue`] keeps the files in memory, and
//! a durable or a shared backend can take its place. Leaves to the balancer where a file goes, and how much
//! may wait: room is reserved before a file is read, and travels with it in its tag.
//!
//! Invariant: every accepted file is in exactly one of three states (ready, delayed or taken) until it is
//! settled, and a request number is never given twice, not after a restart either.

pub mod content;
pub mod disk;
pub mod error;
pub mod journal;
#[cfg(test)]
mod journal_tests;
mod memory;
mod numbers;
#[cfg(test)]
mod proof;
pub mod record;
pub mod recovery;
pub mod segment;
#[cfg(test)]
mod sim;

pub use memory::MemoryQueue;
pub use numbers::{Numbers, NumbersError};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// A file in the queue, with whatever its owner wants to keep beside it.
#[derive(Debug, Clone)]
pub struct Queued<T> {
    /// The file's title, as its client gave it.
    pub title: Arc<str>,
    /// The file's content.
    pub content: Bytes,
    /// How many times it was sent to a server and came back.
    pub attempts: u32,
    /// When it was accepted, since the balancer's start.
    pub accepted: Duration,
    /// What its owner keeps beside it.
    pub tag: T,
}

/// How much is in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Files that can go to a server now.
    pub ready: usize,
    /// Files that wait for a time to try again.
    pub delayed: usize,
    /// Files that are with a server, not acknowledged yet.
    pub taken: usize,
    /// Content bytes of all of them.
    pub bytes: u64,
}

impl Depth {
    /// All files that are accepted and not settled.
    pub fn files(&self) -> usize {
        self.ready + self.delayed + self.taken
    }
}

/// The files that were accepted and are not delivered yet. Times are since the balancer's start.
pub trait Queue<T> {
    /// Takes a file in, ready to be sent, and gives it its request number.
    fn accept(&mut self, file: Queued<T>) -> Result<u64, NumbersError>;

    /// Takes the oldest file that is ready.
    fn take(&mut self) -> Option<u64>;

    /// The file with this number, whatever its state.
    fn get(&self, number: u64) -> Option<&Queued<T>>;

    /// The file with this number, to be changed.
    fn get_mut(&mut self, number: u64) -> Option<&mut Queued<T>>;

    /// Makes a file that was taken ready again, in its old place.
    fn put_back(&mut self, number: u64);

    /// Makes a file that was taken wait until `until`.
    fn delay(&mut self, number: u64, until: Duration);

    /// Makes the files ready whose wait has ended.
    fn wake(&mut self, now: Duration);

    /// Makes all files ready that wait for a time to try again.
    fn wake_all(&mut self);

    /// When the next delayed file becomes ready.
    fn next_wake(&self) -> Option<Duration>;

    /// Removes a file that needs no more sending, and gives it back.
    fn settle(&mut self, number: u64) -> Option<Queued<T>>;

    /// How much is in the queue.
    fn depth(&self) -> Depth;

    /// When the oldest file in the queue was accepted.
    fn oldest(&self) -> Option<Duration>;
}
