//! A file without its content, and what happened to it.

use std::sync::Arc;

use crate::text::start;

/// Of so many failed deliveries of a file the reasons are kept; the others are only counted.
pub const MAX_HISTORY: usize = 32;

/// The longest server name or reason that is kept, in bytes.
const MAX_TEXT: usize = 512;

/// The description of a file: everything but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its title, as its client gave it; not checked.
    pub title: Box<str>,
    /// The client's key for it, the same each time that the client sends it.
    pub key: Option<Box<str>>,
    /// The address of the client that sent it, behind its user and an `@` if it has one.
    pub from: Arc<str>,
    /// The size of its content in bytes.
    pub size: u64,
    /// The CRC32C of its content.
    pub crc32c: u32,
    /// When it was accepted, in milliseconds since the beginning of 1970, UTC.
    pub accepted_ms: u64,
}

impl Meta {
    /// The user that sent it; `None` where there are no users. No address has an `@`.
    pub fn user(&self) -> Option<&str> {
        self.from.split_once('@').map(|(user, _)| user)
    }
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it failed, in milliseconds since the beginning of 1970, UTC.
    pub at_ms: u64,
    /// The name of the server. Empty: it came from no server, but was a dead letter until it was
    /// replayed.
    pub server: Box<str>,
    /// The server's reason, or ours.
    pub reason: Box<str>,
}

/// How often a file came back from a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// How many deliveries failed.
    pub attempts: u32,
    /// How many of them were the file's own fault, as far as its server could tell.
    pub failures: u32,
    /// The first [`MAX_HISTORY`] of them.
    pub first: Vec<Attempt>,
}

impl History {
    /// Adds a failed delivery.
    pub fn add(&mut self, attempt: Attempt, is_failure: bool) {
        self.attempts = self.attempts.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(is_failure));
        if self.first.len() < MAX_HISTORY {
            self.first.push(attempt);
        }
    }

    /// Notes that the file was a dead letter for this reason, and waits again as if it were new: what
    /// happened to it stays, and no failure counts against it any more.
    pub fn replayed(&mut self, died_ms: u64, reason: &str) {
        self.failures = 0;
        if self.first.len() < MAX_HISTORY {
            self.first.push(Attempt {
                at_ms: died_ms,
                server: "".into(),
                reason: reason.into(),
            });
        }
    }
}

/// The part of a server's name or of a reason that is kept.
pub fn cut(text: &str) -> &str {
    start(text, MAX_TEXT)
}
