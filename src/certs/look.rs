//! What somebody shows who is connected to.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::transport::tls::{Looked, look};
use crate::transport::{Connect, Tcp};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What was seen at an address.
pub type Seen = Looked;

/// Connects to an address and looks at what is negotiated. Nothing is sent but the handshake.
pub async fn look_at(address: &str, trusted: Option<rustls::RootCertStore>) -> io::Result<Seen> {
    let looking = async {
        let stream = Tcp.connect(address).await?;
        look(address, stream, trusted).await
    };
    let late = || io::Error::other(format!("no TLS handshake in {LIMIT:?}"));
    timeout(LIMIT, looking).await.map_err(|_| late())?
}
