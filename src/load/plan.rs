//! The plan of a run: which files are sent, how many, and how fast.

use std::time::Duration;

use super::rate::Rate;
use super::sizes::{Contents, Mix};
use super::slots::MAX_SLOTS;
use crate::client::Wait;

/// Most files under way in the open loop, over all connections. A balancer that is this far behind
/// does not keep up with the rate.
pub const OPEN_LOOP_MOST: u32 = 1 << 18;

/// Slots of a connection in the open loop at its start.
const PREPARED: u32 = 1024;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// After this many files.
    Files(u64),
    /// After sending for this long.
    Time(Duration),
}

/// What triggers the next file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// The end of another file: each connection has this many under way.
    Closed(u32),
    /// The clock.
    Open(Rate),
}

/// The plan of a run.
pub struct Plan {
    /// The receipt that ends a file.
    pub wait: Wait,
    /// The end of the run.
    pub amount: Amount,
    /// How many files are sent first and do not count.
    pub warm_up: u64,
    /// How many connections are used.
    pub connections: u64,
    /// What triggers the next file.
    pub load: Load,
    /// Sizes of the files.
    pub mix: Mix,
    /// The content of each size.
    pub contents: Contents,
    /// Prefix of the titles; the index of the file follows.
    pub title_prefix: String,
    /// Prefix of the keys; the index of the file follows. `None`: files have no keys.
    pub key_prefix: Option<String>,
    /// Seed of the sizes.
    pub seed: u64,
}

impl Plan {
    /// Number of files, with the warm-up; `None` if it depends on the speed.
    pub fn total(&self) -> Option<u64> {
        let counted = match (self.amount, self.load) {
            (Amount::Files(files), _) => files,
            (Amount::Time(length), Load::Open(rate)) => rate.files_in(length),
            (Amount::Time(_), Load::Closed(_)) => return None,
        };
        Some(counted.saturating_add(self.warm_up))
    }

    /// Whether the file of this index counts, i.e. is not of the warm-up.
    pub fn counts(&self, file: u64) -> bool {
        file >= self.warm_up
    }

    /// Most files under way on one connection.
    pub fn most_under_way(&self) -> u32 {
        match self.load {
            Load::Closed(in_flight) => in_flight.min(MAX_SLOTS),
            Load::Open(_) => {
                u32::try_from(u64::from(OPEN_LOOP_MOST).div_ceil(self.connections.max(1)))
                    .unwrap_or(1)
            }
        }
    }

    /// Slots of a connection at its start.
    pub(super) fn prepared(&self) -> u32 {
        if matches!(self.load, Load::Open(_)) {
            PREPARED
        } else {
            self.most_under_way()
        }
    }
}
