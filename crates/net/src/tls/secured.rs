//! What a handshake has settled.

use rustls::{CommonState, ProtocolVersion};

use super::certificate::Certificate;
use super::identity::{Identity, IdentityError};

/// What a handshake has settled.
#[derive(Debug, Clone)]
pub struct Secured {
    /// The version of TLS.
    pub version: &'static str,
    /// The suite, by its name in the standard.
    pub suite: &'static str,
    /// The group of the key exchange.
    pub group: String,
    /// The protocol inside, if the client asked for one.
    pub protocol: Option<String>,
    /// The verified certificate of the peer, if it has shown one.
    pub peer: Option<Certificate>,
}

impl Secured {
    pub(super) fn of(state: &CommonState) -> Result<Self, IdentityError> {
        let leaf = state.peer_certificates().and_then(<[_]>::first);
        let suite = state.negotiated_cipher_suite();
        let group = state.negotiated_key_exchange_group();
        Ok(Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "unknown",
            },
            suite: suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            group: group.map_or_else(
                || "resumed".to_owned(),
                |group| format!("{:?}", group.name()),
            ),
            protocol: state
                .alpn_protocol()
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            peer: leaf.map(Certificate::read).transpose()?,
        })
    }

    /// Who the peer is; an error if it has shown no certificate, or not one of a cluster.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let peer = self.peer.as_ref().ok_or(IdentityError::None)?;
        peer.identity_now()
    }
}
