//! The servers and clients of a [`World`](super::world::World).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::mpsc;

use crate::balancer::messages::{ToClient, ToServer};
use crate::protocol::lists::StoredFile;

/// A server and its disk, which outlives the balancer.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) identity: String,
    /// Everything that it has stored and not removed.
    pub(super) copies: BTreeMap<u64, StoredFile>,
    /// Those of them that no balancer has confirmed.
    pub(super) unconfirmed: BTreeSet<u64>,
    /// The highest number that it ever stored.
    pub(super) seen: u64,
    /// How often it was sent each file.
    pub(super) sent: BTreeMap<u64, usize>,
    /// What came over its link and was not answered.
    pub(super) inbox: VecDeque<ToServer>,
}

impl Clone for Server {
    /// The server's disk: its link is gone.
    fn clone(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            copies: self.copies.clone(),
            unconfirmed: self.unconfirmed.clone(),
            seen: self.seen,
            sent: self.sent.clone(),
            inbox: VecDeque::new(),
        }
    }
}

/// A client, and what it was told, in short words.
pub(super) struct Client {
    pub(super) connection: u64,
    pub(super) to: mpsc::UnboundedSender<ToClient>,
    pub(super) from: mpsc::UnboundedReceiver<ToClient>,
    pub(super) told: Vec<String>,
}

/// A file that a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) key: Option<&'a str>,
    pub(super) content: &'a [u8],
}

/// A file without a key.
pub(super) fn unnamed(content: &[u8]) -> File<'_> {
    File { key: None, content }
}

/// A file with a key.
pub(super) fn named<'a>(key: &'a str, content: &'a [u8]) -> File<'a> {
    File {
        key: Some(key),
        content,
    }
}
