//! The content of a simulated file, and its changes.

use std::sync::Arc;

use super::rng::Rng;
use super::shape::Fate;

/// A change of one file's content.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    Write {
        at: usize,
        bytes: Arc<[u8]>,
    },
    SetLen(usize),
    /// Decay, not an operation: never lost.
    Flip(usize),
}

impl Edit {
    pub(super) fn apply(&self, content: &mut Arc<Vec<u8>>) {
        match self {
            Self::Write { at, bytes } => {
                let content = Arc::make_mut(content);
                grow(content, at + bytes.len());
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLen(len) => Arc::make_mut(content).resize(*len, 0),
            Self::Flip(bit) => {
                if let Some(byte) = Arc::make_mut(content).get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    pub(super) fn apply_with(&self, fate: Fate, content: &mut Arc<Vec<u8>>) {
        match (fate, self) {
            (Fate::Lost, _) | (Fate::Torn { .. }, Self::SetLen(_)) => {}
            (Fate::Length, Self::Write { at, bytes }) => {
                grow(Arc::make_mut(content), at + bytes.len());
            }
            (Fate::Torn { sector, seed }, Self::Write { at, bytes }) => {
                tear(
                    Arc::make_mut(content),
                    *at,
                    bytes,
                    sector,
                    &mut Rng::new(seed),
                );
            }
            _ => self.apply(content),
        }
    }

    pub(super) fn spans_sectors(&self, sector: usize) -> bool {
        matches!(self, Self::Write { at, bytes } if at / sector != (at + bytes.len() - 1) / sector)
    }
}

fn grow(content: &mut Vec<u8>, len: usize) {
    if content.len() < len {
        content.resize(len, 0);
    }
}

/// Writes some of the sectors of `bytes`. The length may get ahead of them.
fn tear(content: &mut Vec<u8>, at: usize, bytes: &[u8], sector: usize, rng: &mut Rng) {
    let end = at + bytes.len();
    let mut start = at;
    while start < end {
        let stop = end.min((start / sector + 1) * sector);
        if rng.coin() {
            grow(content, stop);
            content[start..stop].copy_from_slice(&bytes[start - at..stop - at]);
        }
        start = stop;
    }
    if rng.coin() {
        grow(content, end);
    }
}

/// A file's content, whatever its name.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The last name it had, for the log.
    pub(super) name: Arc<str>,
    /// What a reader sees.
    pub(super) live: Arc<Vec<u8>>,
    /// The content that is durable, before the pending changes.
    pub(super) synced: Arc<Vec<u8>>,
}

impl Node {
    pub(super) fn synced(name: Arc<str>, content: Arc<Vec<u8>>) -> Self {
        Self {
            name,
            live: Arc::clone(&content),
            synced: content,
        }
    }
}
