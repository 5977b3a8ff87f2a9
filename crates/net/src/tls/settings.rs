//! What a side of a connection accepts, as rustls has it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::TlsError;
use super::files::Credentials;
use super::provider::{for_clients, for_cluster};
use super::{HTTP, NATIVE};

/// Something that is replaced as a whole while others use it. Who has it already keeps what it was.
#[derive(Debug)]
pub struct Current<T>(Mutex<Arc<T>>);

impl<T> Current<T> {
    /// This, until it is replaced.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    /// What it is now.
    pub fn get(&self) -> Arc<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// A balancer's side of the clients' leg.
pub fn for_native(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    without_client_certificates(credentials, NATIVE)
}

/// The side of an HTTP listener.
pub fn for_http(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    without_client_certificates(credentials, HTTP)
}

fn without_client_certificates(
    credentials: &Credentials,
    protocol: &[u8],
) -> Result<ServerConfig, TlsError> {
    let config = ServerConfig::builder_with_provider(for_clients())
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_no_client_auth()
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(setup)?;
    Ok(bounded(config, protocol))
}

/// A file server's side of the cluster's leg: only holders of a certificate of these authorities get
/// through the handshake.
pub fn cluster_server(
    credentials: &Credentials,
    authorities: RootCertStore,
) -> Result<ServerConfig, TlsError> {
    let provider = for_cluster();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(setup)?;
    Ok(bounded(config, NATIVE))
}

/// One ticket is enough for a client that connects again, and each takes memory. Data ahead of the
/// handshake's end could be sent a second time by somebody else, so none is taken: that is rustls'
/// default. The memory of sessions is this configuration's own, and ends with it.
fn bounded(mut config: ServerConfig, protocol: &[u8]) -> ServerConfig {
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// A client's side of the clients' leg.
pub fn client_of_balancer(authorities: RootCertStore) -> Result<ClientConfig, TlsError> {
    let config = connecting(for_clients(), authorities)?.with_no_client_auth();
    Ok(native(config))
}

/// A client's side of an HTTP listener.
pub fn client_of_http(authorities: RootCertStore) -> Result<ClientConfig, TlsError> {
    let mut config = connecting(for_clients(), authorities)?.with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(config)
}

/// How many servers a balancer remembers the sessions of: connecting again to one of them takes no
/// signature.
const SESSIONS: usize = 16 * 1024;

/// A balancer's side of the cluster's leg.
pub fn cluster_client(
    credentials: &Credentials,
    authorities: RootCertStore,
) -> Result<ClientConfig, TlsError> {
    let mut config = connecting(for_cluster(), authorities)?
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(setup)?;
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(native(config))
}

type Connecting = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn connecting(
    provider: Arc<CryptoProvider>,
    authorities: RootCertStore,
) -> Result<Connecting, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_root_certificates(authorities))
}

fn native(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![NATIVE.to_vec()];
    config
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn setup(error: rustls::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}
