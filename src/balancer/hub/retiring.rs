//! Servers that the registry wants to be rid of, or that have moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Servers that the registry wants to be rid of, or that have moved.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    /// Those that it holds back: it is told as soon as nothing is in doubt there.
    pub(super) held_back: BTreeSet<Arc<str>>,
    /// Those that it has had removed.
    pub(super) removing: BTreeSet<Arc<str>>,
    /// Former addresses, with the present one of the same server.
    pub(super) moved: BTreeMap<Arc<str>, Arc<str>>,
}

impl Retiring {
    /// Whether a server that is removed stays until nothing is in doubt there.
    pub(super) fn waits_for(&self, server: &str) -> bool {
        self.removing.contains(server)
    }
}
