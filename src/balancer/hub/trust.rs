//! What servers say of their directories and of the journal, and what the hub makes of it: a
//! journal that was copied or set back ends the balancer, a directory that was is told, and one
//! that two addresses speak for is used under the first.
//!
//! A server's word is enough to stop, though it may be wrong: whoever lies like this keeps files
//! waiting, where they are safe. To go on would give numbers a second time, and then one file is
//! removed as the copy of another.

use std::sync::Arc;
use std::time::Duration;

use super::{Hub, Over};
use crate::balancer::BalancerError;
use crate::balancer::directories::{Second, Twice};
use crate::balancer::dispatch::Speaker;
use crate::balancer::events::{Kind, Level};
use crate::protocol::Expected;
use crate::protocol::lists::StoredFile;
use crate::queue::record::{End, Meta};
use crate::schedule::Slot;

/// When so many files are remembered only because they are in doubt somewhere, that is told.
const MANY_PINNED: usize = 100_000;

/// What was told of bounds that are reached, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct Told {
    too_doubtful: Vec<Arc<str>>,
    many_pinned: bool,
}

/// What the journal knows of a number.
enum Known {
    /// It has this content.
    As(Expected),
    /// It was not sent to any server yet.
    NotSent,
    /// Nothing any more, or nothing yet.
    Not,
}

impl Hub {
    /// Whether no other server speaks for this one's directory; the error says which one does. What
    /// is new is told.
    pub(super) fn speaks_alone(
        &mut self,
        slot: Slot,
        speaker: &Speaker,
        now: Duration,
    ) -> Result<(), String> {
        let twice = self.directories.claim(slot, speaker).err();
        if let Some(Twice {
            first,
            is: Second::SameServer,
        }) = twice
        {
            self.dispatcher.is_the_same_as(slot, first);
        }
        let verdict = twice.map_or(Ok(()), |twice| Err(self.why_twice(twice, speaker)));
        self.dispatcher.identified(slot, verdict.clone(), now);
        let Some(server) = self.server_mut(slot) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut server.twice, twice);
        if let (Err(reason), Some(Second::Copy), true) =
            (&verdict, twice.map(|twice| twice.is), twice != before)
        {
            self.tell_copy(slot, reason);
        }
        verdict
    }

    fn why_twice(&self, Twice { first, is }: Twice, speaker: &Speaker) -> String {
        let (first, name) = (
            self.address_of(first),
            speaker.identity.as_deref().unwrap_or_default(),
        );
        match is {
            Second::SameServer => {
                format!("{first} is the same server under another name: name only one of the two")
            }
            Second::Copy => format!(
                "its directory is a copy of that of {first}: both are called {name}. Remove one of the two servers, \
                 then start it with an empty directory, or without .bilico-index in it"
            ),
            Second::Unknown => format!("{first} speaks for a directory of the same name ({name})"),
        }
    }

    fn tell_copy(&self, slot: Slot, reason: &str) {
        let server = self.address_of(slot);
        tracing::error!(server = &*server, reason, "server ineligible");
        self.with.notices.tell(
            Level::Error,
            Kind::Server,
            Some(&server),
            None,
            format!("it gets no files: {reason}"),
        );
    }

    /// Checks what a server says of this journal's numbers against the journal. What cannot be true
    /// of it means that it was copied or set back.
    pub(super) fn check_journal(
        &self,
        slot: Slot,
        seen: Option<u64>,
        holding: &[StoredFile],
    ) -> Result<(), BalancerError> {
        let last = self.next_number.saturating_sub(1);
        if let Some(seen) = seen.filter(|seen| *seen > last) {
            return Err(self.set_back(
                slot,
                format!("has seen number {seen}, and the journal gave none above {last}"),
            ));
        }
        match holding
            .iter()
            .find_map(|held| self.contradiction(*held, last))
        {
            Some(found) => Err(self.set_back(slot, found)),
            None => Ok(()),
        }
    }

    /// What is wrong with a file that a server says it has, if something is.
    fn contradiction(
        &self,
        StoredFile(number, size, crc32c): StoredFile,
        last: u64,
    ) -> Option<String> {
        let has = || format!("has number {number} with {size} bytes and CRC32C {crc32c:08x}");
        if number > last {
            return Some(format!("{}, and the journal gave none above {last}", has()));
        }
        match self.known(number) {
            Known::As(known) if known == (Expected { size, crc32c }) => None,
            Known::As(Expected { size, crc32c }) => Some(format!(
                "{}, and the journal with {size} bytes and CRC32C {crc32c:08x}",
                has()
            )),
            Known::NotSent => Some(format!(
                "{}, which the journal has not sent to any server yet",
                has()
            )),
            Known::Not => None,
        }
    }

    fn known(&self, number: u64) -> Known {
        let as_meta = |meta: &Meta| {
            Known::As(Expected {
                size: meta.size,
                crc32c: meta.crc32c,
            })
        };
        if self.accepting.contains_key(&number) {
            return Known::NotSent;
        }
        if let Some(brief) = self.cold.get(number) {
            return Known::As(Expected {
                size: brief.size(),
                crc32c: brief.crc32c,
            });
        }
        let waiting = self.dispatcher.queue().get(number).map(|file| &file.meta);
        let ended = || self.ledger.ended(number).map(|ended| &ended.meta);
        let dead = || self.ledger.dead().get(&number).map(|letter| &letter.meta);
        waiting
            .or_else(ended)
            .or_else(dead)
            .map_or(Known::Not, |meta| as_meta(meta))
    }

    fn set_back(&self, slot: Slot, found: String) -> BalancerError {
        let error = BalancerError::SetBack {
            server: self.address_of(slot),
            found,
        };
        tracing::error!(error = %error, journal = &*self.journal_name, "the journal must not go on under its name");
        self.with
            .notices
            .tell(Level::Error, Kind::Journal, None, None, error.to_string());
        error
    }

    /// Notes the highest number that was acknowledged over a link whose server keeps account of it.
    pub(super) fn note_acknowledged(&mut self, over: Over, numbers: &[u64]) {
        let link = self
            .server_mut(over.slot)
            .and_then(|server| server.link.as_mut());
        if let Some(highest) = link
            .filter(|link| link.epoch == over.epoch)
            .and_then(|link| link.acknowledged.as_mut())
        {
            *highest = numbers.iter().copied().fold(*highest, u64::max);
        }
    }

    /// Closes a server's link.
    pub(super) fn close(&mut self, slot: Slot) {
        let link = self.server_mut(slot).and_then(|server| server.link.take());
        if let Some((Some(identity), Some(highest))) =
            link.map(|link| (link.identity, link.acknowledged))
        {
            self.directories.acknowledged(&identity, highest);
        }
    }

    /// Tells of a directory that has not seen what was acknowledged there.
    pub(super) fn check_directory(&mut self, slot: Slot, identity: &Arc<str>, seen: u64) {
        let Some(acknowledged) = self.directories.set_back(identity, seen) else {
            return;
        };
        let is_lost =
            |end: &End| matches!(end, End::Delivered { identity: Some(of), .. } if of == identity);
        let lost = self
            .ledger
            .all_ended()
            .filter(|ended| ended.number > seen && is_lost(&ended.end));
        let (files, bytes) = lost.fold((0_u64, 0_u64), |(files, bytes), ended| {
            (files + 1, bytes.saturating_add(ended.meta.size))
        });
        let server = self.address_of(slot);
        let text = format!(
            "its directory was set back: it has acknowledged number {acknowledged}, and has seen none above {seen} now. Of \
             the files that are remembered, {files} of {bytes} bytes, with numbers above {seen}, were delivered there: look \
             for them, and send again what is missing"
        );
        tracing::error!(
            server = &*server,
            directory = &**identity,
            acknowledged,
            seen,
            files,
            bytes,
            "{text}"
        );
        self.with
            .notices
            .tell(Level::Error, Kind::Server, Some(&server), None, text);
    }

    /// Tells of bounds on what is in doubt, when they are reached.
    pub(super) fn tell_bounds(&mut self) {
        let (servers, most) = self.dispatcher.too_doubtful();
        for server in servers
            .iter()
            .filter(|server| !self.told.too_doubtful.contains(server))
        {
            let text = format!(
                "{most} files are in doubt here, the most that are remembered: it gets no more until it has said what it has, \
                 or was removed"
            );
            tracing::error!(server = &**server, "{text}");
            self.with
                .notices
                .tell(Level::Error, Kind::Server, Some(server), None, text);
        }
        self.told.too_doubtful = servers;
        let pinned = self.ledger.pinned();
        let is_many = pinned >= MANY_PINNED;
        if is_many && !self.told.many_pinned {
            let servers = self.dispatcher.doubtful().join(", ");
            let text = format!(
                "{pinned} delivered files are remembered until these servers have said what they have: {servers}. Remove \
                 those that do not come back"
            );
            tracing::warn!("{text}");
            self.with
                .notices
                .tell(Level::Warn, Kind::Server, None, None, text);
        }
        self.told.many_pinned = is_many;
    }
}
