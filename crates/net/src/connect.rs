//! Outgoing connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::stream::{BoxStream, Socket};
use bilico_core::config::address_of;

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>>;

/// A name that is being resolved.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Makes connections to addresses.
pub trait Connect: Send + Sync {
    /// Connects to `address`; the caller bounds the wait.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;

    /// Connects to `at`, one of the addresses of the server that is called `server`.
    fn connect_at<'a>(&'a self, _server: &'a str, at: &'a str) -> Connecting<'a> {
        self.connect(at)
    }

    /// Whether a connection costs so much that one is kept to be used again.
    fn is_costly(&self) -> bool {
        false
    }

    /// Resolves the host and port in `address`; the caller bounds the wait.
    fn resolve(&self, address: &str) -> Resolving {
        let address = address_of(address).to_owned();
        Box::pin(async move { Ok(lookup_host(address).await?.collect()) })
    }
}

impl<C: Connect + ?Sized> Connect for Arc<C> {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        (**self).connect(address)
    }

    fn connect_at<'a>(&'a self, server: &'a str, at: &'a str) -> Connecting<'a> {
        (**self).connect_at(server, at)
    }

    fn is_costly(&self) -> bool {
        (**self).is_costly()
    }

    fn resolve(&self, address: &str) -> Resolving {
        (**self).resolve(address)
    }
}

/// Connects over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Connect for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let mut failed =
                io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
            for address in lookup_host(address_of(address)).await? {
                match connect(address).await {
                    Ok(stream) => return Ok(Box::new(Socket::from(stream)) as BoxStream),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        })
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // The kernel may give this end the port that a balancer is to listen on later: 60002 is in
    // Linux's ephemeral range. Without this option the balancer could not bind it for a minute
    // after this connection ended.
    socket.set_reuseaddr(true)?;
    let stream = socket.connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// How long the kernel waits for sent bytes to be acknowledged, and for a silent peer to answer
/// keepalives, before it gives a connection up. A peer whose machine is gone sends no reset.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// Makes a socket send small messages at once, and notice a peer whose machine is gone.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, DEAD_PEER / 2)?;
    sockopt::set_tcp_keepintvl(stream, DEAD_PEER / 6)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(
        stream,
        u32::try_from(DEAD_PEER.as_millis()).unwrap_or(u32::MAX),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
