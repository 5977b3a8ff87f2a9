//! The hub's loop: what arrived is handled, then what has become due, then the loop sleeps until
//! something arrives or becomes due.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::Hub;
use crate::balancer::BalancerError;
use crate::balancer::happening::Happening;
use crate::balancer::messages::ToHub;
use crate::transport::until;

/// How many messages are decided together at most.
const BATCH: usize = 1024;

impl Hub {
    /// Runs until the balancer drains and then everything is delivered, or its grace is over.
    /// Gives the number of files that still wait.
    pub(in crate::balancer) async fn run(
        mut self,
        draining: CancellationToken,
    ) -> Result<usize, BalancerError> {
        let grace = self.deps.config.grace;
        let mut ends = None;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.next_due().map(|due| self.deps.clock.instant(due));
            let wake = due.into_iter().chain(ends).min();
            tokio::select! {
                biased;
                () = draining.cancelled(), if ends.is_none() => ends = Some(Instant::now() + grace),
                _ = self.inbox.recv_many(&mut batch, BATCH) => {}
                () = until(wake) => {}
            }
            let now = self.deps.clock.now();
            self.step(batch.drain(..), now)?;
            if ends.is_some_and(|ends| self.is_done() || Instant::now() >= ends) {
                return Ok(self.files.undelivered());
            }
        }
    }

    /// Handles messages, and does what has become due.
    pub(super) fn step(
        &mut self,
        messages: impl IntoIterator<Item = ToHub>,
        now: Duration,
    ) -> Result<(), BalancerError> {
        for message in messages {
            self.handle(message, now)?;
        }
        self.read_backlog(now);
        self.files.dispatcher.advance(now);
        self.act(now);
        self.remove_leaving_servers(now);
        self.look_at_retiring();
        self.look_at_servers(now);
        self.sweep(now);
        Ok(())
    }

    /// When [`Self::step`] has something to do, if no message comes before.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let sweep = self.files.ledger.remembers().then_some(self.next_sweep);
        [
            self.files.dispatcher.next_due(),
            self.reading.next_try(),
            self.news.next_due(),
            sweep,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether everything that was accepted is delivered, and recorded as such.
    fn is_done(&self) -> bool {
        self.files.undelivered() == 0 && self.inbox.is_empty() && self.commits.is_empty()
    }

    fn handle(&mut self, message: ToHub, now: Duration) -> Result<(), BalancerError> {
        match message {
            ToHub::Admit(admission, read) => {
                self.admit(*admission, self.deps.clock.time_of(read), now);
            }
            ToHub::HeadStart(ahead) => self.head_start(ahead),
            ToHub::Offer(offer, _) => self.offer(&offer),
            ToHub::Refuse(declined, _) => self.refuse(declined),
            ToHub::Ask(ask) => self.ask(ask, now),
            ToHub::GoOn => self.go_on(now),
            ToHub::BulkRead(looked) => self.bulk_read(looked, now),
            ToHub::Looked(query, to, looked) => self.carry_out(&query, looked, to, now),
            ToHub::ReadBack(files) => self.read_back(files, now),
            ToHub::Journal(progress) => self.progress(progress, now)?,
            ToHub::ContentStoreFailed(error) => {
                self.report(&Happening::JournalFailed(&error));
                return Err(error.into());
            }
            ToHub::Probed {
                slot,
                generation,
                probed,
                took,
            } => self.probed(slot, generation, probed, took, now),
            ToHub::OrdersKept(kept) => self.orders_kept(kept),
            ToHub::Control(command) => self.command(command, now),
            ToHub::Link { link, event } => self.link(link, event, now)?,
        }
        Ok(())
    }
}
