//! Runs a watcher from its start to its end.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::error::WatchError;
use super::events::{Event, Events};
use super::folder::How;
use super::hand::News;
use super::record::Record;
use super::told::{Summary, Told};
use super::watcher::{Config, Watcher};
use crate::client::Way;

/// How long batches may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Watches a folder until it is told to stop, or has handed over what was there.
pub async fn watch(
    config: Config,
    way: Way,
    stop: CancellationToken,
    told: &mut (dyn FnMut(Told) + Send),
) -> Result<Summary, WatchError> {
    let mut watcher = Watcher::open(config, way, told)?;
    let ended = watcher.run(&stop).await;
    watcher.finish(ended.is_ok()).await?;
    ended?;
    Ok(watcher.summary)
}

impl Watcher<'_> {
    /// Works until told to stop, or all is done.
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), WatchError> {
        loop {
            tokio::task::block_in_place(|| self.step())?;
            if self.is_done() {
                return Ok(());
            }
            let due = self.next_time();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(news) = self.news.1.recv() => self.hear(news)?,
                Some(event) = next_event(&mut self.events) => self.see(event),
                () = sleep_until(due) => {}
            }
            for _ in 0..4096 {
                let Some(event) = self
                    .events
                    .as_mut()
                    .and_then(|(_, told)| told.try_recv().ok())
                else {
                    break;
                };
                self.see(event);
            }
            for _ in 0..64 {
                let Ok(news) = self.news.1.try_recv() else {
                    break;
                };
                self.hear(news)?;
            }
        }
    }

    /// Everything that can be done now.
    fn step(&mut self) -> Result<(), WatchError> {
        let now = Instant::now();
        if self.next_scan.is_some_and(|at| at <= now) {
            self.scan()?;
        }
        for path in self.folder.due(now) {
            self.look(&path, How::There);
        }
        self.join_batches();
        self.send(now)?;
        self.act_all()?;
        let has_grown = self.state.has_grown();
        if has_grown || self.closing.is_due(now) {
            self.close_all()?;
        }
        if has_grown {
            let kept = self
                .folder
                .kept()
                .map(|file| Record::Kept { n: None, file });
            let entries = self.folder.entries().flat_map(Entry::records);
            let rewritten = self
                .state
                .rewrite(&self.id, self.folder.last(), entries.chain(kept));
            rewritten.map_err(|error| self.cannot_write(error))?;
        }
        Ok(())
    }

    /// When there is something to do again, if nothing happens before.
    fn next_time(&self) -> Option<Instant> {
        if self.acts.iter().any(|n| !self.is_blocked(*n)) {
            return Some(Instant::now());
        }
        let rules = self.acts.iter().filter_map(|n| self.folder.entry(*n));
        let blocked = rules.filter_map(|entry| self.blocked.get(&entry.rule));
        let blocked = blocked.map(|(until, _)| *until).min();
        let times = [
            self.next_scan,
            self.folder.next_due(),
            self.folder.next_again().filter(|_| self.has_slot()),
            blocked,
            self.closing.due,
        ];
        times.into_iter().flatten().min()
    }

    /// Whether a file cannot be put away now.
    fn is_blocked(&self, n: u64) -> bool {
        let entry = self.folder.entry(n);
        entry.is_none_or(|entry| self.blocked.contains_key(&entry.rule))
    }

    /// Whether all that was there is handed over, if that is all that is asked for.
    fn is_done(&self) -> bool {
        self.config.once.is_some()
            && self.scans > 0
            && self.batches.is_empty()
            && self.joining.is_empty()
            && self.next_scan.is_none()
            && self.folder.settling() == 0
            && self.folder.next_again().is_none()
            && self.acts.iter().all(|n| self.is_blocked(*n))
    }

    /// Ends all batches, and puts away what they were done with.
    async fn finish(&mut self, is_well: bool) -> Result<(), WatchError> {
        self.batches
            .values()
            .for_each(|batch| batch.cancel.cancel());
        let until = tokio::time::Instant::now() + FAREWELL;
        while !self.batches.is_empty() {
            let Ok(Some(news)) = tokio::time::timeout_at(until, self.news.1.recv()).await else {
                break;
            };
            // That the balancer is away changes nothing any more.
            if !matches!(news, News::Away(_)) {
                self.hear(news)?;
            }
        }
        tokio::task::block_in_place(|| {
            self.act_all()?;
            self.close_all()?;
            if self.config.once.is_some() && is_well {
                // A second look tells what is gone for good.
                self.scan()?;
            }
            self.state.sync().map_err(|error| self.cannot_write(error))
        })?;
        self.summary.left = self.folder.waiting() + self.folder.under_way();
        Ok(())
    }
}

async fn next_event(events: &mut Option<(Events, mpsc::Receiver<Event>)>) -> Option<Event> {
    match events {
        Some((_, told)) => told.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
