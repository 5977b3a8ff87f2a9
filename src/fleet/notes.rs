//! What others think of members: shown beside their state, and nothing is done because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fleet_core::MemberReport;

/// The most members that one author has notes about.
const MAX_NOTES: usize = 1024;

/// What others think of members. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The notes by their author, then by the member's identity.
    notes: BTreeMap<u64, BTreeMap<String, String>>,
}

impl Notes {
    pub(super) fn author(&self) -> Author {
        let mut state = self.state();
        state.next += 1;
        Author {
            number: state.next,
            notes: self.clone(),
        }
    }

    /// Adds the notes about these members to what is reported of them.
    pub(super) fn add_to(&self, members: &mut [MemberReport]) {
        let state = self.state();
        if state.notes.is_empty() {
            return;
        }
        for member in members {
            let notes = state
                .notes
                .values()
                .filter_map(|notes| notes.get(&member.id));
            let distinct: BTreeSet<_> = notes.cloned().collect();
            member.notes.extend(distinct);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who has an opinion of members. Their notes end with them.
#[derive(Debug)]
pub struct Author {
    number: u64,
    notes: Notes,
}

impl Author {
    /// Replaces all that this author has noted, by the identity of members.
    pub fn note(&self, notes: BTreeMap<String, String>) {
        let notes: BTreeMap<_, _> = notes.into_iter().take(MAX_NOTES).collect();
        let mut state = self.notes.state();
        if notes.is_empty() {
            state.notes.remove(&self.number);
        } else {
            state.notes.insert(self.number, notes);
        }
    }
}

impl Drop for Author {
    fn drop(&mut self) {
        self.notes.state().notes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::Fleet;
    use crate::fleet_core::{Facts, Identity, Source, Told, Trust};

    /// An opinion is there as long as who has it, and stands once however many have it.
    #[test]
    fn notes_end_with_their_author() {
        let fleet = Fleet::default();
        let told = Told {
            who: Identity::Address("127.0.0.1:5050".into()),
            name: None,
            source: Source::Announced,
            trust: Trust::Claimed,
            peer: None,
            every: Duration::from_secs(10),
            facts: Facts::default(),
        };
        fleet.told(told).unwrap();
        let notes = || fleet.find("127.0.0.1:5050").unwrap().notes;
        let note = |text: &str| BTreeMap::from([("address:127.0.0.1:5050".into(), text.into())]);
        let (first, second) = (fleet.author(), fleet.author());
        first.note(note("a"));
        assert_eq!(notes(), ["a"]);
        second.note(note("a"));
        assert_eq!(notes(), ["a"]);
        second.note(note("b"));
        assert_eq!(notes(), ["a", "b"]);
        first.note(BTreeMap::new());
        assert_eq!(notes(), ["b"]);
        drop(second);
        assert!(notes().is_empty());
    }
}
