//! TLS for connections, over any [`Stream`](crate::Stream).
//!
//! There are two legs. Clients come to a balancer by TLS 1.3 with any of its suites, and only the
//! balancer shows a certificate. Between balancers and file servers both show one of their cluster's
//! own authority, and the only suite is `TLS13_AES_256_GCM_SHA384`. Either prefers a key exchange
//! that a quantum computer cannot undo, X25519MLKEM768.
//!
//! `files` reads certificates and keys, `settings` makes rustls' configurations of them by the one
//! `provider`, [`Door`] lets connections in, and [`Secure`] makes them. An [`Identity`] is who a
//! verified certificate says its owner is. Once the handshake is over, a connection is a `session` over
//! a `wire`, which its task and a job that moves large content use in turn.
//!
//! Invariant: an identity comes only from a certificate that rustls has verified in this connection's
//! handshake or in the one that it resumes, and that is valid now.

mod ahead;
mod certificate;
mod connect;
mod door;
mod error;
mod files;
mod gauge;
mod identity;
mod look;
mod prefixed;
mod provider;
mod secured;
mod session;
mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod wire;
mod words;

pub use certificate::{Certificate, Fingerprint};
pub use connect::{Secure, host_of};
pub use door::{Arrived, Door, HANDSHAKE_TIMEOUT, Mode};
pub use error::{HandshakeError, TlsError};
pub use files::{Credentials, Files, read_authorities, read_chain, read_secret};
pub use gauge::Gauge;
pub use identity::{Identity, IdentityError, Role, check_name};
pub use look::{Looked, look};
pub use provider::for_clients;
pub use secured::Secured;
pub use settings::{
    Current, client_of_balancer, client_of_http, cluster_client, cluster_server, for_http,
    for_native,
};
pub use words::words;

/// The native protocol's name in the TLS handshake.
pub const NATIVE: &[u8] = b"bilico/1";

/// HTTP's name in the TLS handshake.
pub const HTTP: &[u8] = b"http/1.1";

/// The first byte of a TLS connection. No native or JSON connection begins with it.
pub const FIRST_BYTE: u8 = 0x16;
