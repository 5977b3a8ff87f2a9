//! What came in at the doorways of the fleet, and what was refused there for which reason.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A doorway of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DoorName {
    /// Registrations and agents at the clients' port.
    Join,
    /// Datagrams.
    Udp,
    /// Tokens, WebSocket and `POST /ingest`.
    Http,
    /// Announcements of the first system's servers.
    Announce,
    /// The list and choice of a server of the first system's clients.
    Pick,
    /// The first system's health checker.
    Checker,
}

impl DoorName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Join,
        Self::Udp,
        Self::Http,
        Self::Announce,
        Self::Pick,
        Self::Checker,
    ];

    /// Its name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Announce => "announce",
            Self::Pick => "pick",
            Self::Checker => "checker",
        }
    }
}

/// How often a reason of a doorway is told in the log.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// What came in at one doorway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages that were taken.
    pub taken: u64,
    /// Messages that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Counts what comes in at all doorways.
#[derive(Debug, Default)]
pub struct Doors(Mutex<BTreeMap<DoorName, Door>>);

#[derive(Debug, Default)]
struct Door {
    count: Count,
    told: BTreeMap<&'static str, Instant>,
}

impl Doors {
    /// A message was taken.
    pub fn took(&self, door: DoorName) {
        self.with(door, |door| door.count.taken += 1);
    }

    /// A message was refused. The reasons are few and fixed; what a peer has sent is no reason. The
    /// first of a minute is told in the log.
    pub fn refused(&self, door: DoorName, reason: &'static str, peer: &dyn Display) {
        let now = Instant::now();
        let is_told = self.with(door, |door| {
            *door.count.refused.entry(reason).or_default() += 1;
            let is_due = door
                .told
                .get(reason)
                .is_none_or(|told| now.duration_since(*told) >= TOLD_EVERY);
            if is_due {
                door.told.insert(reason, now);
            }
            is_due
        });
        if is_told {
            let door = door.name();
            tracing::warn!(door, peer = %peer, reason, "a message to the fleet was refused");
        }
    }

    /// So many messages were lost before anybody could look at them.
    pub fn refused_many(&self, door: DoorName, reason: &'static str, count: u64) {
        if count > 0 {
            self.refused(door, reason, &format_args!("{count} of all"));
            self.with(door, |door| {
                *door.count.refused.entry(reason).or_default() += count - 1;
            });
        }
    }

    /// What came in so far, by doorway.
    pub fn counts(&self) -> BTreeMap<DoorName, Count> {
        let doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = doors.iter().map(|(name, door)| (*name, door.count.clone()));
        counts.collect()
    }

    fn with<T>(&self, door: DoorName, change: impl FnOnce(&mut Door) -> T) -> T {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(doors.entry(door).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_counted_by_reason() {
        let doors = Doors::default();
        doors.took(DoorName::Udp);
        for reason in ["too long", "no JSON", "too long"] {
            doors.refused(DoorName::Udp, reason, &"127.0.0.1:5");
        }
        doors.refused_many(DoorName::Udp, "no JSON", 0);
        doors.refused_many(DoorName::Udp, "no JSON", 4);
        let counts = doors.counts();
        let udp = &counts[&DoorName::Udp];
        assert_eq!(udp.taken, 1);
        assert_eq!(
            udp.refused,
            BTreeMap::from([("no JSON", 5), ("too long", 2)])
        );
    }
}
