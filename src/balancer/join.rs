//! Who may register as a server of the balancer, and what everybody who tries shares.

use tokio::sync::Semaphore;

use crate::fleet::Fleet;
use crate::secret::Secret;

/// Who may register as a server of the balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Join {
    /// Nobody.
    #[default]
    None,
    /// Servers on this machine.
    Loopback,
    /// Whoever proves that they know this.
    Secret(Secret),
    /// Whoever answers, at the address that the registration comes from, with the certificate of a
    /// server of the balancer's cluster.
    Certificate,
}

impl Join {
    /// Whether anybody may.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The most registrations that are under way at once: each is a peer that nobody knows yet.
const UNDER_WAY: usize = 1024;

/// What all who want to join share.
pub(super) struct Joining {
    pub(super) fleet: Fleet,
    pub(super) join: Join,
    pub(super) places: Semaphore,
}

impl Joining {
    pub(super) fn new(fleet: Fleet, join: Join) -> Self {
        Self {
            fleet,
            join,
            places: Semaphore::new(UNDER_WAY),
        }
    }
}
