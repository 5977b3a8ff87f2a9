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

use super::places::{Place, Places, Seat};
use super::{BoxStream, tune};
use bilico_core::os_error::is_shortage;

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
/// No more connections are served at once than there are places; who comes then waits until one is
/// free, and those at rest make way. A failed accept (no file descriptors left, most of all) never
/// ends the loop and never spins it: it pauses, and says so once.
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
    let mut pause = PAUSES.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = next(&mut listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                pause = PAUSES.0;
                let connection = handle(stream, peer, place.seat().clone());
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
                if is_shortage(&error) {
                    places.make_way();
                }
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

async fn next(
    listener: &mut impl Listener,
    places: &Arc<Places>,
) -> io::Result<(BoxStream, SocketAddr, Place)> {
    let (stream, peer) = listener.accept().await?;
    let place = places.take(peer).await;
    Ok((stream, peer, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::duplex;
    use tokio::sync::{mpsc, oneshot};
    use tokio::time::{Instant, sleep};

    /// Gives what it holds, in order, then fails for ever as if no file descriptor were left.
    struct Script(Vec<Accepted>, Arc<AtomicUsize>);

    impl Listener for Script {
        fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let next = if self.0.is_empty() {
                Err(io::Error::other("too many open files"))
            } else {
                self.0.remove(0)
            };
            Box::pin(std::future::ready(next))
        }
    }

    fn connection() -> (BoxStream, SocketAddr) {
        (Box::new(duplex(1).0), "127.0.0.1:1".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn failed_accepts_pause_and_do_not_end_the_loop() {
        let aborted = || Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        let script = vec![
            Err(io::Error::other("no descriptors")),
            aborted(),
            Ok(connection()),
            Ok(connection()),
        ];
        let (calls, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (stop, tasks, counter) = (CancellationToken::new(), TaskTracker::new(), served.clone());
        let handle = move |_, _, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        };
        let serving = tokio::spawn(serve(
            Script(script, calls.clone()),
            Arc::new(Places::new(10)),
            stop.clone(),
            tasks,
            handle,
        ));
        sleep(Duration::from_secs(100)).await;
        assert_eq!(served.load(Ordering::Relaxed), 2);
        let calls = calls.load(Ordering::Relaxed);
        assert!(
            (90..130).contains(&calls),
            "about one try a second in the end, not {calls} in 100 s"
        );
        stop.cancel();
        let asked = Instant::now();
        serving.await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO, "no pause holds up the end");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_connections_than_the_limit_are_open_at_once() {
        let script = (0..5).map(|_| Ok(connection())).collect();
        let (stop, tasks, (starts, mut started)) = (
            CancellationToken::new(),
            TaskTracker::new(),
            mpsc::unbounded_channel(),
        );
        let handle = move |_, _, seat: Arc<Seat>| {
            seat.work();
            let (end, ended) = oneshot::channel::<()>();
            starts.send(end).unwrap();
            async move { drop(ended.await) }
        };
        let listener = Script(script, Arc::new(AtomicUsize::new(0)));
        let serving = tokio::spawn(serve(
            listener,
            Arc::new(Places::new(2)),
            stop.clone(),
            tasks,
            handle,
        ));
        let mut open = vec![started.recv().await.unwrap(), started.recv().await.unwrap()];
        for _ in 0..3 {
            sleep(Duration::from_secs(10)).await;
            assert!(started.try_recv().is_err(), "two are open");
            open.pop();
            open.push(started.recv().await.unwrap());
        }
        stop.cancel();
        serving.await.unwrap();
    }
}
