//! Takes over the files that an earlier run has left in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::Hub;
use super::thaw::Read;
use crate::queue::DeadLetter;
use crate::queue::backlog_entry::{ReadBack, read_back};
use crate::queue::journal::Changes;
use crate::queue::recovery::Recovered;

/// How many dead letters are read back at once.
const DEAD_AT_ONCE: usize = 64;

impl Hub {
    /// Takes over all files of an earlier run. Those that wait go to the backlog, whatever their
    /// number.
    pub(super) fn recover(&mut self, mut recovered: Recovered) {
        let last = recovered.next_number.saturating_sub(1);
        self.files.dispatcher.earlier_runs_gave(last);
        for ended in std::mem::take(&mut recovered.ended) {
            self.files.ledger.end(Arc::new(ended));
        }
        self.recover_dead(&mut recovered);
        while let Some(page) = recovered.files.pop_page() {
            for (number, entry) in page {
                let Some(handle) = recovered.segments.get(&entry.spot.segment) else {
                    continue;
                };
                let room = self.deps.gate.try_room(entry.size());
                let user = recovered.users.remove(&number);
                let charge = user.and_then(|user| self.deps.lock.charge(&user, entry.size()));
                let room = room.map(|room| room.charged(charge));
                self.files.dispatcher.recovered(number);
                self.files.backlog.insert(number, entry, handle, room);
            }
        }
        for (number, changes) in recovered.changes {
            self.files.backlog.set_history(number, changes.history);
        }
    }

    /// Takes over the dead letters, with what their records say of them.
    fn recover_dead(&mut self, recovered: &mut Recovered) {
        let dead: BTreeMap<u64, Changes> = recovered
            .changes
            .extract_if(.., |_, changes| changes.death.is_some())
            .collect();
        let places: Vec<_> = dead
            .keys()
            .filter_map(|number| Some((*number, recovered.location(*number)?)))
            .collect();
        for places in places.chunks(DEAD_AT_ONCE) {
            for (number, back) in read_back(&self.deps.journal, places.to_vec(), true) {
                if let Some(changes) = dead.get(&number) {
                    self.recover_letter(number, back, changes.clone(), recovered);
                }
            }
        }
    }

    fn recover_letter(
        &mut self,
        number: u64,
        back: ReadBack,
        changes: Changes,
        recovered: &mut Recovered,
    ) {
        let Some(location) = recovered.location(number) else {
            return;
        };
        let Some(entry) = recovered.files.remove(number) else {
            return;
        };
        let Some(death) = changes.death else {
            return;
        };
        let read = Read::of(back, &entry, location);
        let letter = DeadLetter {
            meta: read.meta,
            content: read.content.without_memory(),
            history: changes.history,
            death,
        };
        self.files.ledger.bury(number, letter);
    }
}
