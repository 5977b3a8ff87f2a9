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
