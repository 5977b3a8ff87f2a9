//! Brings files of the backlog back: their records are read from the journal in time for their
//! turn, beside the hub, and the dispatcher gets them.
//!
//! A file whose server says that it is stored already is read back at once, whatever its turn: its
//! end has to be recorded with its description.

use std::sync::Arc;
use std::time::Duration;

use super::files::{Tag, Where};
use super::reading::Reading;
use super::state::{Hub, millis};
use crate::balancer::cold::{ColdReport, Thawed};
use crate::balancer::dispatch::{Delivery, Queued};
use crate::balancer::messages::ToHub;
use crate::balancer::room::Room;
use crate::queue::backlog_entry::{BacklogEntry, ReadBack, read_back};
use crate::queue::record::{Accepted, Content, End, Ended, History, Meta};
use crate::queue::{FileBody, Location};

/// How long nothing is read back after the system was short of descriptors or memory.
const SHORTAGE: Duration = Duration::from_secs(1);

impl Hub {
    /// Starts to read files back whose turn comes soon, or whose servers wait for an answer.
    pub(super) fn read_backlog(&mut self, now: Duration) {
        let first = self.first_of_backlog();
        self.files.dispatcher.comes_first(first);
        if !self.reading.may_start(now) {
            return;
        }
        self.reading = Reading::Idle;
        let places: Vec<_> = self
            .next_to_read(first)
            .into_iter()
            .filter_map(|number| Some((number, self.files.backlog.location(number)?)))
            .collect();
        if places.is_empty() {
            return;
        }
        self.reading = Reading::UnderWay;
        let journal = self.deps.journal;
        let hub = self.deps.to_self.clone();
        self.deps.outside.block(Box::new(move || {
            let _ = hub.send(ToHub::ReadBack(read_back(&journal, places, true)));
        }));
    }

    /// The first file of the backlog that may go: it goes before all files with higher numbers.
    pub(super) fn first_of_backlog(&self) -> Option<u64> {
        let held_back = self.files.dispatcher.holds_back();
        self.files
            .backlog
            .above(held_back)
            .next()
            .map(|(number, _)| number)
    }

    /// The files to read back now: those that servers report first, else those whose turn comes.
    fn next_to_read(&self, first: Option<u64>) -> Vec<u64> {
        let most = self.deps.limits.read_back_files;
        let claimed: Vec<u64> = self.files.backlog.claimed().take(most).collect();
        if !claimed.is_empty() {
            return claimed;
        }
        let (ready, is_blocked) = self.files.dispatcher.ready();
        match first {
            Some(first) if ready < most || is_blocked => self.next_of_backlog(first),
            _ => Vec::new(),
        }
    }

    /// As many files from `first` on as are read back at once.
    fn next_of_backlog(&self, first: u64) -> Vec<u64> {
        let limits = &self.deps.limits;
        let mut bytes = 0;
        let fits = |(_, entry): &(u64, &BacklogEntry)| {
            let had = bytes;
            bytes += u64::from(entry.spot.record_len());
            had < limits.read_back_bytes
        };
        self.files
            .backlog
            .above(first - 1)
            .take(limits.read_back_files)
            .take_while(fits)
            .map(|(number, _)| number)
            .collect()
    }

    /// Files were read back.
    pub(super) fn read_back(&mut self, files: Vec<(u64, ReadBack)>, now: Duration) {
        self.reading = Reading::Idle;
        for (number, back) in files {
            if let ReadBack::NotNow(reason) = back {
                if self.reading == Reading::Idle {
                    tracing::warn!(reason, "files cannot be read from the journal now");
                }
                self.reading = Reading::PausedUntil(now + SHORTAGE);
            } else if let Where::Backlog(_) = self.files.whereabouts(number) {
                self.thaw(number, back, now);
            }
        }
    }

    /// A file of the backlog was read back, or is unreadable: it leaves the backlog.
    fn thaw(&mut self, number: u64, back: ReadBack, now: Duration) {
        let Some(thawed) = self.files.backlog.remove(number) else {
            return;
        };
        let Thawed {
            brief,
            location,
            room,
            history,
            claims,
        } = thawed;
        let Some(location) = location else {
            // Impossible, for each file keeps its segment open; but no file may vanish silently.
            return tracing::error!(
                number,
                "the segment of a file is not at hand: it waits for the next start"
            );
        };
        let mut read = Read::of(back, &brief, location);
        if let Some(history) = history {
            read.history = history;
        }
        if claims.is_empty() {
            self.enqueue(number, read, room, now);
        } else {
            self.end_reported(number, read, &claims, now);
        }
    }

    /// Gives a file to the dispatcher, or makes it a dead letter if it is unreadable.
    fn enqueue(&mut self, number: u64, read: Read, room: Option<Room>, now: Duration) {
        let Read {
            meta,
            history,
            content,
            problem,
        } = read;
        let content = match problem {
            Some(_) => content,
            None => self.keep_in_memory(content),
        };
        let tag = Delivery::new(Tag {
            content,
            head_start: None,
            _room: room,
        });
        let file = Queued { meta, history, tag };
        match problem {
            Some(reason) => self.bury(number, &reason, file, now),
            None => self.files.dispatcher.recover(number, file),
        }
    }

    /// Servers have reported a file before its turn came: the first one has delivered it, the
    /// others have a copy too many.
    fn end_reported(&mut self, number: u64, read: Read, reports: &[ColdReport], now: Duration) {
        let Some((first, others)) = reports.split_first() else {
            return;
        };
        let Read { meta, history, .. } = read;
        tracing::info!(
            number,
            title = &*meta.title,
            bytes = meta.size,
            "turns out to be delivered"
        );
        self.files.dispatcher.count_delivered(meta.size);
        let end = End::Delivered {
            server: self.servers.address(first.slot),
            identity: Some(first.identity.clone()),
            confirmed: true,
        };
        let ended = Ended {
            number,
            at_ms: millis(now),
            end,
            meta,
            history,
        };
        self.end_delivered(ended, first.slot);
        for report in others {
            self.unexpected_copy(report.slot, number, Some(report.held), now);
        }
    }
}

/// A file as it was read back; if it is unreadable, what is known of it all the same.
pub(super) struct Read {
    pub(super) meta: Arc<Meta>,
    pub(super) history: History,
    pub(super) content: FileBody,
    /// Why it is unreadable.
    problem: Option<String>,
}

impl Read {
    pub(super) fn of(back: ReadBack, entry: &BacklogEntry, location: Location) -> Self {
        let lost = |meta: Option<Arc<Meta>>, reason| Self {
            meta: meta.unwrap_or_else(|| Arc::new(entry.stand_in())),
            history: History::default(),
            content: FileBody::Journal(location.clone()),
            problem: Some(reason),
        };
        match back {
            ReadBack::File(accepted) => Self::found(*accepted, location),
            ReadBack::Unreadable { reason, meta } => lost(meta, reason),
            ReadBack::NotNow(reason) => lost(None, reason),
        }
    }

    fn found(accepted: Accepted, location: Location) -> Self {
        let Accepted {
            meta,
            history,
            content,
            ..
        } = accepted;
        let content = match content {
            Content::Inline(bytes) => FileBody::Memory(bytes, Some(location)),
            Content::Own(id) => FileBody::Own(id),
        };
        Self {
            meta,
            history,
            content,
            problem: None,
        }
    }
}
