//! Makes secure connections.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::error::HandshakeError;
use super::identity::Role;
use super::secured::Secured;
use super::settings::Current;
use super::stream::Inside;
use super::wire::Wire;
use crate::connect::{Connect, Connecting, Resolving, Tcp};
use crate::stream::BoxStream;
use bilico_core::config::{address_of, certified_name};

/// Connects over TLS: nothing is sent before the peer has proved that it is whom the address names.
#[derive(Debug, Clone)]
pub struct Secure {
    config: Arc<Current<ClientConfig>>,
    /// The cluster whose servers are connected to; `None` at a client, whose balancer need not be
    /// part of one.
    cluster: Option<Arc<str>>,
}

impl Secure {
    /// Connects to balancers as a client.
    pub fn to_balancers(config: ClientConfig) -> Self {
        Self {
            config: Arc::new(Current::new(config)),
            cluster: None,
        }
    }

    /// Connects to the servers of this cluster.
    pub fn to_servers(config: ClientConfig, cluster: &str) -> Self {
        Self {
            config: Arc::new(Current::new(config)),
            cluster: Some(cluster.into()),
        }
    }

    /// Uses another configuration for new connections.
    pub fn renew(&self, config: ClientConfig) {
        self.config.set(config);
    }

    async fn shake(&self, peer: &str, at: &str) -> io::Result<BoxStream> {
        let stream = Tcp.connect(at).await?;
        self.secure(peer, stream)
            .await
            .map(|(stream, _)| stream)
            .map_err(|error| told(peer, error))
    }

    /// Secures a connection to a peer that was named so.
    pub async fn secure(
        &self,
        peer: &str,
        stream: BoxStream,
    ) -> Result<(BoxStream, Secured), HandshakeError> {
        let connector = TlsConnector::from(self.config.get());
        let name = host_of(address_of(peer)).map_err(HandshakeError::Refused)?;
        let connected = connector.connect(name, Wire::new(stream)).await?;
        let secured = Secured::of(connected.get_ref().1)?;
        if let Some(cluster) = &self.cluster {
            let found = secured.identity()?;
            found.check(cluster, Role::Server, certified_name(peer))?;
        }
        Ok((Box::new(Inside::new(connected)), secured))
    }
}

/// The host of an address, as certificates name it.
pub fn host_of(address: &str) -> Result<ServerName<'static>, String> {
    let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is neither a host name nor an IP address"))
}

/// Why no secure connection could be made, for whoever wanted it. What went wrong in the handshake is
/// inside.
pub(super) fn told(peer: &str, error: HandshakeError) -> io::Error {
    match error {
        HandshakeError::Io(error) if error.kind() != io::ErrorKind::ConnectionReset => error,
        HandshakeError::Io(_) | HandshakeError::Closed => io::Error::other(format!(
            "{peer} closed the connection during the TLS handshake: is TLS off there?"
        )),
        other => io::Error::new(io::ErrorKind::PermissionDenied, other),
    }
}

impl Connect for Secure {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(self.shake(address, address_of(address)))
    }

    fn connect_at<'a>(&'a self, peer: &'a str, at: &'a str) -> Connecting<'a> {
        Box::pin(self.shake(peer, at))
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn resolve(&self, address: &str) -> Resolving {
        Tcp.resolve(address)
    }
}
