//! The authority of a cluster.

use std::path::Path;

use rcgen::{Issuer, KeyPair};

use super::directory::{CA, CA_KEY, Directory, Issued, replace, write_new};
use super::error::CertsError;
use super::order::{Order, of_authority};
use crate::transport::tls::{Certificate, TlsError, read_chain, read_secret};

/// Signs the certificates of one cluster.
pub struct Authority {
    dir: Directory,
    certificate: Certificate,
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the authority of a new cluster, which is valid for so many days.
    pub fn create(dir: Directory, cluster: &str, days: u32) -> Result<Self, CertsError> {
        dir.create()?;
        let key = KeyPair::generate()?;
        let made = of_authority(cluster, days).self_signed(&key)?;
        let files = Issued {
            cert: dir.authority(),
            key: dir.authority_key(),
        };
        write_new(&files, &key.serialize_pem(), &made.pem())?;
        Self::open(dir)
    }

    /// Opens the authority that is in a directory.
    pub fn open(dir: Directory) -> Result<Self, CertsError> {
        let (cert, key) = (dir.authority(), dir.authority_key());
        let missing = |file| CertsError::NoAuthority {
            dir: dir.path().to_owned(),
            file,
        };
        let no_file = |path: &Path, file| match path.try_exists() {
            Ok(false) => Err(missing(file)),
            _ => Ok(()),
        };
        no_file(&cert, CA)?;
        no_file(&key, CA_KEY)?;
        let chain = read_chain(&cert)?;
        let der = chain.first().ok_or_else(|| missing(CA))?;
        let certificate = read(der, &cert)?;
        let cluster = certificate.organization.clone();
        let cluster = cluster.ok_or_else(|| CertsError::NoCluster(cert.clone()))?;
        let pem = String::from_utf8_lossy(&read_secret(&key)?).into_owned();
        let issuer = Issuer::from_ca_cert_der(der, KeyPair::from_pem(&pem)?)?;
        Ok(Self {
            dir,
            certificate,
            cluster,
            issuer,
        })
    }

    /// What its own certificate says.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Makes a certificate and its key for a member that has none.
    pub fn issue(&self, order: &Order) -> Result<Issued, CertsError> {
        let files = self.dir.files_of(order.identity.role, &order.identity.name);
        let key = KeyPair::generate()?;
        let made = order.params()?.signed_by(&key, &self.issuer)?;
        write_new(&files, &key.serialize_pem(), &made.pem())?;
        Ok(files)
    }

    /// Makes new certificates for members that have some, of this name or of all. Each says what the
    /// old one said, for as many days from now, or for `days`. The key stays, so the two files belong
    /// together at each moment.
    pub fn renew(&self, name: Option<&str>, days: Option<u32>) -> Result<Vec<Issued>, CertsError> {
        let found = self.dir.members(name)?;
        if let (Some(name), true) = (name, found.is_empty()) {
            return Err(CertsError::Unknown {
                name: name.to_owned(),
                dir: self.dir.path().to_owned(),
            });
        }
        for files in &found {
            self.renew_one(files, days)?;
        }
        Ok(found)
    }

    fn renew_one(&self, files: &Issued, days: Option<u32>) -> Result<(), CertsError> {
        let chain = read_chain(&files.cert)?;
        let leaf = chain.first();
        let leaf = leaf.ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
        let old = read(leaf, &files.cert)?;
        let foreign = |reason: String| CertsError::Foreign {
            path: files.cert.clone(),
            reason,
        };
        let identity = old.identity.clone();
        let identity = identity.map_err(|error| foreign(error.to_string()))?;
        if identity.cluster != self.cluster {
            let (found, ours) = (&identity.cluster, &self.cluster);
            return Err(foreign(format!(
                "it is of the cluster {found}, and this authority is that of {ours}"
            )));
        }
        let days = days.unwrap_or_else(|| old.days());
        let order = Order {
            identity,
            hosts: old.hosts,
            days,
        };
        let pem = String::from_utf8_lossy(&read_secret(&files.key)?).into_owned();
        let key = KeyPair::from_pem(&pem)?;
        let made = order.params()?.signed_by(&key, &self.issuer)?;
        replace(&files.cert, &made.pem())
    }
}

fn read(der: &rustls_pki_types::CertificateDer<'_>, path: &Path) -> Result<Certificate, TlsError> {
    Certificate::read(der).map_err(|error| TlsError::Identity {
        path: path.to_owned(),
        error,
    })
}
