//! A TCP proxy whose connections can be made to fail. Its address stays while the process behind it
//! changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

/// The size of the buffer of one direction, in bytes.
const PIECE: usize = 64 * 1024;

/// What the proxy does to its connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    /// The delay of each piece.
    pub(super) delay: Duration,
    /// Whether bytes are held up for now.
    pub(super) is_stalled: bool,
    /// The directions in which bytes are lost. A connection that has lost some is cut once they
    /// pass again.
    pub(super) swallows: Vec<Way>,
    /// Only connections with a lower number than this lose bytes.
    pub(super) before: u64,
    /// Each connection is cut within this many bytes.
    pub(super) cuts_within: Option<u64>,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the peer that connects to the one that listens.
    There,
    /// The opposite direction.
    Back,
}

/// A proxy. It runs until its runtime ends.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<String>,
    weather: watch::Sender<Weather>,
    opened: AtomicU64,
    delay: Duration,
}

impl Proxy {
    /// Starts a proxy without a target. Each piece takes `delay` in fair weather.
    pub(super) fn start(runtime: &Handle, delay: Duration) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let weather = watch::Sender::new(Weather {
            delay,
            ..Weather::default()
        });
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            weather,
            opened: AtomicU64::new(0),
            delay,
        });
        runtime.spawn(accept(listener, shared.clone()));
        Self { address, shared }
    }

    /// Sets the target of new connections.
    pub(super) fn point_to(&self, target: &str) {
        target.clone_into(&mut self.shared.target.lock().unwrap());
    }

    /// Changes the weather for all connections, open ones included.
    pub(super) fn set(&self, change: impl FnOnce(&mut Weather)) {
        let mut weather = Weather {
            delay: self.shared.delay,
            ..Weather::default()
        };
        change(&mut weather);
        self.shared.weather.send_replace(weather);
    }

    /// How many connections there have been.
    pub(super) fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(carry(stream, shared.clone()))),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Carries one connection to its end.
async fn carry(near: TcpStream, shared: Arc<Shared>) {
    let place = shared.opened.fetch_add(1, Ordering::Relaxed);
    let target = shared.target.lock().unwrap().clone();
    let Ok(far) = TcpStream::connect(&target).await else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let pump = |way| Pump {
        way,
        place,
        weather: shared.weather.subscribe(),
        passed: 0,
        limit: None,
        has_lost: false,
    };
    let there = pump(Way::There).run(near_read, far_write);
    let back = pump(Way::Back).run(far_read, near_write);
    tokio::pin!(there, back);
    // A cut ends both directions. An orderly end of one leaves the other open.
    tokio::select! {
        ended = &mut there => if ended.is_ok() { let _ = back.await; },
        ended = &mut back => if ended.is_ok() { let _ = there.await; },
    }
}

/// The connection is cut.
struct Cut;

struct Pump {
    way: Way,
    place: u64,
    weather: watch::Receiver<Weather>,
    passed: u64,
    limit: Option<u64>,
    has_lost: bool,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<(), Cut> {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => Some(read.map_err(|_| Cut)?),
                changed = self.weather.changed() => { changed.map_err(|_| Cut)?; None }
            };
            let delay = self.weather.borrow().delay;
            if read.is_some() && !delay.is_zero() {
                sleep(delay).await;
            }
            let now = self
                .weather
                .wait_for(|weather| !weather.is_stalled)
                .await
                .map_err(|_| Cut)?
                .clone();
            let swallows = now.swallows.contains(&self.way) && self.place < now.before;
            if self.has_lost && !swallows {
                return Err(Cut);
            }
            self.limit = match (now.cuts_within, self.limit) {
                (None, _) => None,
                (Some(_), limit @ Some(_)) => limit,
                (Some(within), None) => Some(self.passed + rand::random_range(0..within)),
            };
            let Some(read) = read else { continue };
            if swallows {
                if read == 0 {
                    return Err(Cut);
                }
                self.has_lost = true;
                continue;
            }
            if read == 0 {
                return to.shutdown().await.map_err(|_| Cut);
            }
            let left = self
                .limit
                .map_or(read as u64, |limit| (limit - self.passed).min(read as u64));
            let passes = usize::try_from(left).unwrap();
            to.write_all(&buffer[..passes]).await.map_err(|_| Cut)?;
            self.passed += left;
            if passes < read {
                return Err(Cut);
            }
        }
    }
}
