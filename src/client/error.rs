//! What can go wrong between a client and its balancer.

use std::io;

use crate::protocol::{ProtocolError, Refusal};
use crate::transport::{ReadError, WriteError};

/// Why the client cannot talk to a balancer, or no longer can.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot reach the balancer at {address}: {source}")]
    Connect {
        /// The balancer's address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The balancer wants to know who sends.
    #[error("the balancer at {0} wants a token")]
    WantsToken(String),
    /// The balancer does not let this client in.
    #[error("the balancer refuses: {}", .0.reason)]
    Denied(Refusal),
    /// Others could hear a secret.
    #[error("the connection to {0} is plain text, so nothing secret was sent over it")]
    PlainText(String),
    /// The peer does not greet as a balancer does.
    #[error("the process at {address} is not a Bilico balancer: {reason}")]
    NotABalancer {
        /// The address.
        address: String,
        /// What came instead of the greeting.
        reason: String,
        /// Whether it fell silent or is stopping, as a balancer does while it is restarted.
        may_pass: bool,
    },
    /// The balancer ended the connection because of what this client sent, and said why.
    #[error("the balancer closed the connection: {0}")]
    Closed(String),
    /// The balancer ended the connection because it was stopped.
    #[error("the balancer closed the connection: {0}")]
    Stopped(String),
    /// The balancer's bytes break the protocol.
    #[error("the balancer does not follow the protocol: {0}")]
    Nonsense(ProtocolError),
    /// The connection was lost.
    #[error("the connection to the balancer was lost: {0}")]
    Lost(String),
}

impl ClientError {
    /// Whether another connection, a little later, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Stopped(_) | Self::Lost(_) => true,
            Self::NotABalancer { may_pass, .. } => *may_pass,
            Self::WantsToken(_)
            | Self::Denied(_)
            | Self::PlainText(_)
            | Self::Closed(_)
            | Self::Nonsense(_) => false,
        }
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Protocol(error) if !is_cut(&error) => Self::Nonsense(error),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<WriteError> for ClientError {
    fn from(error: WriteError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Whether the bytes are right as far as they came.
fn is_cut(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::Truncated { .. })
}
