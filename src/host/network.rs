//! Network rates, and whether the network is up.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::counters::{self, Network};

const COUNTERS: &str = "/proc/net/dev";
const INTERFACES: &str = "/sys/class/net";

/// Bits of an interface's flags: it was switched on; it is the loopback.
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;

/// What was counted last.
#[derive(Debug, Default)]
pub(super) struct Networks {
    counted: HashMap<String, Network>,
    /// The interface that was up last: one that is up is enough, and it is looked at first.
    was_up: Option<String>,
}

impl Networks {
    /// What all interfaces have counted since the last call; `None` if the kernel does not say.
    pub(super) fn count(&mut self) -> Option<Network> {
        let now = counters::networks(&fs::read_to_string(COUNTERS).ok()?);
        let earlier = std::mem::replace(&mut self.counted, now);
        Some(counters::since(&earlier, &self.counted))
    }

    /// Whether any interface but the loopback is up.
    pub(super) fn is_up(&mut self) -> Option<bool> {
        let dir = Path::new(INTERFACES);
        if self.counted.is_empty() || !dir.exists() {
            return None;
        }
        let is_up = |name: &String| is_up(&dir.join(name));
        if self.was_up.as_ref().is_some_and(is_up) {
            return Some(true);
        }
        self.was_up = self.counted.keys().find(|name| is_up(name)).cloned();
        Some(self.was_up.is_some())
    }
}

/// Tunnels and other interfaces without a carrier do not know whether they are up: they are if they
/// are switched on.
fn is_up(interface: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(interface.join(name)).unwrap_or_default();
    let flags = read("flags");
    let flags = flags.trim().trim_start_matches("0x");
    let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
    flags & LOOPBACK == 0
        && match read("operstate").trim() {
            "up" => true,
            "unknown" => flags & UP != 0,
            _ => false,
        }
}

/// The rates of what was counted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) received: Option<f32>,
    pub(super) sent: Option<f32>,
    pub(super) dropped: Option<f32>,
}

impl Rates {
    pub(super) fn of(counted: Network, over: Duration) -> Self {
        Self {
            received: counters::rate(counted.received, over),
            sent: counters::rate(counted.sent, over),
            dropped: counters::rate(counted.dropped, over),
        }
    }
}
