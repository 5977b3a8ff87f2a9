//! Why a connection cannot go on.

use std::io;
use std::time::Duration;

use crate::tls::HandshakeError;
use bilico_core::protocol::json::JsonError;
use bilico_core::protocol::{ProtocolError, Refusal, RefusalCode};

/// Why nothing more can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer stopped in the middle of a message.
    #[error("stalled: no progress in the middle of a message for {0:?}")]
    Stalled(Duration),
    /// The peer sent nothing for too long.
    #[error("silent for {0:?}")]
    Idle(Duration),
    /// The peer broke the native protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer broke the rules of the JSON doorway.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The connection did not become secure.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// The peer speaks TLS to a port that does not.
    #[error(
        "TLS came, and tls is off here: switch it on (docs/tls.md says how), or have the peer use none"
    )]
    TlsIsOff,
    /// The peer speaks a protocol of others, and was told so in it.
    #[error("{0} came, and this port does not speak it: the peer was told where to go")]
    Foreign(&'static str),
    /// There is no memory for content of this size.
    #[error("no memory for content of {0} bytes")]
    Memory(u64),
    /// A newer connection goes on with the file that came over this one.
    #[error("the file comes over another connection")]
    TakenOver,
    /// A large file came too slowly for those that waited for what it held, or it would have to
    /// wait while this side stops.
    #[error("others wait, and the file comes too slowly: connect again to go on with it")]
    GaveWay,
    /// More content of a refused file is still to come than is read past.
    #[error("{0} bytes of a refused file still come, and are not read: connect again for others")]
    NotRead(u64),
    /// The connection was idle, and a new one needed its place.
    #[error("all places are taken, and this connection had nothing under way")]
    Crowded,
    /// The file cannot be taken, which turned out while it came.
    #[error("{}", .0.reason)]
    Refused(Refusal),
}

impl ReadError {
    /// What to tell the peer, if it can still hear.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Protocol(error) => error.refusal(),
            Self::Memory(_) => Refusal::new(RefusalCode::Busy, self.to_string()),
            // The peer can connect anew.
            Self::TakenOver | Self::GaveWay | Self::Crowded | Self::NotRead(_) => {
                Refusal::new(RefusalCode::Stopping, self.to_string())
            }
            Self::Refused(refusal) => refusal.clone(),
            _ => Refusal::new(RefusalCode::Malformed, self.to_string()),
        }
    }
}

/// Why nothing more can be written to a connection.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer reads nothing.
    #[error("the peer read nothing for {0:?}")]
    Stalled(Duration),
}

/// An error in the system's words but without its number, for people to read.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
