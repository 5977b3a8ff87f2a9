//! The certificates in use, and how they are read again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;

use crate::cli::output::{Exit, Failure};
use crate::transport::tls::{
    Certificate, Credentials, Files, Fingerprint, Gauge, TlsError, read_authorities,
};

/// With so many days left, a certificate is worth a warning.
const SOON: i64 = 14;

/// The time between two looks at how long certificates are still valid.
const LOOK: Duration = Duration::from_hours(6);

/// Makes of a certificate, and of the authorities that the leg trusts, what puts both in force.
type Stage = Box<dyn Fn(&Credentials, RootCertStore) -> Result<Put, TlsError> + Send + Sync>;

/// Puts something in force.
pub(in crate::cli) type Put = Box<dyn FnOnce() + Send>;

/// The certificate of a leg.
pub(in crate::cli) struct Held {
    files: Files,
    ca: Option<PathBuf>,
    gauge: Arc<Gauge>,
    stage: Stage,
    in_force: Mutex<Fingerprint>,
}

/// A certificate that was read and can be put in force.
struct Staged<'a> {
    held: &'a Held,
    certificate: Certificate,
    put: Put,
}

impl Held {
    /// The certificate of a leg, as it was read at the start.
    pub(in crate::cli) fn new(
        files: Files,
        ca: Option<PathBuf>,
        gauge: Arc<Gauge>,
        read: &Credentials,
        stage: Stage,
    ) -> Self {
        let certificate = read.certificate();
        gauge.set_expiry(certificate.not_after);
        Self {
            files,
            ca,
            gauge,
            stage,
            in_force: Mutex::new(certificate.fingerprint.clone()),
        }
    }

    fn read(&self) -> Result<Staged<'_>, TlsError> {
        let authorities = self.ca.as_deref().map(read_authorities).transpose()?;
        let credentials = Credentials::read(&self.files)?;
        let authorities = authorities.unwrap_or_else(RootCertStore::empty);
        let put = (self.stage)(&credentials, authorities)?;
        Ok(Staged {
            held: self,
            certificate: credentials.certificate().clone(),
            put,
        })
    }

    /// Says in the log that the certificate ends soon, if it does.
    fn warn_if_soon(&self) {
        let left = self.gauge.expires_in();
        if let Some(days) = left.map(|seconds| seconds.div_euclid(24 * 60 * 60))
            && days < SOON
        {
            let certificate = self.files.cert.display();
            tracing::warn!(
                %certificate,
                days,
                "the certificate expires soon: `bilico certs renew`, then `bilico reload`"
            );
        }
    }
}

impl Staged<'_> {
    /// Puts it in force; says what changed.
    fn put(self) -> Option<String> {
        let Self {
            held,
            certificate,
            put,
        } = self;
        put();
        held.gauge.set_expiry(certificate.not_after);
        let mut in_force = held.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if *in_force == certificate.fingerprint {
            return None;
        }
        *in_force = certificate.fingerprint;
        let file = held.files.cert.display();
        Some(format!(
            "certificate {file}: valid until {}",
            certificate.to
        ))
    }
}

/// All certificates of a role.
#[derive(Clone, Default)]
pub(in crate::cli) struct Certificates(Arc<Vec<Held>>);

/// Certificates that were all read and can be put in force.
pub(in crate::cli) struct Fresh<'a>(Vec<Staged<'a>>);

impl Certificates {
    /// These. Whether they end soon is said in the log from now on.
    pub(in crate::cli) fn watched(held: impl IntoIterator<Item = Held>) -> Self {
        let all = Self(Arc::new(held.into_iter().collect()));
        if !all.is_empty() {
            let watched = all.clone();
            tokio::spawn(async move {
                loop {
                    watched.0.iter().for_each(Held::warn_if_soon);
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
        all
    }

    /// Whether there are none.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads all of them again. If one cannot be used, nothing changes.
    pub(in crate::cli) fn read(&self) -> Result<Fresh<'_>, TlsError> {
        let staged: Result<_, _> = self.0.iter().map(Held::read).collect();
        staged.map(Fresh)
    }
}

impl Fresh<'_> {
    /// Puts them in force; says what changed. Sessions begin anew, and connections stay.
    pub(in crate::cli) fn put(self) -> Vec<String> {
        self.0.into_iter().filter_map(Staged::put).collect()
    }
}

/// A start that fails because of a certificate or a key.
pub(in crate::cli) fn unusable(error: &TlsError) -> Failure {
    Failure::new(Exit::Failed, error)
}
