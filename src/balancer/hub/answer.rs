//! Answers questions, and carries out what is to be done with dead letters and waiting files.
//!
//! What concerns all files is an errand (`errands`). The records of files in the backlog are read
//! from the journal first, beside the hub.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commits::After;
use super::errands::Errand;
use super::queries::{Reports, done};
use super::state::Hub;
use super::told::Telling;
use crate::balancer::messages::{Ask, ToHub};
use crate::balancer::orders::Sample;
use crate::balancer::query::{Answer, Query};
use crate::numbers::seconds;
use crate::protocol::status::StatusReport;
use crate::queue::backlog_entry::{ReadBack, read_back};

impl Hub {
    /// Answers a question. Who asked may have gone meanwhile; an order is carried out all the same.
    pub(super) fn ask(&mut self, ask: Ask, now: Duration) {
        match ask {
            Ask::Status(to) => drop(to.send(self.status(now))),
            Ask::Sample(to) => drop(to.send(self.sample(now))),
            Ask::Files(Query::Find { title, limit }, to) => {
                self.begin(Errand::search(&title, limit, to));
            }
            Ask::Files(Query::Bulk(what, which), to) => self.bulk(what, &which, to),
            Ask::Files(query, to) => self.look(query, to, now),
        }
    }

    pub(super) fn sample(&self, now: Duration) -> Sample {
        Sample {
            status: self.status(now),
            ordered: self.deps.standing.by_server(),
            accept: self.times.accept.clone(),
            deliver: self.times.deliver.clone(),
            at: self.deps.clock.instant(now).into_std(),
        }
    }

    /// The state of everything.
    pub(super) fn status(&self, now: Duration) -> StatusReport {
        let files = &self.files;
        let limits = self.deps.gate.limits();
        let mut report = files.dispatcher.status(self.deps.clock.began(), now);
        let queue = &mut report.queue;
        queue.dead = files.ledger.dead().len();
        queue.max_files = limits.files;
        queue.max_bytes = limits.bytes;
        queue.bytes += files.backlog.bytes();
        if files.dispatcher.holds_back() > 0 {
            queue.delayed += files.backlog.len();
        } else {
            queue.ready += files.backlog.len();
        }
        let oldest = files.backlog.oldest_ms().map(Duration::from_millis);
        let waited_s = oldest.map(|oldest| seconds(now.saturating_sub(oldest)));
        queue.oldest_s = queue.oldest_s.into_iter().chain(waited_s).reduce(f64::max);
        report.trouble = self.trouble.clone().or_else(|| self.deps.gate.trouble());
        report
    }

    /// Reads the records that the query needs, then carries it out.
    fn look(&mut self, query: Query, to: oneshot::Sender<Answer>, now: Duration) {
        let needed = Reports {
            files: &self.files,
            looked: &BTreeMap::new(),
            disk: &self.deps.disk,
        }
        .needed(&query);
        let places: Vec<_> = needed
            .into_iter()
            .filter_map(|number| Some((number, self.files.backlog.location(number)?)))
            .collect();
        if places.is_empty() {
            return self.carry_out(&query, Vec::new(), to, now);
        }
        let journal = self.deps.journal;
        let hub = self.deps.to_self.clone();
        self.deps.outside.block(Box::new(move || {
            let looked = read_back(&journal, places, false);
            // A hub that has ended answers nothing.
            let _ = hub.send(ToHub::Looked(query, to, looked));
        }));
    }

    /// Answers a query or carries it out; `looked` is what was read for it. What was done is
    /// answered when it is durable.
    pub(super) fn carry_out(
        &mut self,
        query: &Query,
        looked: Vec<(u64, ReadBack)>,
        to: oneshot::Sender<Answer>,
        now: Duration,
    ) {
        match self.answer(query, looked, now) {
            done @ Answer::Done { .. } => self.commits.barrier(After::Answer(to, done)),
            answer => drop(to.send(answer)),
        }
    }

    fn answer(&mut self, query: &Query, looked: Vec<(u64, ReadBack)>, now: Duration) -> Answer {
        let mut looked: BTreeMap<u64, ReadBack> = looked.into_iter().collect();
        match *query {
            Query::Replay { number } => done(self.replay(number, Telling::Each), number),
            Query::Drop { number } => self.drop_file(number, looked.remove(&number), now),
            Query::Cancel { number } => {
                self.cancel_file(number, looked.remove(&number), Telling::Each, now)
            }
            Query::Waiting { .. }
            | Query::Dead { .. }
            | Query::Find { .. }
            | Query::Bulk(..)
            | Query::Content { .. }
            | Query::Show { .. } => Reports {
                files: &self.files,
                looked: &looked,
                disk: &self.deps.disk,
            }
            .answer(query),
        }
    }
}
