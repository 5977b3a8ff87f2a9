//! A member, the servers that it has in the balancer, and its registration.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::layers::{Heard, Layers};
use super::registration::{LeaseId, Seen};
use crate::fleet::identity::Identity;
use crate::fleet::report::MemberState;
use crate::fleet::told::{Source, Trust};

/// Names a member inside the registry, whatever becomes of its identity.
pub(super) type Key = u64;

/// The most identities of one member beside the one that it is known by.
pub(super) const MAX_ALSO: usize = 8;

/// The most former addresses of one member at which something may be in doubt.
pub(super) const MAX_FORMER: usize = 64;

/// The most members that have registered from one address without a proof, and were never found.
pub(super) const MAX_UNPROVEN: usize = 16;

/// Words after which a member that is known by claims is kept as long as any.
pub(super) const WORDS_TO_STAY: u8 = 3;

/// A member.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(super) struct Member {
    /// The strongest identity that is known.
    pub(super) id: Identity,
    /// Its other identities. Those of its servers' addresses are the table's.
    pub(super) also: BTreeSet<Identity>,
    pub(super) name: Option<Arc<str>>,
    /// How far its name can be believed.
    pub(super) named: Trust,
    pub(super) source: Source,
    pub(super) host: Option<IpAddr>,
    pub(super) protected: bool,
    pub(super) ticket: Option<Arc<str>>,
    /// Its servers in the balancer.
    pub(super) services: BTreeSet<Arc<str>>,
    /// It has registered, now or before.
    pub(super) lease: Option<Lease>,
    /// Another live server with the same directory.
    pub(super) contender: Option<Contender>,
    /// It said that it leaves, or is sent away.
    pub(super) parting: Option<Parting>,
    pub(super) layers: Layers,
    /// How far it was believed when this was last told, before a restart if not since.
    pub(super) believed: Trust,
    pub(super) state: MemberState,
    pub(super) reason: Option<Arc<str>>,
    pub(super) since: Duration,
    /// For how long it was silent before `since`, in earlier runs of the balancer.
    pub(super) silent: Duration,
    /// It counts toward the bound on claims.
    pub(super) is_claim: bool,
    /// It is known by claims only, and has said enough to be kept as long as any.
    pub(super) has_said_enough: bool,
    /// Its lease was alive when many ended together.
    pub(super) is_counted: bool,
    /// When it is to be looked at.
    pub(super) look_at: Option<Duration>,
}

impl Member {
    /// What it is called.
    pub(super) fn name(&self) -> Arc<str> {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let registered = self.lease.as_ref().map(|lease| &lease.address);
        match (self.services.first().or(registered), &self.id) {
            (Some(address), _) => address.clone(),
            // Its user, as operators know it.
            (None, Identity::Agent(user)) => user.clone(),
            (None, id) => id.to_string().into(),
        }
    }

    /// The best trust with which something was told since the start. What anybody could have said
    /// counts for nothing about a member that was known better before.
    pub(super) fn best(&self) -> Option<Trust> {
        let best = self.layers.best()?;
        (best > Trust::Claimed || self.believed == Trust::Claimed).then_some(best)
    }

    /// When something was told with that trust.
    pub(super) fn heard(&self) -> Option<Heard> {
        self.best().and_then(|_| self.layers.heard())
    }

    /// How far it is believed, now or before.
    pub(super) fn trust(&self) -> Trust {
        self.best()
            .map_or(self.believed, |best| best.max(self.believed))
    }

    /// Anybody could have made it up: it is not worth a notice.
    pub(super) fn is_made_up(&self) -> bool {
        self.is_claim || self.is_unproven()
    }

    /// It has registered without a proof, and was never found.
    pub(super) fn is_unproven(&self) -> bool {
        (self.lease.as_ref()).is_some_and(Lease::is_claim) && self.trust() == Trust::Claimed
    }

    /// It said that it leaves.
    pub(super) fn has_left(&self) -> bool {
        self.parts_as(Kind::Left)
    }

    /// An operator removed it.
    pub(super) fn is_barred(&self) -> bool {
        self.parts_as(Kind::Barred)
    }

    /// Until when it is active by its registration, if nothing happens. All that happens to it is
    /// looked at when it does.
    pub(super) fn active_until(&self) -> Option<Duration> {
        let lease = self.lease.as_ref().filter(|lease| lease.is_alive())?;
        let is_so = self.state == MemberState::Active && self.contender.is_none();
        is_so.then(|| lease.late())
    }

    fn parts_as(&self, kind: Kind) -> bool {
        (self.parting.as_ref()).is_some_and(|parting| parting.kind == kind)
    }
}

/// Why a member's servers are to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parting {
    pub(super) reason: Arc<str>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It said so.
    Left,
    /// An operator removed it: it stays away until it is ordered back.
    Barred,
    /// It was silent for too long, or an operator said so: it is forgotten once it is removed.
    Forgotten,
}

/// A registration that counts.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// `None`: from an earlier run of the balancer.
    pub(super) id: Option<LeaseId>,
    /// The address that it is to have.
    pub(super) address: Arc<str>,
    /// Another address of the same process.
    pub(super) also_at: Option<Arc<str>>,
    pub(super) weight: u32,
    pub(super) instance: Option<Arc<str>>,
    pub(super) lasts: Duration,
    pub(super) heard: Duration,
    /// When it expired, if it has.
    pub(super) expired: Option<Duration>,
    /// It was proved that it may register.
    pub(super) is_proved: bool,
    /// A probe found it at its address since it registered.
    pub(super) was_found: bool,
    pub(super) seen: Seen,
}

impl Lease {
    /// Nothing proves it, and no probe has found it yet.
    pub(super) fn is_claim(&self) -> bool {
        !self.is_proved && !self.was_found
    }

    /// How far what its server tells is believed.
    pub(super) fn trust(&self) -> Trust {
        if self.is_claim() {
            Trust::Claimed
        } else {
            Trust::Proved
        }
    }

    /// From here on a word of it is overdue.
    pub(super) fn late(&self) -> Duration {
        self.heard + self.lasts / 2
    }

    /// Whether it counts: its connection is there, and it speaks.
    pub(super) fn is_alive(&self) -> bool {
        self.id.is_some() && self.expired.is_none()
    }
}

/// A registration of another server with the same directory.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    pub(super) id: LeaseId,
    pub(super) address: Arc<str>,
    pub(super) weight: u32,
    pub(super) instance: Option<Arc<str>>,
    pub(super) is_proved: bool,
    pub(super) lasts: Duration,
    pub(super) heard: Duration,
    /// The first server has spoken since: both are there.
    pub(super) is_copy: bool,
    pub(super) seen: Seen,
}

/// A server that the balancer has, or is to have, at this address.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(super) struct Service {
    pub(super) owner: Key,
    /// The weight in the configuration.
    pub(super) configured: Option<u32>,
    /// The weight in an operator's order.
    pub(super) ordered: Option<u32>,
    /// What registrations want here.
    pub(super) wanted: Option<Wanted>,
    /// What the driver was told.
    pub(super) told: Option<Told>,
    /// The driver is to forget it, and has not said that it did.
    pub(super) is_removing: bool,
    /// The balancer may know it: from an earlier run, or because the driver was told.
    pub(super) may_be_known: bool,
    pub(super) found: Found,
    /// Since when it is found so.
    pub(super) found_since: Duration,
    /// Another directory than its owner's answers here.
    pub(super) is_other: bool,
    /// The driver was told that the server which was here is at this address now.
    pub(super) moved_to: Option<Arc<str>>,
    /// The driver could not add it. It is tried again when there may be room, or when it registers
    /// again.
    pub(super) is_refused: bool,
    /// A file may be in flight to it or in doubt there.
    pub(super) in_doubt: bool,
    /// When this version of the registry is kept, the driver may be told.
    pub(super) version: u64,
}

/// What registrations want at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) weight: u32,
    /// It is to be removed once nothing is in doubt, for this reason.
    pub(super) retiring: Option<Arc<str>>,
}

/// What the driver was told of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// `None`: the configuration or an order has it, or it is to be told again.
    pub(super) weight: Option<u32>,
    /// The directory that is to answer there.
    pub(super) directory: Option<Arc<str>>,
    pub(super) is_drained: bool,
}

/// What probes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    NotYet,
    Up,
    Unfit(Arc<str>),
    Down(Arc<str>),
}

impl Service {
    pub(super) fn new(owner: Key, now: Duration) -> Self {
        Self {
            owner,
            configured: None,
            ordered: None,
            wanted: None,
            told: None,
            is_removing: false,
            may_be_known: false,
            found: Found::NotYet,
            found_since: now,
            is_other: false,
            moved_to: None,
            is_refused: false,
            in_doubt: true,
            version: 0,
        }
    }

    /// The configuration or an order has it: the registry neither adds nor removes it.
    pub(super) fn is_given(&self) -> bool {
        self.configured.is_some() || self.ordered.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.found, Found::Up | Found::Unfit(_))
    }

    /// Whoever has registered here, or is configured, is found here.
    pub(super) fn is_found(&self) -> bool {
        self.is_up() && !self.is_other
    }

    /// The driver may be able to add it by now.
    pub(super) fn try_again(&mut self) {
        if std::mem::take(&mut self.is_refused) {
            self.in_doubt = true;
        }
    }

    /// It is to be removed once nothing is in doubt.
    pub(super) fn is_retiring(&self) -> bool {
        (self.wanted.as_ref()).is_some_and(|wanted| wanted.retiring.is_some())
    }

    /// A registration is to have it.
    pub(super) fn is_target(&self) -> bool {
        (self.wanted.as_ref()).is_some_and(|wanted| wanted.retiring.is_none())
    }

    /// Nothing holds it here any more.
    pub(super) fn is_over(&self) -> bool {
        !self.is_given() && self.wanted.is_none() && !self.is_removing
    }
}

/// Whether members are kept because many leases ended together.
#[derive(Debug, Default)]
pub(super) struct Preserve {
    /// How many members of those that were there then are still counted.
    pub(super) counted: usize,
    pub(super) is_on: bool,
    /// A lease has ended since it was looked at.
    pub(super) has_lost: bool,
}

impl Preserve {
    /// A member that was counted left, or is forgotten.
    pub(super) fn uncount(&mut self, was_counted: bool) {
        self.counted -= usize::from(was_counted);
    }
}
