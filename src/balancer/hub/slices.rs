//! Begins errands, and does one slice of them at a time.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use tokio::sync::oneshot;

use super::commits::After;
use super::errands::{Errand, MOST_ERRANDS, ReplayAll, SLICE_REPLAYS, Search};
use super::queries::Files as Reports;
use super::state::Hub;
use crate::balancer::messages::ToHub;
use crate::balancer::query::Answer;

impl Hub {
    /// Begins an errand, or answers that there are too many.
    pub(super) fn begin(&mut self, errand: Errand) {
        let errands = &mut self.errands.0;
        let was_empty = errands.is_empty();
        errands.retain(|errand| !errand.is_idle());
        if errands.len() >= MOST_ERRANDS {
            // Who asked may have gone meanwhile.
            let _ = errand.into_asker().send(Answer::Busy);
            return;
        }
        errands.push_back(errand);
        // Otherwise the message for those before is on its way.
        if was_empty {
            self.come_back();
        }
    }

    /// Begins to replay all files that are dead letters now.
    pub(super) fn replay_all(&mut self, to: oneshot::Sender<Answer>) {
        let newest = self.files.ledger.dead().last_key_value();
        let last = newest.map_or(0, |(number, _)| *number);
        self.begin(Errand::ReplayAll(ReplayAll {
            after: 0,
            last,
            files: 0,
            to,
        }));
    }

    /// Does one slice of the first errand.
    pub(super) fn go_on(&mut self) {
        self.errands.0.retain(|errand| !errand.is_idle());
        match self.errands.0.pop_front() {
            Some(Errand::Search(search)) => self.search_on(search),
            Some(Errand::ReplayAll(replay)) => self.replay_on(replay),
            None => {}
        }
        if !self.errands.0.is_empty() {
            self.come_back();
        }
    }

    fn come_back(&self) {
        let _ = self.deps.to_self.send(ToHub::GoOn);
    }

    fn search_on(&mut self, mut search: Search) {
        if search.slice(&self.files) {
            let reports = Reports {
                files: &self.files,
                looked: &BTreeMap::new(),
            };
            let answer = reports.found(&search.found, search.is_complete);
            // Who asked may have gone meanwhile.
            let _ = search.to.send(answer);
        } else {
            self.errands.0.push_front(Errand::Search(search));
        }
    }

    fn replay_on(&mut self, mut replay: ReplayAll) {
        let dead = self.files.ledger.dead();
        let numbers: Vec<u64> = dead
            .range((Excluded(replay.after), Unbounded))
            .map(|(number, _)| *number)
            .take_while(|number| *number <= replay.last)
            .take(SLICE_REPLAYS)
            .collect();
        for number in &numbers {
            replay.after = *number;
            replay.files += usize::from(self.replay(*number));
        }
        if numbers.len() == SLICE_REPLAYS {
            return self.errands.0.push_front(Errand::ReplayAll(replay));
        }
        let files = replay.files;
        let answered = After::Answer(replay.to, Answer::Done { files });
        self.commits.barrier(answered);
    }
}
