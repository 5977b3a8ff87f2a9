//! What servers say of their directories and of the journal, and what follows from it.
//!
//! A server that knows the journal's numbers better than the journal itself shows that the journal
//! was copied or set back: the balancer ends. A directory that was set back is reported. If two
//! addresses speak for one directory, only the first gets files.
//!
//! A server's word is enough to end the balancer, though it may be wrong. A server that lies like
//! this keeps files waiting, where they are safe. To go on would give numbers a second time, and
//! then one file is removed as the copy of another.

use std::sync::Arc;
use std::time::Duration;

use super::files::Where;
use super::state::Hub;
use crate::balancer::BalancerError;
use crate::balancer::directories::{Second, Twice};
use crate::balancer::dispatch::LinkId;
use crate::balancer::dispatch::Speaker;
use crate::balancer::happening::Happening;
use crate::protocol::lists::StoredFile;
use crate::queue::record::{End, Ended};
use crate::schedule::Slot;

/// If this many files are remembered only because they are in doubt somewhere, operators hear of
/// it.
const MANY_PINNED: usize = 100_000;

impl Hub {
    /// Checks that no other server speaks for this one's directory; the error says which one does.
    pub(super) fn speaks_alone(
        &mut self,
        slot: Slot,
        speaker: &Speaker,
        now: Duration,
    ) -> Result<(), String> {
        let another = self.why_another(slot, speaker);
        if let Some(server) = self.servers.get_mut(slot) {
            server.another = another.is_some().then(|| speaker.clone());
        }
        if let Some(reason) = another {
            self.directories.release(slot);
            self.files.dispatcher.is_another(slot, reason.clone(), now);
            return Err(reason);
        }
        let twice = self.directories.claim(slot, speaker).err();
        if let Some(Twice {
            first,
            is: Second::SameServer,
        }) = twice
        {
            self.files.dispatcher.is_the_same_as(slot, first);
        }
        let verdict = match twice {
            None => Ok(()),
            Some(twice) => Err(self.why_twice(twice, speaker)),
        };
        self.files.dispatcher.identified(slot, verdict.clone(), now);
        let Some(server) = self.servers.get_mut(slot) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut server.twice, twice);
        let is_copy = twice.is_some_and(|twice| twice.is == Second::Copy);
        if let Err(reason) = &verdict
            && is_copy
            && twice != before
        {
            let server = self.servers.address(slot);
            self.report(&Happening::CopiedDirectory {
                server: &server,
                reason,
            });
        }
        verdict
    }

    fn why_twice(&self, Twice { first, is }: Twice, speaker: &Speaker) -> String {
        let first = self.servers.address(first);
        let name = speaker.identity.as_deref().unwrap_or_default();
        match is {
            Second::SameServer => {
                format!("{first} is the same server under another name: name only one of the two")
            }
            Second::Copy => format!(
                "its directory is a copy of that of {first}: both are called {name}. Remove one of \
                 the two servers, then start it with an empty directory, or without .bilico-index \
                 in it"
            ),
            Second::Unknown => format!("{first} speaks for a directory of the same name ({name})"),
        }
    }

    /// Compares what a server says of this journal's numbers with the journal: a contradiction
    /// means that the journal was copied or set back.
    pub(super) fn check_journal(
        &self,
        slot: Slot,
        seen: Option<u64>,
        holding: &[StoredFile],
    ) -> Result<(), BalancerError> {
        let last = self.next_number.saturating_sub(1);
        if let Some(seen) = seen.filter(|seen| *seen > last) {
            let found = format!("has seen number {seen}, and the journal gave none above {last}");
            return Err(self.set_back(slot, found));
        }
        let found = holding
            .iter()
            .find_map(|held| self.contradiction(*held, last));
        match found {
            Some(found) => Err(self.set_back(slot, found)),
            None => Ok(()),
        }
    }

    /// How a file that a server lists contradicts the journal, if it does.
    fn contradiction(&self, held: StoredFile, last: u64) -> Option<String> {
        let StoredFile(number, size, crc32c) = held;
        let has = || format!("has number {number} with {size} bytes and CRC32C {crc32c:08x}");
        if number > last {
            let has = has();
            return Some(format!("{has}, and the journal gave none above {last}"));
        }
        let file = self.files.whereabouts(number);
        if let Where::Accepting(_) = file {
            let has = has();
            return Some(format!(
                "{has}, which the journal has not sent to any server yet"
            ));
        }
        let content = file.content();
        let (known, sum) = content.filter(|content| *content != (size, crc32c))?;
        Some(format!(
            "{}, and the journal with {known} bytes and CRC32C {sum:08x}",
            has()
        ))
    }

    fn set_back(&self, slot: Slot, found: String) -> BalancerError {
        let error = BalancerError::SetBack {
            server: self.servers.address(slot),
            found,
        };
        self.report(&Happening::JournalSetBack {
            journal: &self.journal_name,
            error: &error.to_string(),
        });
        error
    }

    /// Notes the highest number acknowledged over a link whose server keeps an index.
    pub(super) fn note_acknowledged(&mut self, link: LinkId, numbers: &[u64]) {
        let server = self.servers.get_mut(link.slot);
        let present = server
            .and_then(|server| server.link.as_mut())
            .filter(|present| present.epoch == link.epoch);
        if let Some(highest) = present.and_then(|present| present.acknowledged.as_mut()) {
            *highest = numbers.iter().copied().fold(*highest, u64::max);
        }
    }

    /// Reports a directory that does not know what was acknowledged there.
    pub(super) fn check_directory(&mut self, slot: Slot, identity: &Arc<str>, seen: u64) {
        let Some(acknowledged) = self.directories.set_back(identity, seen) else {
            return;
        };
        let is_there =
            |end: &End| matches!(end, End::Delivered { identity: Some(of), .. } if of == identity);
        let is_lost = |ended: &&Arc<Ended>| ended.number > seen && is_there(&ended.end);
        let mut files = 0;
        let mut bytes: u64 = 0;
        for ended in self.files.ledger.all_ended().filter(is_lost) {
            files += 1;
            bytes = bytes.saturating_add(ended.meta.size);
        }
        self.report(&Happening::DirectorySetBack {
            server: &self.servers.address(slot),
            identity,
            acknowledged,
            seen,
            files,
            bytes,
        });
    }

    /// Reports bounds on files in doubt when they are reached.
    pub(super) fn tell_bounds(&mut self) {
        let (servers, most) = self.files.dispatcher.too_doubtful();
        for server in &servers {
            if !self.told.too_doubtful.contains(server) {
                self.report(&Happening::TooDoubtful { server, most });
            }
        }
        self.told.too_doubtful = servers;
        let files = self.files.ledger.pinned();
        let is_many = files >= MANY_PINNED;
        if is_many && !self.told.many_pinned {
            let servers = self.files.dispatcher.doubtful().join(", ");
            self.report(&Happening::ManyPinned {
                files,
                servers: &servers,
            });
        }
        self.told.many_pinned = is_many;
    }
}
