//! A registered server's place in the fleet, as long as its connection lasts.

use tokio::sync::watch;

use super::handle::Fleet;
use crate::fleet_core::registry::{Registered, Seen};

/// A registered server's place in the fleet. It belongs to the server's connection: dropping it
/// tells the fleet that the connection is lost.
pub struct Membership {
    fleet: Fleet,
    registered: Registered,
    seen: watch::Receiver<Seen>,
}

impl Membership {
    pub(super) fn new(fleet: Fleet, registered: Registered, seen: watch::Receiver<Seen>) -> Self {
        Self {
            fleet,
            registered,
            seen,
        }
    }

    /// What the server is told.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// How the balancer sees the server; changes are noticed.
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let lease = self.registered.lease;
        self.fleet.change(|state, now| {
            state.seen.remove(&lease);
            state.registry.connection_lost(lease, now);
        });
    }
}
