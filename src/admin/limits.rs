//! How many peers a listener for operators has, and how long they can make it wait.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// The most connections at once, or an eighth of what the process may open if that is less. When
/// all are taken, silent and idle ones make way.
pub const MAX_CONNECTIONS: usize = 2048;

/// The most connections at once where the process may open few files.
pub fn max_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 8)
        .unwrap_or(MAX_CONNECTIONS)
        .clamp(16, MAX_CONNECTIONS)
}

/// The most connections of a listener that has only the metrics. Few programs read them.
pub const METRICS_CONNECTIONS: usize = 64;

/// Bounds of an admin listener; tests pass shorter waits.
#[derive(Debug, Clone, Copy)]
pub struct AdminLimits {
    /// The most connections at once.
    pub connections: usize,
    /// How long the head of a request may take, and the silence between two requests.
    pub head: Duration,
    /// How long the body of an API request may take.
    pub body: Duration,
    /// How long an API answer may take.
    pub answer: Duration,
    /// How long a peer may read nothing of what it is sent.
    pub write_stall: Duration,
    /// The time between two `state` events.
    pub tick: Duration,
    /// The time between two signs of life to those who listen to events.
    pub keep_alive: Duration,
    /// How long requests that are under way may go on once the listener is told to stop.
    pub grace: Duration,
}

impl AdminLimits {
    /// The bounds of a listener that has only the metrics.
    pub fn of_metrics() -> Self {
        Self {
            connections: METRICS_CONNECTIONS,
            ..Self::default()
        }
    }
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections: max_connections(),
            head: Duration::from_secs(20),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            write_stall: Duration::from_secs(30),
            tick: Duration::from_secs(1),
            keep_alive: Duration::from_secs(15),
            grace: Duration::from_secs(2),
        }
    }
}
