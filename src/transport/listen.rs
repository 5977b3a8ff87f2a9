//! The accept loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{BoxStream, tune};

/// A connection that was accepted, and who made it.
pub type Accepted = io::Result<(BoxStream, SocketAddr)>;

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// Waits for the next connection.
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>>;
}

impl Listener for TcpListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>> {
        Box::pin(async move {
            let (stream, peer) = TcpListener::accept(self).await?;
            tune(&stream)?;
            Ok((Box::new(stream) as BoxStream, peer))
        })
    }
}

/// The pause after a failed accept, doubled up to the second at each failure in a row.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Accepts connections and hands each to `handle` in a task of its own, until `stop` is cancelled.
///
/// At most `limit` connections are open at once; more wait in the kernel's backlog. A failed accept (no file
/// descriptors left, most of all) never ends the loop and never spins it: it pauses, and says so once.
pub async fn serve<L, H, F>(mut listener: L, limit: usize, stop: CancellationToken, tasks: TaskTracker, handle: H)
where
    L: Listener,
    H: Fn(BoxStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limit));
    let mut pause = PAUSES.0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = next(&mut listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                pause = PAUSES.0;
                let connection = handle(stream, peer);
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The peer gave up between its handshake and our accept: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if pause == PAUSES.0 {
                    tracing::error!(error = %error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

async fn next(
    listener: &mut impl Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(BoxStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}
