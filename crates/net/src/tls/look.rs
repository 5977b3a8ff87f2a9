//! Looks at what a peer shows in a handshake, whether it can be trusted or not.
//!
//! This is for people who want to see: nothing is ever sent over such a connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connect::{host_of, told};
use super::error::HandshakeError;
use super::provider::for_clients;
use super::secured::Secured;
use super::words::words;
use crate::stream::BoxStream;

/// How long a peer has to say that it refuses.
const VERDICT: Duration = Duration::from_millis(500);

/// What a peer has shown.
#[derive(Debug)]
pub struct Looked {
    /// What was negotiated, and its certificate.
    pub secured: Secured,
    /// Why its certificate is not trusted; `Ok` if it is.
    pub trust: Result<(), String>,
    /// Why it has ended the connection, if it has: most often it wants a certificate.
    pub refused: Option<String>,
}

/// Makes a handshake with whoever is at `address`, and looks at it. Trusted are these authorities.
pub async fn look(
    address: &str,
    stream: BoxStream,
    trusted: Option<RootCertStore>,
) -> io::Result<Looked> {
    let looked = handshake(address, stream, trusted).await;
    looked.map_err(|error| told(address, error))
}

async fn handshake(
    address: &str,
    stream: BoxStream,
    trusted: Option<RootCertStore>,
) -> Result<Looked, HandshakeError> {
    let provider = for_clients();
    let onlooker = Arc::new(Onlooker::new(trusted, provider.clone())?);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(onlooker.clone())
        .with_no_client_auth();
    let name = host_of(address).map_err(HandshakeError::Refused)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut connected = connector.connect(name, stream).await?;
    let secured = Secured::of(connected.get_ref().1)?;
    // A peer that wants a certificate says so only behind the handshake.
    let said = timeout(VERDICT, connected.read(&mut [0])).await;
    let refused = match said {
        Ok(Err(error)) => Some(HandshakeError::from(error).to_string()),
        _ => None,
    };
    let trust = onlooker
        .trust
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok(Looked {
        secured,
        trust,
        refused,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn refused(error: Error) -> HandshakeError {
    HandshakeError::Refused(error.to_string())
}

/// Lets every certificate pass, and remembers what a verifier would have said.
#[derive(Debug)]
struct Onlooker {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    trust: Mutex<Result<(), String>>,
}

impl Onlooker {
    fn new(
        trusted: Option<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, HandshakeError> {
        let verifier = trusted.map(|roots| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()
        });
        let verifier = verifier
            .transpose()
            .map_err(|error| HandshakeError::Refused(error.to_string()))?;
        Ok(Self {
            verifier,
            provider,
            trust: Mutex::new(Err("no authority was named to judge it by".to_owned())),
        })
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(verifier) = &self.verifier {
            let verified = verifier.verify_server_cert(leaf, others, name, ocsp, now);
            *self.trust.lock().unwrap_or_else(PoisonError::into_inner) =
                verified.map(|_| ()).map_err(|error| words(&error));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
