//! Which signed datagrams are new: none is taken twice in a run of the balancer.
//!
//! What was taken is known in memory only. Once the balancer has started again, datagrams that
//! somebody has heard in the last two minutes could be taken once more.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::access::users::TokenId;
use crate::doors::refused::Refused;
use crate::fleet::datagram::Datagram;

/// The most that an agent's clock may differ from ours, in seconds.
const CLOCK: f64 = 120.0;

/// An agent of the same token has sent something later: it was started again, or there are two.
pub(super) const OLDER_RUN: Refused = Refused("older than another run's");

/// The runs of agents whose datagrams could be sent again by somebody who has heard them.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<TokenId, Run>);

#[derive(Debug)]
struct Run {
    boot: Box<str>,
    seq: u64,
    /// The latest time that was told.
    time: f64,
}

impl Runs {
    /// Whether a datagram is new. Whose it is was proven before.
    pub(super) fn check(&mut self, datagram: &Datagram) -> Result<(), Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.check_at(datagram, now.map_or(0.0, |now| now.as_secs_f64()))
    }

    fn check_at(&mut self, datagram: &Datagram, now: f64) -> Result<(), Refused> {
        if (now - datagram.time).abs() > CLOCK {
            return Err(Refused("its time differs by more than 2 minutes"));
        }
        // A clock that is set back within a run makes nothing new that was sent before.
        let mut time = datagram.time;
        if let Some(run) = self.0.get(&datagram.token) {
            if *run.boot == *datagram.boot {
                if datagram.seq <= run.seq {
                    return Err(Refused("an old one again"));
                }
                time = time.max(run.time);
            } else if datagram.time <= run.time {
                // Another run has numbers of its own.
                return Err(OLDER_RUN);
            }
        } else {
            // The datagrams of those who were silent for so long are too old by now.
            self.0.retain(|_, run| now - run.time <= 2.0 * CLOCK);
        }
        let run = Run {
            boot: datagram.boot.as_str().into(),
            seq: datagram.seq,
            time,
        };
        self.0.insert(datagram.token.clone(), run);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_core::Facts;

    #[test]
    fn nothing_is_taken_twice_and_runs_follow_each_other() {
        let mut runs = Runs::default();
        let mut is_taken = |token: &str, boot: &str, seq, time| {
            let datagram = Datagram {
                v: 1,
                token: token.parse().unwrap(),
                boot: boot.to_owned(),
                seq,
                time,
                every_s: 5.0,
                facts: Facts::default(),
            };
            runs.check_at(&datagram, 1000.0).is_ok()
        };
        assert!(is_taken("aaaaaaaa", "x", 1, 1000.0));
        assert!(!is_taken("aaaaaaaa", "x", 1, 1000.0));
        assert!(!is_taken("aaaaaaaa", "x", 0, 1001.0));
        assert!(is_taken("aaaaaaaa", "x", 5, 1001.0));
        // Two came in another order.
        assert!(!is_taken("aaaaaaaa", "x", 4, 1000.5));
        // A restart, and then what was heard of the run before it.
        assert!(is_taken("aaaaaaaa", "y", 1, 1002.0));
        assert!(!is_taken("aaaaaaaa", "x", 6, 1001.5));
        // Its clock is set back by a minute: what was heard before that stays old.
        assert!(is_taken("aaaaaaaa", "y", 2, 942.0));
        assert!(!is_taken("aaaaaaaa", "x", 7, 1001.0));
        assert!(is_taken("aaaaaaaa", "y", 3, 943.0));
        assert!(!is_taken("aaaaaaaa", "x", 7, 1001.0));
        // Of others nothing follows.
        assert!(is_taken("bbbbbbbb", "x", 1, 1000.0));
        for time in [879.0, 1121.0] {
            assert!(!is_taken("bbbbbbbb", "z", 9, time));
        }
        assert!(is_taken("cccccccc", "x", 1, 881.0));
        assert!(is_taken("dddddddd", "x", 1, 1119.0));
    }
}
