//! A balancer's report on itself: the JSON content of the answer to a status request.

use serde::{Deserialize, Serialize};

/// What a balancer says of itself. Unknown fields are ignored, so that later versions can add some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Seconds since the balancer started.
    pub uptime_s: f64,
    /// Files accepted since then.
    pub accepted: u64,
    /// Files delivered since then.
    pub delivered: u64,
    /// What waits.
    pub queue: QueueReport,
    /// The servers, in the order in which they were named.
    pub servers: Vec<ServerReport>,
}

/// What waits in a balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Files that can go to a server now.
    pub ready: usize,
    /// Files that wait for a time to try again.
    pub delayed: usize,
    /// Files that are with a server, not acknowledged yet.
    pub in_flight: usize,
    /// Bytes of content of all of them.
    pub bytes: u64,
    /// Seconds since the oldest of them was accepted.
    pub oldest_s: Option<f64>,
    /// Files that no server can take.
    #[serde(default)]
    pub dead: usize,
}

impl QueueReport {
    /// All files that are accepted and not delivered.
    pub fn files(&self) -> usize {
        self.ready + self.delayed + self.in_flight
    }
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Our protocol.
    Native,
    /// That of the first system of this kind.
    OldStyle,
}

/// The state of one server, as a balancer sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// The server's name: its address as it was given.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// What it speaks, once that is known.
    pub dialect: Option<Dialect>,
    /// Whether it may get files now.
    pub eligible: bool,
    /// Why it may not: the fact and the reason.
    pub reason: Option<String>,
    /// Seconds since its health last changed.
    pub since_s: f64,
    /// Its overload byte at the last probe.
    pub overloaded: bool,
    /// Files sent to it and not acknowledged yet.
    pub in_flight: usize,
    /// Bytes of content of those.
    pub in_flight_bytes: u64,
    /// Files that it stored.
    pub delivered: u64,
    /// Bytes of content of those.
    pub delivered_bytes: u64,
    /// Files that it refused, or that came back because it failed.
    pub returned: u64,
}
