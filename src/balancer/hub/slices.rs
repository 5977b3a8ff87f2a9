//! Begins errands, and does one slice of them at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::errands::{Errand, MOST_ERRANDS, Search};
use super::queries::Reports;
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

    /// Does one slice of the first errand.
    pub(super) fn go_on(&mut self, now: Duration) {
        self.errands.0.retain(|errand| !errand.is_idle());
        let goes_on = match self.errands.0.pop_front() {
            Some(Errand::Search(search)) => {
                self.search_on(search);
                true
            }
            Some(Errand::Bulk(bulk)) => self.bulk_on(bulk, now),
            None => false,
        };
        if goes_on && !self.errands.0.is_empty() {
            self.come_back();
        }
    }

    pub(super) fn come_back(&self) {
        let _ = self.deps.to_self.send(ToHub::GoOn);
    }

    fn search_on(&mut self, mut search: Search) {
        if search.slice(&self.files) {
            let reports = Reports {
                files: &self.files,
                looked: &BTreeMap::new(),
                disk: &self.deps.disk,
            };
            let answer = reports.found(&search.found, search.is_complete);
            // Who asked may have gone meanwhile.
            let _ = search.to.send(answer);
        } else {
            self.errands.0.push_front(Errand::Search(search));
        }
    }
}
