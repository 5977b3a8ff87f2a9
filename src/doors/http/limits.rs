//! What agents over HTTP can make the balancer keep and wait for.

use std::time::Duration;

/// The most connections at once, or an eighth of what the process may open if that is less.
pub const MAX_CONNECTIONS: usize = 1024;

/// The most WebSocket connections of one agent at once. The first system's agent has three.
pub(super) const MAX_OF_ONE: usize = 16;

/// The most clients that post without a token, by the name that they give themselves.
pub const MAX_CLAIMS: usize = 1024;

/// The largest message over WebSocket, and the largest body that is posted, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most messages in a row that are refused.
pub(super) const MAX_REFUSED: u32 = 100;

/// The waits at this doorway; tests pass shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// The most connections at once.
    pub connections: usize,
    /// How long the head of a request may take, and the silence between two requests.
    pub head: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// How long a WebSocket connection may be silent before it is asked for a sign of life. Nothing
    /// happens if there is none: old agents cannot give one.
    pub ping: Duration,
    /// How long no message may come over WebSocket; or three times as long as an agent says that it
    /// is silent, if that is more.
    pub idle: Duration,
    /// How long a peer may read nothing of what it has asked for.
    pub stall: Duration,
    /// How long connections may take to end.
    pub grace: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            head: Duration::from_secs(20),
            body: Duration::from_secs(10),
            ping: Duration::from_mins(1),
            idle: Duration::from_mins(5),
            stall: Duration::from_secs(10),
            grace: Duration::from_secs(2),
        }
    }
}
