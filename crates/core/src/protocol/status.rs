//! A balancer's report on itself: the JSON content of the answer to a status request.

use serde::{Deserialize, Serialize};

/// A balancer's report on itself. Unknown fields are ignored, so that later versions can add some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Seconds since the balancer started.
    pub uptime_s: f64,
    /// Files accepted since then.
    pub accepted: u64,
    /// Files delivered since then.
    pub delivered: u64,
    /// Bytes of content of the accepted files.
    #[serde(default)]
    pub accepted_bytes: u64,
    /// Bytes of content of the delivered files.
    #[serde(default)]
    pub delivered_bytes: u64,
    /// Why the balancer accepts no files, if it accepts none.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The files that wait.
    pub queue: QueueReport,
    /// The servers, in the order in which they were named.
    pub servers: Vec<ServerReport>,
}

/// The files that wait in a balancer, and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Files that can go to a server now.
    pub ready: usize,
    /// Files that wait until they may be tried again.
    pub delayed: usize,
    /// Files that were sent to a server that has not acknowledged them yet.
    pub in_flight: usize,
    /// Bytes of content of all of them.
    pub bytes: u64,
    /// Seconds since the oldest of them was accepted.
    pub oldest_s: Option<f64>,
    /// Files that no server can take.
    #[serde(default)]
    pub dead: usize,
    /// The most files that may wait.
    #[serde(default)]
    pub max_files: usize,
    /// The most bytes that may wait, including what each file costs beside its content.
    #[serde(default)]
    pub max_bytes: u64,
}

impl QueueReport {
    /// All files that are accepted and not delivered.
    pub fn files(&self) -> usize {
        self.ready + self.delayed + self.in_flight
    }
}

/// The memory of a server's process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The resident memory.
    pub used: u64,
    /// The limit above which the server is overloaded.
    pub limit: u64,
}

/// The protocol that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// The native protocol.
    Native,
    /// The protocol of the first system of this kind.
    OldStyle,
}

/// The state of a server in a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// It gets files.
    Up,
    /// Its window is full: it gets the next file when it has acknowledged one.
    Full,
    /// It does not answer probes, or failed in the middle of something.
    Down,
    /// It answers probes; the connection for files is not open.
    Connecting,
    /// Its overload byte is 1.
    Overloaded,
    /// It gets no files for a while, because it refused some for a cause of its own or acknowledged
    /// none; or another name leads to the same server, and gets its files.
    Paused,
    /// An operator drained it, or its weight is 0.
    Drained,
    /// An operator removed it; it is forgotten once no file is in flight to it.
    Removing,
}

impl ServerState {
    /// The state's name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Full => "full",
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Overloaded => "overloaded",
            Self::Paused => "paused",
            Self::Drained => "drained",
            Self::Removing => "removing",
        }
    }
}

/// The state of one server, as a balancer sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub struct ServerReport {
    /// The server's name: its address as it was given.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// The protocol that it speaks; `None` before the first answer.
    pub dialect: Option<Dialect>,
    /// Whether it may get files now.
    pub eligible: bool,
    /// Its state in a word.
    #[serde(default)]
    pub state: ServerState,
    /// The fact that keeps it from getting files, if any: `drain`, `connection`, `trust`,
    /// `identity`, `link`, `load` or `storage`.
    #[serde(default)]
    pub fact: Option<String>,
    /// The fact and the reason in words, if it may get no files.
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
    /// Whether an operator drained it.
    #[serde(default)]
    pub drained: bool,
    /// Whether an operator removed it; it is forgotten once no file is in flight to it.
    #[serde(default)]
    pub removing: bool,
    /// The memory of its process at the last probe; an old-style server does not say.
    #[serde(default, deserialize_with = "super::object::nested")]
    pub memory: Option<Memory>,
    /// How long the last probe took, in milliseconds, if it was answered.
    #[serde(default)]
    pub probe_ms: Option<f64>,
    /// The most files in flight to it.
    #[serde(default)]
    pub window_files: usize,
    /// The most bytes in flight to it; a file counts as a quarter of them at most.
    #[serde(default)]
    pub window_bytes: u64,
}

impl ServerReport {
    /// Whether it gets files: now, or as soon as its full window has room. A full window is not
    /// trouble.
    pub fn is_in_service(&self) -> bool {
        matches!(self.state, ServerState::Up | ServerState::Full)
    }
}
