//! How long a peer of the admin listener can make it wait.

use std::time::Duration;

/// Bounds on the waits of an admin listener; tests pass shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct AdminLimits {
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

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
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
