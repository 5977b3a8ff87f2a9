//! The bounds and times of the registry.

use std::time::Duration;

/// The most members of a fleet.
pub const MAX_MEMBERS: usize = 10_000;

/// The most members that are known by claims only. They never take the place of another one.
pub const MAX_CLAIMED: usize = 1_024;

/// How long a word of a registered server counts.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// Words in a lease: a server is to beat this often while one lasts.
pub const BEATS_IN_LEASE: u32 = 3;

/// How long a member that is not heard of is kept.
pub const DEFAULT_FORGET_AFTER: Duration = Duration::from_hours(24);

/// The bounds and times of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The most members.
    pub members: usize,
    /// The most of them that are known by claims only.
    pub claimed: usize,
    /// How long a member that is not heard of is kept; `None`: for ever.
    pub forget_after: Option<Duration>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            members: MAX_MEMBERS,
            claimed: MAX_CLAIMED,
            forget_after: Some(DEFAULT_FORGET_AFTER),
        }
    }
}
