//! Announces a server to middleware of the first monitoring system, which forgets it soon: so it is
//! said again and again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_cork;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The time between two announcements. Middleware forgets a server after ten minutes at the
/// earliest, if it is ours.
const EVERY: Duration = Duration::from_mins(3);

/// The time until another try, if it could not be reached.
const AGAIN: Duration = Duration::from_secs(10);

/// How long one announcement may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Announces that a server listens here, for ever.
pub async fn keep_announcing(to: String, listen: SocketAddr) {
    let mut was_reached = true;
    loop {
        let announced = timeout(PATIENCE, announce(&to, listen)).await;
        let announced = announced.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &announced {
            Ok(server) => tracing::debug!(%server, %to, "announced"),
            // Once for each time that it goes.
            Err(error) if was_reached => {
                tracing::warn!(%error, %to, "cannot announce this server: trying again");
            }
            Err(_) => {}
        }
        was_reached = announced.is_ok();
        sleep(if was_reached { EVERY } else { AGAIN }).await;
    }
}

/// Announces it once, and returns as what.
async fn announce(to: &str, listen: SocketAddr) -> io::Result<SocketAddr> {
    let mut stream = TcpStream::connect(to).await?;
    let mut server = listen;
    if listen.ip().is_unspecified() {
        server.set_ip(stream.local_addr()?.ip().to_canonical());
    }
    // The end goes with the text: middleware that closes first cannot listen again for a minute, and
    // refuses all others meanwhile.
    set_tcp_cork(&stream, true)?;
    stream.write_all(server.to_string().as_bytes()).await?;
    stream.shutdown().await?;
    // It answers nothing. A connection that breaks now has said what it had to say.
    let _ = stream.read(&mut [0; 1]).await;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// As the original reads: once.
    #[tokio::test]
    async fn an_announcement_is_the_bytes_of_the_original_and_leaves_its_port_free() {
        let middleware = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = middleware.local_addr().unwrap();
        let listen = "0.0.0.0:5050".parse().unwrap();
        let announcing = tokio::spawn(keep_announcing(at.to_string(), listen));
        let (mut stream, _) = middleware.accept().await.unwrap();
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..length], b"127.0.0.1:5050");
        drop((stream, middleware));
        // Without SO_REUSEADDR, as the original binds it.
        let again = tokio::net::TcpSocket::new_v4().unwrap();
        again.set_reuseaddr(false).unwrap();
        again.bind(at).unwrap();
        announcing.abort();
    }
}
