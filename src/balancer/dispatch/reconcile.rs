//! What is in doubt: which files a server may have though nothing says so, and how that is settled.
//!
//! A file is in doubt at a server from the moment when the link over which it was sent is closed,
//! or when the server is told to remove it. A native server lists what it has when its next link
//! opens: what it lists is believed if size and checksum agree, and what it does not list is not
//! there. After a restart nobody knows what was in flight, so everything that earlier runs sent is
//! in doubt at every server that has not listed its files yet. Such recovered files go nowhere
//! until each server has done so, or is known to be down (`--in-doubt redirect`).

use std::sync::Arc;

use super::action::{Action, Note};
use super::config::InDoubt;
use super::dispatcher::Dispatcher;
use super::server::{MAX_DOUBTS, Member};
use crate::protocol::lists;
use crate::schedule::{Fact, Slot};
use std::time::Duration;

impl<T> Dispatcher<T> {
    /// Says that files with numbers up to this are of an earlier run. Any server may have them, so
    /// they wait until all were asked, or are known to be down.
    pub fn recovered(&mut self, highest: u64) {
        self.recovered = self.recovered.max(highest);
    }

    /// Says that numbers up to this were given by earlier runs.
    pub fn earlier_runs_gave(&mut self, highest: u64) {
        self.earlier = self.earlier.max(highest);
    }

    /// Up to which number files wait until all servers were asked; 0 once that is done.
    pub fn holds_back(&self) -> u64 {
        if self.unreported.is_empty() {
            0
        } else {
            self.recovered
        }
    }

    /// Whether a server may have the file: one that is down, or one that was told to remove it and
    /// has not answered.
    pub fn is_doubtful(&self, number: u64) -> bool {
        let is_old = number <= self.earlier.max(self.recovered);
        self.servers
            .iter()
            .any(|(_, server)| (is_old && !server.has_reported) || server.doubts.contains(&number))
    }

    /// A server that was sent the file, and has neither acknowledged it nor said that it does not
    /// have it.
    pub fn doubted_at(&self, number: u64) -> Option<&Arc<str>> {
        let doubts = |(_, server): &(Slot, &Member)| server.doubts.contains(&number);
        self.servers
            .iter()
            .find(doubts)
            .map(|(_, server)| &server.name)
    }

    /// The server was told to remove the file: until it has answered, the file may be there.
    pub fn doubt(&mut self, slot: Slot, number: u64) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.doubts.insert(number);
        }
    }

    /// The server has removed the file.
    pub(super) fn dropped(&mut self, slot: Slot, number: u64) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.doubts.remove(&number);
            self.has_settled = true;
        }
    }

    /// Whether something is no longer in doubt somewhere since this was asked last.
    pub fn take_settled(&mut self) -> bool {
        std::mem::take(&mut self.has_settled)
    }

    /// The servers that get no files because as many are in doubt there as may be, and how many
    /// that are.
    pub fn too_doubtful(&self) -> (Vec<Arc<str>>, usize) {
        let servers = self
            .servers()
            .filter(|(_, server)| server.is_too_doubtful());
        let names = servers.map(|(_, server)| server.name.clone());
        (names.collect(), MAX_DOUBTS)
    }

    /// The servers at which something is in doubt: they have not listed their files, or not removed
    /// what they must.
    pub fn doubtful(&self) -> Vec<Arc<str>> {
        let servers = self
            .servers()
            .filter(|(_, server)| !server.has_reported || !server.doubts.is_empty());
        servers.map(|(_, server)| server.name.clone()).collect()
    }

    /// Whether the server answers its probes.
    pub fn answers(&self, slot: Slot) -> bool {
        let server = self.servers.get(slot);
        server.is_some_and(|server| server.health.allows(Fact::Connection))
    }

    /// The server is another one under a second name: what that one has listed, this one has.
    pub fn is_the_same_as(&mut self, slot: Slot, other: Slot) {
        let other = self.servers.get(other);
        if !other.is_some_and(|other| other.has_reported) {
            return;
        }
        let Some(server) = self.servers.get(slot) else {
            return;
        };
        let owes_report = !server.has_reported || !server.doubts.is_empty();
        if server.in_flight.is_empty() && owes_report {
            self.reported(slot);
        }
    }

    /// The server lists the file: wherever the file is by now, it needs no more sending.
    pub(super) fn believe(&mut self, slot: Slot, held: lists::StoredFile, now: Duration) {
        let lists::StoredFile(number, size, crc32c) = held;
        let Some(file) = self.queue.get(number) else {
            self.actions.push(Action::UnexpectedCopy {
                slot,
                number,
                held: Some(held),
            });
            return;
        };
        if (file.meta.size, file.meta.crc32c) != (size, crc32c) {
            let server = self.name_of(slot);
            let note = Note::OtherContent { number, server };
            self.actions.push(Action::Log(note));
            return;
        }
        if self.queue.is_taken(number) {
            // The server that it is in flight to will store it in a moment, and is then told to
            // remove it.
            for (_, other) in self.servers.iter_mut() {
                if other.take_from_flight(number).is_some() {
                    other.doubts.insert(number);
                }
            }
        }
        self.deliver(slot, number, true, now);
    }

    /// The server has listed all that it has, or can list nothing: what was in doubt there, and is
    /// not there, needs a server again.
    pub(super) fn reported(&mut self, slot: Slot) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.has_reported = true;
        }
        self.resolve_doubts(slot);
        self.need_not_report(slot);
    }

    /// Nothing is in doubt at the server any longer.
    pub(super) fn resolve_doubts(&mut self, slot: Slot) {
        self.has_settled = true;
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let doubts = std::mem::take(&mut server.doubts);
        if self.config.in_doubt == InDoubt::Wait {
            for number in doubts {
                self.unpark(number);
            }
        }
    }

    /// Recovered files do not wait for this server any longer. After the last server they go.
    pub(super) fn need_not_report(&mut self, slot: Slot) {
        if self.unreported.remove(&slot) && self.unreported.is_empty() {
            let numbers = self.queue.after(0).map(|(number, _)| number);
            let parked: Vec<u64> = numbers
                .take_while(|number| *number <= self.recovered)
                .collect();
            for number in parked {
                self.unpark(number);
            }
        }
    }

    /// Makes a file ready that is parked, unless it has to wait for a server that may have it.
    pub(super) fn unpark(&mut self, number: u64) {
        let must_wait = self.config.in_doubt == InDoubt::Wait && self.is_doubtful(number);
        if self.queue.is_parked(number) && !must_wait {
            if let Some(file) = self.queue.get_mut(number) {
                file.tag.waits = None;
            }
            self.queue.put_back(number);
        }
    }
}
