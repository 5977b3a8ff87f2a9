//! Between the roles and the protocol: connections, deadlines and the accept loop.
//!
//! Owns how bytes get in and out: [`Reader`] drives the codecs over anything that can be read, with
//! a bound on every wait; [`Connect`] and [`Listener`] are passed in, so that a role does not know
//! whether it runs over TCP, TLS or a simulated network. Leaves what the messages mean to the
//! roles.

pub mod descriptors;
mod listen;
mod places;
mod reader;
pub mod rolling_sync;
mod send;
pub mod shutdown;

pub use listen::{Accepted, Listener, serve};
pub use places::{Place, Places, Rest, SETTLE, Seat};
pub use reader::{Deadlines, Object, ProgressDeadline, ReadError, Reader, log_end};
pub use send::{WriteError, send_content, send_summed, write_all};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// What went wrong, in the system's words but without its number, for a person to read.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

/// Anything that a connection can run over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection, whatever it runs over.
pub type BoxStream = Box<dyn Stream>;

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>>;

/// A name that is being resolved.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Makes connections to addresses.
pub trait Connect: Send + Sync {
    /// Connects to `address`; the caller bounds the wait.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;

    /// The addresses that the host and port in `address` have; the caller bounds the wait.
    fn resolve(&self, address: &str) -> Resolving {
        let address = address.to_owned();
        Box::pin(async move { Ok(lookup_host(address).await?.collect()) })
    }
}

/// Connects over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Connect for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in lookup_host(address).await? {
                match connect(address).await {
                    Ok(stream) => return Ok(Box::new(stream) as BoxStream),
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
    // The system may give this end the very port that a balancer is to listen on later (60002 is
    // among those it gives out), and would keep it from the balancer for a minute after our end.
    socket.set_reuseaddr(true)?;
    let stream = socket.connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// How long the kernel waits for sent bytes to be acknowledged, and for a silent peer to answer a
/// keepalive, before it gives a connection up: a peer whose machine is gone sends no reset.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// Sends small messages at once and notices a peer whose machine has gone.
fn tune(stream: &TcpStream) -> io::Result<()> {
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
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// A client that ended first leaves its port in TIME-WAIT for a minute: a balancer can listen
    /// on it all the same.
    #[tokio::test]
    async fn the_port_of_an_ended_connection_can_be_listened_on() {
        let mut failed = None;
        // Another process may be given the port in between, but not each time.
        for _ in 0..5 {
            match listen_on_an_ended_port().await {
                Ok(_) => return,
                Err(error) => failed = Some(error),
            }
        }
        panic!("{failed:?}");
    }

    async fn listen_on_an_ended_port() -> io::Result<TcpListener> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut accepted, peer) = listener.accept().await.unwrap();
        drop(client);
        assert_eq!(
            accepted.read_u8().await.unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        drop(accepted);
        TcpListener::bind(peer).await
    }
}
