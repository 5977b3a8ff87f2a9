//! What operators have heard already.

use std::sync::Arc;

/// The bounds that operators have heard of already, so that they hear of each once.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) too_doubtful: Vec<Arc<str>>,
    pub(super) many_pinned: bool,
}

/// Whether operators are told of each file by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    Each,
    /// One event tells of many files; the log has a line for each.
    Together,
}
