//! Certificates and keys on disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::Certificate;
use super::error::TlsError;
use super::provider::for_clients;

/// The most bytes that are read of a file.
const MOST: u64 = 1024 * 1024;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those that it is signed by.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A certificate that is valid now, and the key that belongs to it.
pub struct Credentials {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    certificate: Certificate,
}

impl Credentials {
    /// Reads a certificate and its key, and checks that they can be used.
    pub fn read(files: &Files) -> Result<Self, TlsError> {
        let chain = read_chain(&files.cert)?;
        let leaf = chain.first();
        let leaf = leaf.ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
        let certificate = certificate(leaf, &files.cert)?;
        certificate.check_time(&files.cert)?;
        let key = read_key(&files.key)?;
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), &for_clients()) {
            Ok(_) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(TlsError::OtherKey {
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                });
            }
            Err(error) => return Err(malformed(&files.key, &error)),
        }
        Ok(Self {
            chain,
            key,
            certificate,
        })
    }

    /// What the certificate says.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Reads all certificates of a file; there is at least one.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = File::open(path).map_err(|error| unread(path, error))?;
    let pem = read(path, file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| malformed(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

/// Reads the authorities whose certificates are trusted, and nobody else's.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for one in read_chain(path)? {
        certificate(&one, path)?.check_time(path)?;
        roots.add(one).map_err(|error| malformed(path, &error))?;
    }
    Ok(roots)
}

/// Reads the text of a file that nobody but this process's user may read: a link may lead to
/// another file tomorrow, and what others can read is no secret.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, TlsError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return Err(TlsError::NotAFile(path.to_owned())),
        Err(error) => return Err(unread(path, error.into())),
    };
    let status = fstat(&file).map_err(|error| unread(path, error.into()))?;
    let path_of = || path.to_owned();
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(TlsError::NotAFile(path_of()));
    }
    let owner = rustix::process::geteuid().as_raw();
    if status.st_uid != owner {
        return Err(TlsError::Owner {
            path: path_of(),
            owner,
        });
    }
    let mode = status.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Mode {
            path: path_of(),
            mode,
        });
    }
    read(path, File::from(file))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(&read_secret(path)?) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => Err(TlsError::NoKey(path.to_owned())),
        Err(error) => Err(malformed(path, &error)),
    }
}

/// Reads what a certificate of a file says.
pub(super) fn certificate(der: &CertificateDer<'_>, path: &Path) -> Result<Certificate, TlsError> {
    Certificate::read(der).map_err(|error| TlsError::Identity {
        path: path.to_owned(),
        error,
    })
}

fn read(path: &Path, file: File) -> Result<Vec<u8>, TlsError> {
    let mut content = Vec::new();
    let mut file = file.take(MOST + 1);
    let read = file.read_to_end(&mut content);
    if read.map_err(|error| unread(path, error))? as u64 > MOST {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
            limit: MOST,
        });
    }
    Ok(content)
}

fn unread(path: &Path, error: io::Error) -> TlsError {
    TlsError::Read {
        path: path.to_owned(),
        error,
    }
}

fn malformed(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
