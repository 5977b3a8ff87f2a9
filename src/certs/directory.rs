//! Where certificates and keys are, and how they get there.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::CertsError;
use crate::transport::tls::Role;

/// The authority's certificate.
pub(super) const CA: &str = "ca.pem";

/// The authority's key.
pub(super) const CA_KEY: &str = "ca.key";

/// The mode of a key.
const SECRET: u32 = 0o600;

/// The mode of a certificate: everybody may know it.
const PUBLIC: u32 = 0o644;

/// Where the certificates and keys of a cluster are.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

/// A certificate and its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Directory {
    /// This directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of the authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.0.join(CA)
    }

    /// The file of the authority's key.
    pub fn authority_key(&self) -> PathBuf {
        self.0.join(CA_KEY)
    }

    /// The files of a member of the cluster.
    pub fn files_of(&self, role: Role, name: &str) -> Issued {
        let stem = format!("{role}-{name}");
        Issued {
            cert: self.0.join(format!("{stem}.pem")),
            key: self.0.join(format!("{stem}.key")),
        }
    }

    /// Creates the directory if it is missing.
    pub(super) fn create(&self) -> Result<(), CertsError> {
        let created = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        created.map_err(|error| failed(&self.0, error))
    }

    /// The files that the certificates of members have, of this name or of all, in a fixed order.
    pub(super) fn members(&self, name: Option<&str>) -> Result<Vec<Issued>, CertsError> {
        let listed = |error| failed(&self.0, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(listed)? {
            let entry = entry.map_err(listed)?.file_name();
            let stem = entry.to_str().and_then(|file| file.strip_suffix(".pem"));
            let Some((role, called)) = stem.and_then(|stem| stem.split_once('-')) else {
                continue;
            };
            let Ok(role) = role.parse() else { continue };
            if name.is_none_or(|name| name == called) {
                found.push(self.files_of(role, called));
            }
        }
        found.sort_by(|one, other| one.cert.cmp(&other.cert));
        Ok(found)
    }
}

/// Writes a key and its certificate. Neither may be there yet; if the certificate cannot be written,
/// the key goes, too.
pub(super) fn write_new(files: &Issued, key: &str, cert: &str) -> Result<(), CertsError> {
    if files.cert.exists() {
        return Err(CertsError::There(files.cert.clone()));
    }
    write(&files.key, key, SECRET)?;
    write(&files.cert, cert, PUBLIC).inspect_err(|_| {
        let _ = fs::remove_file(&files.key);
    })
}

/// Replaces a certificate: whoever reads it meanwhile gets the old one or the new one.
pub(super) fn replace(path: &Path, cert: &str) -> Result<(), CertsError> {
    let part = path.with_extension("pem.part");
    // One that a command has left which was ended in its middle.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&part, error)),
        _ => {}
    }
    write(&part, cert, PUBLIC)?;
    fs::rename(&part, path).map_err(|error| failed(path, error))?;
    sync_directory_of(path)
}

/// Writes a file that is not there yet.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), CertsError> {
    let opened = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CertsError::There(path.to_owned()),
        _ => failed(path, error),
    })?;
    let written = file
        .write_all(content.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| failed(path, error))?;
    sync_directory_of(path)
}

fn sync_directory_of(path: &Path) -> Result<(), CertsError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| failed(dir, error))
}

pub(super) fn failed(path: &Path, error: io::Error) -> CertsError {
    CertsError::Io {
        path: path.to_owned(),
        error,
    }
}
