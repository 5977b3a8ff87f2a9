//! A registered server's place in the fleet, as long as its connection lasts.

use tokio::sync::watch;

use super::error::NotTaken;
use super::handle::Fleet;
use crate::fleet_core::Facts;
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

    /// The server is there, and tells this.
    pub fn beat(&self, facts: Facts) -> Result<(), NotTaken> {
        self.fleet.beat(self.registered.lease, facts)
    }

    /// The server leaves in order. It may go once [`Seen::left`] is true.
    pub fn leave(&self, reason: &str) {
        self.fleet.leave(self.registered.lease, reason);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.fleet.connection_lost(self.registered.lease);
    }
}
