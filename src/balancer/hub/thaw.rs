//! How cold files come back: read from the journal in time for their turn, and given to the
//! dispatcher.

use std::sync::Arc;
use std::time::Duration;

use super::{Hub, Tag, millis};
use crate::balancer::cold::{ColdReport, Thawed};
use crate::balancer::dispatch::{Delivery, Queued};
use crate::balancer::messages::{Reply, ToHub};
use crate::queue::backlog_entry::{BacklogEntry, ReadBack, read_back};
use crate::queue::record::{Accepted, Content, End, Ended, History, Meta};
use crate::queue::{FileBody, Location};
use crate::schedule::Slot;

/// How many files are read back from the journal at once, and about how many bytes. It is done when
/// fewer than this many wait with all that is known of them.
const READ_BACK: (usize, u64) = if cfg!(test) {
    (4, 64 * 1024)
} else {
    (4096, 4 * 1024 * 1024)
};

/// How long nothing is read back after the system was short of something.
const SHORTAGE: Duration = Duration::from_secs(1);

impl Hub {
    /// Has files read back from the journal whose turn comes soon, or whose servers wait for an
    /// answer.
    pub(super) fn read_on(&mut self) {
        let first = self.first_cold();
        self.dispatcher.comes_first(first);
        let (ready, is_blocked) = self.dispatcher.ready();
        if self.is_reading_back || self.cold.len() == 0 {
            return;
        }
        let claimed: Vec<u64> = self.cold.claimed().take(READ_BACK.0).collect();
        let next = first
            .filter(|_| ready < READ_BACK.0 || is_blocked)
            .map_or_else(Vec::new, |first| self.next_cold(first));
        let numbers = if claimed.is_empty() { next } else { claimed };
        let places: Vec<_> = numbers
            .iter()
            .filter_map(|number| Some((*number, self.cold.location(*number)?)))
            .collect();
        if !places.is_empty() {
            self.is_reading_back = true;
            let (journal, hub) = (self.with.journal, self.with.to_self.clone());
            let read = move || drop(hub.send(ToHub::ReadBack(read_back(&journal, places, true))));
            tokio::task::spawn_blocking(read);
        }
    }

    /// As many of the files from `first` on as are read back at once.
    fn next_cold(&self, first: u64) -> Vec<u64> {
        let mut bytes = 0;
        let fits = |(_, brief): &(u64, &BacklogEntry)| {
            let had = bytes;
            bytes += u64::from(brief.spot.record_len());
            had < READ_BACK.1
        };
        let files = self
            .cold
            .above(first - 1)
            .take(READ_BACK.0)
            .take_while(fits);
        files.map(|(number, _)| number).collect()
    }

    /// Files were read back: the dispatcher gets them.
    pub(super) fn read_back(&mut self, files: Vec<(u64, ReadBack)>, now: Duration) {
        let shortage = files.iter().find_map(|(_, back)| match back {
            ReadBack::NotNow(reason) => Some(reason),
            _ => None,
        });
        self.is_reading_back = shortage.is_some();
        if let Some(reason) = shortage {
            tracing::warn!(reason, "files cannot be read from the journal now");
            let hub = self.with.to_self.clone();
            self.with.tasks.spawn(async move {
                tokio::time::sleep(SHORTAGE).await;
                let _ = hub.send(ToHub::ReadBack(Vec::new()));
            });
        }
        for (number, back) in files
            .into_iter()
            .filter(|(_, back)| !matches!(back, ReadBack::NotNow(_)))
        {
            self.thaw(number, back, now);
        }
    }

    /// A file was read back, or cannot be.
    fn thaw(&mut self, number: u64, back: ReadBack, now: Duration) {
        let Some(Thawed {
            brief,
            location,
            replies,
            room,
            history,
            claims,
        }) = self.cold.remove(number)
        else {
            return;
        };
        let Some(location) = location else {
            // Each file holds on to its segment, so that this cannot be; but a file must not go
            // without a word.
            return tracing::error!(
                number,
                "the segment of a file is not at hand: it waits for the next start"
            );
        };
        let Read {
            meta,
            history: read_history,
            content,
            problem,
        } = Read::of(back, &brief, location);
        let history = history.unwrap_or(read_history);
        if let Some((first, others)) = claims.split_first() {
            return self.end_cold(
                Ended {
                    number,
                    at_ms: millis(now),
                    end: self.claimed_by(first),
                    meta,
                    history,
                },
                (first.slot, others),
                &replies,
                now,
            );
        }
        let content = if problem.is_some() {
            content
        } else {
            self.hold(content)
        };
        let tag = Delivery::new(Tag {
            content,
            replies,
            _room: room,
        });
        let file = Queued { meta, history, tag };
        match problem {
            Some(reason) => {
                tracing::error!(number, title = &*file.meta.title, reason, "dead letter");
                self.bury(number, reason, file, now);
            }
            None => self.dispatcher.recover(number, file),
        }
    }

    /// How a file ended that this server says it has.
    fn claimed_by(&self, claim: &ColdReport) -> End {
        let server = self.address_of(claim.slot);
        End::Delivered {
            server,
            identity: Some(claim.identity.clone()),
            confirmed: true,
        }
    }

    /// A file turned out to be delivered before its turn came. What others have of it is one copy
    /// too many.
    fn end_cold(
        &mut self,
        ended: Ended,
        (slot, others): (Slot, &[ColdReport]),
        replies: &[Reply],
        now: Duration,
    ) {
        let number = ended.number;
        tracing::info!(
            number,
            title = &*ended.meta.title,
            bytes = ended.meta.size,
            "turns out to be delivered"
        );
        self.dispatcher.count_delivered(ended.meta.size);
        self.end(ended, replies, Some(slot));
        for claim in others {
            self.unexpected_copy(claim.slot, number, Some(claim.held), now);
        }
    }
}

/// What was read back of a file, or stands for it.
pub(super) struct Read {
    pub(super) meta: Arc<Meta>,
    pub(super) history: History,
    pub(super) content: FileBody,
    /// Why it cannot be sent, if that is so.
    problem: Option<String>,
}

impl Read {
    pub(super) fn of(back: ReadBack, brief: &BacklogEntry, location: Location) -> Self {
        let lost = |meta: Option<Arc<Meta>>, reason| Self {
            meta: meta.unwrap_or_else(|| Arc::new(stand_in(brief))),
            history: History::default(),
            content: FileBody::Journal(location.clone()),
            problem: Some(reason),
        };
        match back {
            ReadBack::File(accepted) => {
                let Accepted {
                    meta,
                    history,
                    content,
                    ..
                } = *accepted;
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
            ReadBack::Unreadable { reason, meta } => lost(meta, reason),
            ReadBack::NotNow(reason) => lost(None, reason),
        }
    }
}

/// What is said of a file whose record cannot be read.
pub(in crate::balancer) fn stand_in(brief: &BacklogEntry) -> Meta {
    let (size, crc32c, accepted_ms) = (
        brief.size(),
        brief.crc32c,
        u64::from(brief.accepted_s) * 1000,
    );
    Meta {
        title: "?".into(),
        key: None,
        from: "?".into(),
        size,
        crc32c,
        accepted_ms,
    }
}
