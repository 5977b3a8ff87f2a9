//! The members that are servers of the balancer: how they come and go, and what the hub is to do
//! about them.
#![allow(
    clippy::unused_self,
    clippy::needless_pass_by_value,
    reason = "the registry is not behind it yet"
)]

use tokio::sync::watch;

use super::error::NotTaken;
use super::handle::Fleet;
use super::membership::Membership;
use crate::config::ServerSpec;
use crate::fleet_core::Facts;
use crate::fleet_core::registry::{
    Action, LeaseId, NotRegistered, Probed, Registered, Registration, Seen,
};

impl Fleet {
    /// The configuration has these servers, and no others: at the start, and at each reload. They
    /// are members, and need no action of the registry. Members that registered stay, also at an
    /// address that the configuration no longer has.
    pub fn configured(&self, _servers: &[ServerSpec]) {}

    /// An operator's order added this server, or gave it another weight.
    pub fn ordered(&self, _server: &str, _weight: u32) {}

    /// An operator's order removed this server. A member that had registered there stays away until
    /// it is ordered back.
    pub fn ordered_away(&self, _server: &str) {}

    /// The servers that are in service because they registered: the balancer begins with them, and
    /// a reload leaves them.
    pub fn registered(&self) -> Vec<ServerSpec> {
        Vec::new()
    }

    /// A server registers. It gets files when the member is kept on disk, its address was added, and
    /// probes find it.
    pub fn register(&self, registration: Registration) -> Result<Membership, NotRegistered> {
        let registered = Registered {
            lease: LeaseId(0),
            name: registration
                .name
                .unwrap_or_else(|| registration.address.clone()),
            address: registration.address,
            lasts: registration.lease,
            beat: registration.lease / 3,
        };
        let (_, seen) = watch::channel(Seen::default());
        Ok(Membership::new(self.clone(), registered, seen))
    }

    pub(super) fn beat(&self, _lease: LeaseId, facts: Facts) -> Result<(), NotTaken> {
        Ok(facts.check()?)
    }

    pub(super) fn leave(&self, _lease: LeaseId, _reason: &str) {}

    pub(super) fn connection_lost(&self, _lease: LeaseId) {}

    /// What the balancer's own probe of a server found. Only changes need to be told.
    pub fn probed(&self, _server: &str, _found: Probed) {}

    /// Whether a file is in flight to a server, or in doubt there. Until it is told that none is, one
    /// may be. Doubts at a former address are over, too, when the same directory has listed its files
    /// at its new one.
    pub fn in_doubt(&self, _server: &str, _is_in_doubt: bool) {}

    /// The balancer has forgotten a server, as [`Action::Remove`] wanted.
    pub fn removed(&self, _server: &str) {}

    /// Waits for the next thing that is to be done or told. For one driver at a time.
    pub async fn next_action(&self) -> Action {
        std::future::pending().await
    }
}
