//! Which balancer each journal belongs to, in a cluster. Pure: no file, no clock.
//!
//! Whoever learns a journal's identity could end its balancer's links and have its files removed. So
//! the first balancer that comes with it and has proved its name has it from then on.

use std::collections::HashMap;
use std::sync::Arc;

/// The most journals whose balancers are kept.
const MAX_JOURNALS: usize = 10_000;

/// The balancers of all journals, by name.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Arc<str>, Arc<str>>);

impl Owners {
    /// The balancer that a journal belongs to; `None` if none has proved its name yet.
    pub(super) fn of(&self, journal: &str) -> Option<&Arc<str>> {
        self.0.get(journal)
    }

    /// Whether the balancer of this journal can be recorded: one that is recorded can be changed.
    pub(super) fn has_room_for(&self, journal: &str) -> bool {
        self.0.len() < MAX_JOURNALS || self.0.contains_key(journal)
    }

    /// Records a journal's balancer, if there is room.
    pub(super) fn set(&mut self, journal: &str, balancer: &str) {
        if self.has_room_for(journal) {
            self.0.insert(journal.into(), balancer.into());
        }
    }

    /// Forgets the balancers of those journals that are not `kept`.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.0.retain(|journal, _| kept(journal));
    }

    /// All journals and their balancers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter()
    }
}
