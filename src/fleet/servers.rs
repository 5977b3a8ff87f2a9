//! The members that are servers of the balancer: how they come and go, and what the hub is to do
//! about them.

use std::sync::Arc;

use tokio::sync::watch;

use super::error::NotTaken;
use super::handle::Fleet;
use super::membership::Membership;
use crate::config::ServerSpec;
use crate::fleet_core::Facts;
use crate::fleet_core::registry::{Action, NotRegistered, Probed, Registration, Seen};

impl Fleet {
    /// The configuration has these servers, and no others: at the start, and at each reload. They
    /// are members, and need no action of the registry. Members that registered stay, also at an
    /// address that the configuration no longer has.
    pub fn configured(&self, servers: &[ServerSpec]) {
        self.change(|state, now| {
            let servers = servers.iter().map(|spec| (&*spec.address, spec.weight));
            state.registry.configured(servers, now);
        });
    }

    /// An operator's order added this server, or gave it another weight.
    pub fn ordered(&self, server: &str, weight: u32) {
        self.change(|state, now| state.registry.ordered(server, weight, now));
    }

    /// An operator's order removed this server. A member that had registered there stays away until
    /// it is ordered back.
    pub fn ordered_away(&self, server: &str) {
        self.change(|state, now| state.registry.ordered_away(server, now));
    }

    /// The balancer has dropped a server that neither the configuration nor [`Fleet::registered`] has.
    pub fn dropped(&self, server: &str) {
        self.change(|state, now| state.registry.dropped(server, now));
    }

    /// The servers that are in service because they registered: the balancer begins with them, and
    /// a reload leaves them. Some of them are to be removed once nothing is in doubt there.
    pub fn registered(&self) -> Vec<ServerSpec> {
        let state = self.state();
        let servers = state.registry.registered().map(|server| ServerSpec {
            address: server.address.to_string(),
            weight: server.weight,
        });
        servers.collect()
    }

    /// The addresses of these servers, with the directories that are to answer there. What the
    /// configuration or an order has may have any.
    pub fn directories(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let state = self.state();
        let servers = state.registry.registered();
        let known = servers.filter_map(|server| {
            let directory = server.directory?.clone();
            Some((server.address.clone(), directory))
        });
        known.collect()
    }

    /// What was ordered about this server is forgotten.
    pub fn order_forgotten(&self, server: &str) {
        self.change(|state, now| state.registry.order_forgotten(server, now));
    }

    /// The balancer cannot have a server now, as [`Action::Add`] wanted, for this reason. It is tried
    /// again when another one has gone, or when it registers again.
    pub fn not_added(&self, server: &str, reason: Arc<str>) {
        self.change(|state, now| state.registry.not_added(server, reason, now));
    }

    /// A server registers. It gets files when the member is kept on disk, its address was added, and
    /// probes find it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who tells it has no more use for it"
    )]
    pub fn register(&self, registration: Registration) -> Result<Membership, NotRegistered> {
        let (sender, seen) = watch::channel(Seen::default());
        let registered = self.change(|state, now| {
            let registered = state.registry.register(&registration, now)?;
            state.seen.insert(registered.lease, sender);
            if let Some(id) = state.registry.speaks_for(registered.lease) {
                self.remember(id, registered.beat, &registration.facts);
            }
            Ok(registered)
        })?;
        Ok(Membership::new(self.clone(), registered, seen))
    }

    /// What the balancer's own probe of a server found. Only changes need to be told.
    pub fn probed(&self, server: &str, found: Probed) {
        self.change(|state, now| state.registry.probed(server, found, now));
    }

    /// Whether a file is in flight to a server, or in doubt there. Until it is told that none is, one
    /// may be. It is to be told anew after each [`Action::Drain`]. Doubts at a former address are
    /// over, too, when the same directory has listed its files at its new one.
    pub fn in_doubt(&self, server: &str, is_in_doubt: bool) {
        self.change(|state, now| state.registry.in_doubt(server, is_in_doubt, now));
    }

    /// The balancer has forgotten a server, as [`Action::Remove`] wanted.
    pub fn removed(&self, server: &str) {
        self.change(|state, now| state.registry.removed(server, now));
    }

    /// The next thing that is to be done or told, if there is one.
    pub fn take_action(&self) -> Option<Action> {
        self.change(|state, _| state.registry.next_action())
    }

    /// Waits for the next thing that is to be done or told. For one driver at a time.
    pub async fn next_action(&self) -> Action {
        loop {
            if let Some(action) = self.take_action() {
                return action;
            }
            self.inner().to_do.notified().await;
        }
    }
}

/// What a registration's connection tells.
impl Membership {
    /// The server is there, and tells this. An error says that its facts are impossible, or that
    /// another registration took its place: then it is to connect again.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who tells it has no more use for it"
    )]
    pub fn beat(&self, facts: Facts) -> Result<(), NotTaken> {
        facts.check()?;
        let (lease, every) = (self.registered().lease, self.registered().beat);
        let fleet = self.fleet();
        let is_known = fleet.change(|state, now| {
            let is_known = state.registry.beat(lease, &facts, now);
            if let Some(id) = state.registry.speaks_for(lease) {
                fleet.remember(id, every, &facts);
            }
            is_known
        });
        is_known.then_some(()).ok_or(NotTaken::Superseded)
    }

    /// The server leaves in order. It may go once [`Seen::left`] is true.
    pub fn leave(&self, reason: &str) {
        let lease = self.registered().lease;
        self.fleet()
            .change(|state, now| state.registry.leave(lease, reason, now));
    }
}
