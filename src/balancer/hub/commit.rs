//! What follows when the journal's writer got on: receipts, and files that can go to a server.

use std::collections::BTreeMap;
use std::time::Duration;

use super::commits::After;
use super::files::{Accepting, Tag, Where};
use super::state::Hub;
use crate::balancer::BalancerError;
use crate::balancer::dispatch::{Delivery, LinkId, Queued};
use crate::balancer::happening::Happening;
use crate::balancer::head_start::HeadStart;
use crate::balancer::messages::{Arrived, ToServer};
use crate::protocol::Message;
use crate::queue::backlog_entry::BacklogEntry;
use crate::queue::journal::Committed;
use crate::queue::record::History;
use crate::queue::{FileBody, Location, Progress};

impl Hub {
    pub(super) fn progress(
        &mut self,
        progress: Progress,
        now: Duration,
    ) -> Result<(), BalancerError> {
        match progress {
            Progress::Committed(committed) => self.committed(committed, now),
            Progress::Full(error) => {
                let happening = Happening::JournalFull(&error);
                self.report(&happening);
                self.trouble = Some(happening.text());
            }
            Progress::Room => {
                self.report(&Happening::JournalHasRoom);
                self.trouble = None;
            }
            Progress::Failed(error) => {
                self.report(&Happening::JournalFailed(&error));
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Operations are durable: everything that waited for them follows, in their order.
    fn committed(&mut self, committed: Committed, now: Duration) {
        let mut stored = committed.stored.into_iter().peekable();
        let mut confirmed: BTreeMap<LinkId, Vec<u64>> = BTreeMap::new();
        for after in self.commits.take(committed.ops) {
            match after {
                After::Accepted(number) => {
                    let location = stored
                        .next_if(|(other, _)| *other == number)
                        .map(|(_, location)| location);
                    self.accepted(number, location, now);
                }
                After::Dead {
                    number,
                    reason,
                    waiters,
                } => {
                    for reply in &waiters {
                        reply.send(|id| Message::Dead {
                            id,
                            number,
                            reason: reason.to_string(),
                        });
                    }
                }
                After::Confirm(link, number) => confirmed.entry(link).or_default().push(number),
                After::Remove(link, number, expected) => self
                    .servers
                    .send_over(link, ToServer::Drop(number, expected)),
                // Who gave the order may have gone.
                After::Answer(to, answer) => drop(to.send(answer)),
                After::GoOn => self.go_on(now),
                After::Nothing => {}
            }
        }
        for (link, numbers) in confirmed {
            self.servers.send_over(link, ToServer::Confirm(numbers));
        }
        for (number, location) in committed.moved {
            self.moved(number, location);
        }
    }

    /// A file is durable: its client gets the receipt, and it can go to a server.
    fn accepted(&mut self, number: u64, location: Option<Location>, now: Duration) {
        let Some(file) = self.files.accepting.remove(&number) else {
            return;
        };
        let Accepting {
            meta,
            content,
            head_start,
            room,
            read,
            _disk: _,
        } = file;
        self.times.accepted(now.saturating_sub(read));
        tracing::info!(
            number,
            title = &*meta.title,
            bytes = meta.size,
            from = &*meta.from,
            "received"
        );
        self.waiters
            .tell(number, |id| Message::Accepted { id, number });
        if let Some(location) = location.as_ref().filter(|_| self.is_far_back(number)) {
            let entry = BacklogEntry::new(&meta, location.spot());
            self.files
                .backlog
                .insert(number, entry, location.handle(), Some(room));
            return self.files.dispatcher.count_accepted(meta.size);
        }
        let content = self.keep_in_memory(match content {
            Arrived::Own(id) => FileBody::Own(id),
            Arrived::Memory(bytes) => FileBody::Memory(bytes, location),
        });
        let ticket = head_start.as_ref().map(HeadStart::ticket);
        let tag = Delivery::new(Tag {
            content,
            head_start,
            _room: Some(room),
        });
        let file = Queued {
            meta,
            history: History::default(),
            tag,
        };
        match ticket {
            Some(ticket) => self.files.dispatcher.accept_ahead(number, file, ticket),
            None => self.files.dispatcher.accept(number, file),
        }
    }

    /// Whether a new file goes to the backlog: others are there before it, or enough are ready.
    fn is_far_back(&self, number: u64) -> bool {
        let first = self.first_of_backlog();
        first.is_some_and(|first| first < number)
            || self.files.dispatcher.ready().0 >= self.deps.limits.ready
    }

    /// Counts content as held in memory if the bound allows that. If not, it is read from the
    /// journal when it is sent.
    pub(super) fn keep_in_memory(&mut self, content: FileBody) -> FileBody {
        match content {
            FileBody::Memory(bytes, location)
                if self.in_memory + bytes.len() as u64 <= self.deps.limits.memory
                    || location.is_none() =>
            {
                self.in_memory += bytes.len() as u64;
                FileBody::Memory(bytes, location)
            }
            other => other.without_memory(),
        }
    }

    /// Content that leaves the queue no longer counts as held in memory.
    pub(super) fn release(&mut self, content: &FileBody) {
        if let FileBody::Memory(bytes, _) = content {
            self.in_memory = self.in_memory.saturating_sub(bytes.len() as u64);
        }
    }

    /// Cleaning has written the file's record again: it stands at `to` now.
    fn moved(&mut self, number: u64, to: Location) {
        match self.files.whereabouts(number) {
            Where::Backlog(_) => self.files.backlog.moved(number, &to),
            Where::Queued(_) => {
                if let Some(file) = self.files.dispatcher.file_mut(number) {
                    relocate(&mut file.tag.tag.content, to);
                }
            }
            Where::Dead(_) => {
                if let Some(letter) = self.files.ledger.dead_mut(number) {
                    relocate(&mut letter.content, to);
                }
            }
            // It has no place yet, or needs none any more.
            Where::Accepting(_) | Where::Ended(_) | Where::Unknown => {}
        }
    }
}

fn relocate(content: &mut FileBody, to: Location) {
    match content {
        FileBody::Memory(_, location) => *location = Some(to),
        FileBody::Journal(location) => *location = to,
        // The content stands in a file of its own, which does not move.
        FileBody::Own(_) => {}
    }
}
