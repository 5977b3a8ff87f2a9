//! What happens to identities, and is written beside the minutes.

use crate::fleet_core::{History, Identity};

/// A change of a member's identity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    /// In seconds since 1970.
    pub(super) time: u64,
    pub(super) member: Identity,
    pub(super) what: Change,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It was known by this identity before.
    Was(Identity),
    Forgotten,
}

impl Note {
    /// Changes a history in the same way.
    pub(super) fn apply(&self, history: &mut History) {
        match &self.what {
            Change::Was(old) => history.rename(old, &self.member),
            Change::Forgotten => history.forget(&self.member),
        }
    }
}
