//! Why a certificate cannot be made.

use std::io;
use std::path::PathBuf;

use crate::transport::tls::TlsError;

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file would have to be overwritten.
    #[error("{} is there already, and is not overwritten", .0.display())]
    There(PathBuf),
    /// There is no authority.
    #[error("there is no authority in {}: {} is missing", dir.display(), file)]
    NoAuthority {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing in it.
        file: &'static str,
    },
    /// The authority was not made by this command.
    #[error("{} does not say which cluster it is the authority of", .0.display())]
    NoCluster(PathBuf),
    /// There is no certificate of this name.
    #[error("there is no certificate of {name:?} in {}", dir.display())]
    Unknown {
        /// The name.
        name: String,
        /// The directory.
        dir: PathBuf,
    },
    /// A certificate cannot be read, or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file cannot be written or listed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The library refuses.
    #[error("cannot make the certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// The certificate belongs to no member of this cluster.
    #[error("{}: {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        reason: String,
    },
}
