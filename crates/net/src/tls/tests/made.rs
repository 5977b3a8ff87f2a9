//! Certificates for tests.

use std::os::unix::fs::OpenOptionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::RootCertStore;

use crate::tls::{Credentials, Files, TlsError};

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

/// A certificate and its key, on disk.
pub(super) struct Made {
    dir: tempfile::TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, roots }
    }

    pub(super) fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    pub(super) fn issue(&self, uri: &str, hosts: &[&str]) -> Made {
        self.sign(&params(uri, hosts))
    }

    /// For who connects, and not for who is connected to.
    pub(super) fn issue_to_connect(&self, uri: &str, hosts: &[&str]) -> Made {
        let mut params = params(uri, hosts);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// Valid between so many days from now.
    pub(super) fn issue_for_days(&self, uri: &str, from: i64, to: i64) -> Made {
        let mut params = params(uri, &[]);
        let now = std::time::SystemTime::now();
        let day = |days: i64| {
            let span = std::time::Duration::from_hours(24 * days.unsigned_abs());
            if days < 0 { now - span } else { now + span }.into()
        };
        (params.not_before, params.not_after) = (day(from), day(to));
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Made::new(&certificate.pem(), &key)
    }
}

impl Made {
    fn new(certificate: &str, key: &KeyPair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Self { dir };
        let Files { cert, key: at } = made.files();
        std::fs::write(cert, certificate).unwrap();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(at);
        std::io::Write::write_all(&mut file.unwrap(), key.serialize_pem().as_bytes()).unwrap();
        made
    }

    pub(super) fn self_signed(uri: &str, hosts: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(&params(uri, hosts).self_signed(&key).unwrap().pem(), &key)
    }

    pub(super) fn files(&self) -> Files {
        Files {
            cert: self.dir.path().join("cert.pem"),
            key: self.dir.path().join("key.pem"),
        }
    }

    pub(super) fn credentials(&self) -> Result<Credentials, TlsError> {
        Credentials::read(&self.files())
    }
}

fn params(uri: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params
        .subject_alt_names
        .push(SanType::URI(uri.try_into().unwrap()));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}
