//! The servers as the hub holds them, by slot, with their open links.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::DropGuard;

use crate::balancer::directories::Twice;
use crate::balancer::dispatch::{LinkId, Speaker};
use crate::balancer::messages::ToServer;
use crate::fleet_core::registry::Probed;
use crate::schedule::{Slot, Slots};

/// An open link; dropping it closes the link.
pub(super) struct LinkHandle {
    pub(super) epoch: u64,
    pub(super) to_server: mpsc::UnboundedSender<ToServer>,
    /// The identity of the server's directory, once the link has opened; `None` from a server that
    /// cannot list its files.
    pub(super) identity: Option<Arc<str>>,
    /// The highest number acknowledged over this link; `None` if the server keeps no index.
    pub(super) acknowledged: Option<u64>,
    pub(super) _close: DropGuard,
}

/// What the fleet was told of a server last.
#[derive(Debug, Default)]
pub(super) struct ToldOfServer {
    pub(super) found: Option<Probed>,
    /// Whether a file is in flight to it or in doubt there.
    pub(super) in_doubt: Option<bool>,
}

/// A server; dropping it ends its probes and its link.
pub(super) struct ServerHandle {
    pub(super) address: Arc<str>,
    /// Tells servers apart that have the same slot one after the other.
    pub(super) generation: u64,
    /// Asks for a probe now.
    pub(super) nudge: Arc<Notify>,
    pub(super) link: Option<LinkHandle>,
    /// The other server that speaks for this one's directory, if there is one: then this one gets
    /// no files.
    pub(super) twice: Option<Twice>,
    /// The identity of the directory that registered at this address, if a server did: who answers
    /// with another one gets no files.
    pub(super) expected: Option<Arc<str>>,
    /// Who answers there in place of that directory, if somebody does.
    pub(super) another: Option<Speaker>,
    /// What the fleet was told of it last.
    pub(super) told: ToldOfServer,
    pub(super) _probes: DropGuard,
}

/// All servers, by slot.
#[derive(Default)]
pub(super) struct Servers {
    by_slot: Slots<ServerHandle>,
}

impl Servers {
    pub(super) fn insert(&mut self, slot: Slot, server: ServerHandle) {
        self.by_slot.insert(slot, server);
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.by_slot.remove(slot);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&ServerHandle> {
        self.by_slot.get(slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut ServerHandle> {
        self.by_slot.get_mut(slot)
    }

    pub(super) fn address(&self, slot: Slot) -> Arc<str> {
        self.get(slot)
            .map_or_else(|| "".into(), |server| server.address.clone())
    }

    /// The server's present link. A server's report over a link may be answered over that link only:
    /// over the next one the server lists its files again, and its directory may be another by then.
    pub(super) fn link(&self, slot: Slot) -> Option<LinkId> {
        let epoch = self.get(slot)?.link.as_ref()?.epoch;
        Some(LinkId { slot, epoch })
    }

    /// The identity of the directory at the other end of the server's present link.
    pub(super) fn identity(&self, slot: Slot) -> Option<Arc<str>> {
        self.get(slot)?.link.as_ref()?.identity.clone()
    }

    /// Sends something over the server's present link. If that has ended, a message that says so is
    /// on its way to the hub.
    pub(super) fn send(&self, slot: Slot, what: ToServer) {
        let Some(link) = self.get(slot).and_then(|server| server.link.as_ref()) else {
            return;
        };
        // A server without an identity keeps no index, and may not know the other messages.
        if link.identity.is_some() || matches!(what, ToServer::Parcel(_)) {
            let _ = link.to_server.send(what);
        }
    }

    /// Sends an answer over the link on which the server reported, if that is still its present
    /// one.
    pub(super) fn send_over(&self, link: LinkId, what: ToServer) {
        if self.link(link.slot) == Some(link) {
            self.send(link.slot, what);
        }
    }
}
