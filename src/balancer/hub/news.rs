//! What operators were told of servers last: each state once, however many facts made it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::schedule::Trouble;

/// How long no server can take files before that is told: a server that comes back at once, and the
/// first probes after a start, alarm nobody.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// What was told.
#[derive(Debug)]
pub(super) struct News {
    /// By server: what keeps it from getting files, and since when. Servers that were never up are
    /// not here.
    pub(super) servers: BTreeMap<Arc<str>, Option<(Trouble, Duration)>>,
    /// No server can take files.
    pub(super) outage: Option<Outage>,
    /// Something about servers has changed since they were looked at.
    pub(super) is_stale: bool,
}

impl Default for News {
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            outage: None,
            is_stale: true,
        }
    }
}

/// A time in which no server can take files.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) since: Duration,
    pub(super) is_told: bool,
}

impl News {
    /// When an outage is to be told that goes on.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let outage = self.outage.as_ref().filter(|outage| !outage.is_told)?;
        Some(outage.since + GRACE)
    }
}
