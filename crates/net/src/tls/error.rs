//! Why TLS cannot be set up, and why a connection did not become secure.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::{Error, InvalidMessage};

use super::identity::IdentityError;
use super::words::words;

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The key is a link, a directory or a device.
    #[error("{} is not a regular file: name the key's file itself, not a link to it", .0.display())]
    NotAFile(PathBuf),
    /// The key belongs to another user.
    #[error(
        "{0} belongs to another user, who could read it: type `chown {1} {0}`",
        path.display(), owner
    )]
    Owner {
        /// The key.
        path: PathBuf,
        /// The number of this process's user.
        owner: u32,
    },
    /// Others can read the key.
    #[error(
        "others can read or change the key {0} (its mode is {mode:04o}): type `chmod 600 {0}`",
        path.display()
    )]
    Mode {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is too large to be a certificate or a key.
    #[error("{} is larger than {limit} bytes: expected certificates or a key as PEM", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// There is no certificate in the file.
    #[error(
        "there is no certificate in {}: expected PEM that begins with \
         `-----BEGIN CERTIFICATE-----`",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error(
        "there is no private key in {}: expected PEM that begins with `-----BEGIN PRIVATE KEY-----`",
        .0.display()
    )]
    NoKey(PathBuf),
    /// What is in the file cannot be read.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key {} does not belong to the certificate {}: name the two files that were made together",
        key.display(), cert.display()
    )]
    OtherKey {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate {} has expired on {on}: `bilico certs renew` makes a new one", path.display())]
    Expired {
        /// The certificate.
        path: PathBuf,
        /// Its last day.
        on: String,
    },
    /// The certificate's time has not come.
    #[error(
        "the certificate {} is not valid before {on}: is this machine's clock right?", path.display()
    )]
    NotYetValid {
        /// The certificate.
        path: PathBuf,
        /// Its first day.
        on: String,
    },
    /// The certificate does not say who its owner is in a cluster, or says it is somebody else.
    #[error("{}: {error}", path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// What is wrong with it.
        error: IdentityError,
    },
    /// Anything else that the TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a connection did not become secure.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection failed.
    #[error("{0}")]
    Io(io::Error),
    /// The peer closed in the middle of the handshake.
    #[error("the peer closed the connection during the TLS handshake")]
    Closed,
    /// The peer speaks no TLS, or one side does not accept what the other showed.
    #[error("no TLS with this peer: {0}")]
    Refused(String),
    /// The peer answers something that is no TLS.
    #[error("no TLS with this peer: what came is not TLS: is TLS off there?")]
    NotTls,
    /// The handshake took too long, or too many were under way before it.
    #[error("no TLS handshake in {0:?}")]
    Timeout(Duration),
    /// The peer sent nothing.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// The peer's certificate is verified, and says that it is somebody else.
    #[error("no TLS with this peer: {0}")]
    Identity(#[from] IdentityError),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(error) => Self::Refused(words(error)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error),
        }
    }
}
