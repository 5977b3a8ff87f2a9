//! What a watcher hands over, and what it hears of that.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::entry::{Entry, Stage};
use super::error::WatchError;
use super::folder::How;
use super::hand::{Batch, Item, News, What};
use super::record::Record;
use super::told::Told;
use super::watcher::{Carried, Watcher, later};
use crate::client::{Form, KnownFile, Source, Wait};
use crate::os_text;
use crate::protocol::limits::MAX_TITLE;

/// Batches that are sent at one time.
const SENDING: usize = 3;

/// Batches that are sent at one time, of files that are large.
const LARGE: usize = 2;

/// Batches, sent or not, that wait for their last receipts. Beyond that the smallest ones are
/// joined.
const FOLLOWED: usize = 8;

/// How many of them are joined.
const JOINED: usize = 4;

/// Files under way at most: those beyond wait in the folder.
const UNDER_WAY: usize = 50_000;

impl Watcher<'_> {
    /// Whether another batch may be sent.
    pub(super) fn has_slot(&self) -> bool {
        let sending = self.batches.values().filter(|batch| !batch.is_uploaded);
        sending.count() < SENDING
    }

    /// Begins as many batches as there may be.
    pub(super) fn send(&mut self, now: Instant) -> Result<(), WatchError> {
        loop {
            if !self.has_slot() {
                return Ok(());
            }
            let large = self
                .batches
                .values()
                .filter(|batch| batch.is_large && !batch.is_uploaded);
            let large = large.count();
            let age = seconds();
            let remembered = self.config.remembered.as_secs();
            let is_asked = |entry: &Entry| {
                entry.accepted.is_some()
                    || entry.is_known && age.saturating_sub(entry.at) >= remembered
            };
            let again = self
                .folder
                .take_again(now, |entry| (entry.is_delivered, is_asked(entry)));
            if let Some(((is_delivered, is_asked), files)) = again {
                self.begin(is_delivered || is_asked, false, &files);
                continue;
            }
            if self.folder.under_way() >= UNDER_WAY {
                return Ok(());
            }
            let names = (&*self.config.prefix, &*self.id);
            let Some((lot, files)) = self.folder.take(large < LARGE, names, seconds()) else {
                return Ok(());
            };
            if files.is_empty() {
                continue;
            }
            for n in &files {
                let records = self.folder.entry(*n).into_iter().flat_map(Entry::records);
                records.for_each(|record| self.state.add(&record));
            }
            let synced = self.state.sync();
            synced.map_err(|error| self.cannot_write(error))?;
            self.begin(lot.is_delivered, lot.is_large, &files);
        }
    }

    pub(super) fn begin(&mut self, is_delivered: bool, is_large: bool, files: &[u64]) {
        let mut items = Vec::with_capacity(files.len());
        for n in files {
            let Some(entry) = self.folder.entry(*n) else {
                continue;
            };
            let title = os_text::encode(entry.found.path.as_os_str()).into_owned();
            if title.len() > MAX_TITLE {
                let reason = format!("its path is longer than {MAX_TITLE} bytes");
                self.fail(*n, reason);
                continue;
            }
            items.push(Item {
                n: *n,
                source: Source {
                    path: self.ground.at(&entry.place),
                    title,
                    form: Form::Raw,
                    called: None,
                },
                known: KnownFile {
                    key: Arc::clone(&entry.key),
                    seen: entry.found.seen(),
                },
                at: entry.at,
                is_known: entry.is_known,
                accepted: entry.accepted,
                sums: None,
            });
        }
        self.carry(is_delivered, is_large, items);
    }

    pub(super) fn carry(&mut self, is_delivered: bool, is_large: bool, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        self.next_batch += 1;
        let id = self.next_batch;
        self.of_file.extend(items.iter().map(|item| (item.n, id)));
        let cancel = CancellationToken::new();
        let carried = Carried {
            cancel: cancel.clone(),
            left: items.len(),
            is_large,
            is_uploaded: false,
            is_joined: false,
        };
        self.batches.insert(id, carried);
        let batch = Batch {
            id,
            items,
            until: if is_delivered {
                Wait::Delivered
            } else {
                Wait::Accepted
            },
            remembered: self.config.remembered,
            tell: self.news.0.clone(),
            cancel,
        };
        tokio::spawn(batch.carry(self.way.clone()));
    }

    /// Joins batches that wait for their last receipts when there are many of them, so that files
    /// that wait for long hold few connections.
    pub(super) fn join_batches(&mut self) {
        let mut followed: Vec<(usize, u64)> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.is_uploaded && !batch.is_joined)
            .map(|(id, batch)| (batch.left, *id))
            .collect();
        if followed.len() > FOLLOWED {
            followed.sort_unstable();
            for (_, id) in followed.into_iter().take(JOINED) {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.is_joined = true;
                    batch.cancel.cancel();
                }
            }
        }
        let is_whole = !self.batches.values().any(|batch| batch.is_joined);
        if is_whole && !self.joining.is_empty() {
            let items = std::mem::take(&mut self.joining);
            self.carry(true, false, items);
        }
    }

    /// Takes news of a batch.
    pub(super) fn hear(&mut self, news: News) -> Result<(), WatchError> {
        match news {
            News::Fates(fates) => {
                for (n, what) in fates {
                    self.hear_of(n, what);
                }
                Ok(())
            }
            News::Uploaded(id) => {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.is_uploaded = true;
                }
                Ok(())
            }
            News::Away(error) => {
                let now = Instant::now();
                let since = *self.away_since.get_or_insert(now);
                let is_over = self.config.once.is_some_and(|most| since.elapsed() >= most);
                if is_over || (!self.has_heard && !error.may_pass()) {
                    return Err(error.into());
                }
                if since == now {
                    let reason = error.to_string();
                    (self.tell)(Told::Waiting { reason });
                }
                Ok(())
            }
            News::Ended(id, left) => {
                let ended = self.batches.remove(&id);
                if ended.is_some_and(|batch| batch.is_joined) {
                    self.joining.extend(left);
                }
                Ok(())
            }
        }
    }

    pub(super) fn hear_of(&mut self, n: u64, what: What) {
        let now = Instant::now();
        let is_end = !matches!(what, What::Accepted { .. });
        if !matches!(
            what,
            What::Unreadable { .. } | What::Changed { .. } | What::Later { .. }
        ) {
            self.has_heard = true;
            if self.away_since.take().is_some() {
                (self.tell)(Told::Resumed);
            }
        }
        if is_end
            && let Some(id) = self.of_file.remove(&n)
            && let Some(batch) = self.batches.get_mut(&id)
        {
            batch.left = batch.left.saturating_sub(1);
        }
        let Some(entry) = self.folder.entry_mut(n) else {
            return;
        };
        match what {
            What::Accepted { number } if entry.is_delivered => {
                entry.accepted = Some(number);
                self.state.add(&Record::Accepted { n, number });
            }
            What::Accepted { number } => self.done(n, number),
            What::Delivered { number, server } => {
                if entry.is_delivered {
                    self.servers.insert(n, server);
                }
                self.done(n, number);
            }
            What::Later { reason } => {
                entry.tries += 1;
                let wait = later(entry.tries);
                self.folder.again(n, Some(now + wait));
                if self.away_since.is_none() {
                    self.away_since = Some(now);
                    (self.tell)(Told::Waiting { reason });
                }
            }
            What::Failed { reason } => self.fail(n, reason),
            What::Unreadable { reason } => self.unreadable(n, reason, now),
            What::Changed { reason } => self.changed(n, reason),
        }
    }

    pub(super) fn done(&mut self, n: u64, number: u64) {
        let Some(entry) = self.folder.entry_mut(n) else {
            return;
        };
        // Accepted, and delivered a moment later.
        if matches!(entry.stage, Stage::Done { .. }) {
            return;
        }
        entry.stage = Stage::Done { number };
        self.state.add(&Record::Done { n, number });
        self.acts.push_back(n);
    }

    pub(super) fn fail(&mut self, n: u64, reason: String) {
        if let Some(entry) = self.folder.entry_mut(n) {
            entry.stage = Stage::Failed {
                reason: reason.clone(),
            };
            self.state.add(&Record::Failed { n, reason });
            self.acts.push_back(n);
        }
    }

    /// The file could not be read: it was taken away or renamed, or may not be read.
    pub(super) fn unreadable(&mut self, n: u64, reason: String, now: Instant) {
        let Some(entry) = self.folder.entry(n) else {
            return;
        };
        let place = Arc::clone(&entry.place);
        if self.ground.at(&place).symlink_metadata().is_err() {
            self.folder.again(n, None);
            if !self.folder.missed(n) {
                self.scan_soon();
            }
            return;
        }
        self.state.add(&Record::Closed { n });
        self.folder.trouble(n, now);
        self.skip(place.to_path_buf(), reason);
    }

    /// The file is another one than the one that was taken.
    pub(super) fn changed(&mut self, n: u64, reason: String) {
        let Some(entry) = self.folder.close(n) else {
            return;
        };
        self.state.add(&Record::Closed { n });
        self.servers.remove(&n);
        (self.tell)(Told::Changed {
            path: entry.place.to_path_buf(),
            reason,
        });
        self.look(&entry.place, How::There);
        if let Some(other) = entry.other {
            self.look(&other, How::There);
        }
    }
}

/// Seconds since 1970.
fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
