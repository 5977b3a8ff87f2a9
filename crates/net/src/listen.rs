//! The accept loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::tune;
use super::places::{Place, Places, Seat};
use super::stream::{BoxStream, Socket};
use bilico_core::os_error::is_shortage;

/// An accepted connection and the address of its peer.
pub type Accepted = io::Result<(BoxStream, SocketAddr)>;

/// A source of connections.
pub trait Listener: Send + 'static {
    /// Waits for the next connection.
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>>;
}

impl Listener for TcpListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>> {
        Box::pin(async move {
            let (stream, peer) = TcpListener::accept(self).await?;
            tune(&stream)?;
            Ok((Box::new(Socket::from(stream)) as BoxStream, peer))
        })
    }
}

/// The pause after a failed accept. It doubles with each failure in a row, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause between two attempts to accept.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections and hands each to `handle` in a task of its own, until `stop` is cancelled.
///
/// At most as many connections are served at once as there are places. When all are taken, idle
/// connections make way, and new ones wait until a place is free; those of a source that has too many
/// are closed at once. A failed accept, most often for
/// want of file descriptors, never ends the loop and never spins it: the loop pauses, and logs the
/// first failure in a row.
pub async fn serve<L, H, F>(
    mut listener: L,
    places: Arc<Places>,
    stop: CancellationToken,
    tasks: TaskTracker,
    handle: H,
) where
    L: Listener,
    H: Fn(BoxStream, SocketAddr, Arc<Seat>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = MIN_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = next(&mut listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                pause = MIN_PAUSE;
                let Some(place) = place else { continue };
                let connection = handle(stream, peer, place.seat().clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The peer gave up between its handshake and our accept: that is no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if pause == MIN_PAUSE {
                    tracing::error!(target: crate::LOG, error = %error, "cannot accept connections: retrying");
                }
                if is_shortage(&error) {
                    places.make_way();
                }
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

async fn next(
    listener: &mut impl Listener,
    places: &Arc<Places>,
) -> io::Result<(BoxStream, SocketAddr, Option<Place>)> {
    let (stream, peer) = listener.accept().await?;
    let place = places.take(peer).await;
    Ok((stream, peer, place))
}

#[cfg(test)]
mod tests;
