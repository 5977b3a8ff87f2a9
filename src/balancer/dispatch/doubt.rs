//! What the dispatcher tells of doubts: where something may be that nothing says is there, and when
//! that has changed.

use std::sync::Arc;

use super::Dispatcher;
use super::server::MOST_DOUBTS;
use crate::schedule::{Fact, Slot};

impl<T> Dispatcher<T> {
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
        (
            servers.map(|(_, server)| server.name.clone()).collect(),
            MOST_DOUBTS,
        )
    }

    /// The servers at which something is in doubt: they have not said what they have, or not
    /// removed what they must.
    pub fn doubtful(&self) -> Vec<Arc<str>> {
        let servers = self
            .servers()
            .filter(|(_, server)| !server.has_told || !server.doubts.is_empty());
        servers.map(|(_, server)| server.name.clone()).collect()
    }

    /// Whether the server answers its probes.
    pub fn answers(&self, slot: Slot) -> bool {
        let server = self.servers.get(slot.index()).and_then(Option::as_ref);
        server.is_some_and(|server| server.health.allows(Fact::Connection))
    }

    /// The server is another one under a second name: what that one has said, this one has.
    pub fn is_the_same_as(&mut self, slot: Slot, other: Slot) {
        let has_told = |server: &super::Member| server.has_told;
        if !self
            .servers
            .get(other.index())
            .and_then(Option::as_ref)
            .is_some_and(has_told)
        {
            return;
        }
        let Some(server) = self.servers.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        if server.in_flight.is_empty() && (!server.has_told || !server.doubts.is_empty()) {
            server.has_told = true;
            self.resolve_doubts(slot);
            self.has_reported(slot);
        }
    }
}
