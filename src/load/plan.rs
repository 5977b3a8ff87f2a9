//! What is sent, how much of it, and how fast.

use std::time::Duration;

use super::rate::Rate;
use super::sizes::{Contents, Mix};
use super::slots::MAX_SLOTS;
use crate::client::Wait;

/// The most files that may be under way in the open loop, over all connections. A balancer that is
/// so far behind is not going to keep up.
pub const OPEN_LOOP_MOST: u32 = 1 << 18;

/// How many slots a connection of the open loop starts with.
const PREPARED: u32 = 1024;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// After so many files.
    Files(u64),
    /// When files were sent for so long.
    Time(Duration),
}

/// What makes the next file go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// The end of another one: each connection has so many under way.
    Closed(u32),
    /// The clock.
    Open(Rate),
}

/// What is sent, how much of it, and how fast.
pub struct Plan {
    /// What ends a file.
    pub wait: Wait,
    /// What ends the run.
    pub amount: Amount,
    /// How many files are sent before those that count.
    pub warm_up: u64,
    /// How many connections they go over.
    pub connections: u64,
    /// What makes the next one go out.
    pub load: Load,
    /// The sizes.
    pub mix: Mix,
    /// The content of each size.
    pub contents: Contents,
    /// What titles begin with; the place of the file follows.
    pub title_prefix: String,
    /// What keys begin with, if files have keys; the place of the file follows.
    pub key_prefix: Option<String>,
    /// Decides which file has which size.
    pub seed: u64,
}

impl Plan {
    /// How many files there are in all, unless that depends on how fast they go.
    pub fn total(&self) -> Option<u64> {
        let counted = match (self.amount, self.load) {
            (Amount::Files(files), _) => files,
            (Amount::Time(length), Load::Open(rate)) => rate.files_in(length),
            (Amount::Time(_), Load::Closed(_)) => return None,
        };
        Some(counted.saturating_add(self.warm_up))
    }

    /// Whether the file in this place counts.
    pub fn counts(&self, file: u64) -> bool {
        file >= self.warm_up
    }

    /// How many files may be under way on one connection.
    pub fn most_under_way(&self) -> u32 {
        match self.load {
            Load::Closed(in_flight) => in_flight.min(MAX_SLOTS),
            Load::Open(_) => {
                u32::try_from(u64::from(OPEN_LOOP_MOST).div_ceil(self.connections.max(1)))
                    .unwrap_or(1)
            }
        }
    }

    /// How many slots a connection starts with.
    pub(super) fn prepared(&self) -> u32 {
        if matches!(self.load, Load::Open(_)) {
            PREPARED
        } else {
            self.most_under_way()
        }
    }
}
