//! Probes one server: is it there, does it answer, is it overloaded, and what does it speak?
//!
//! A probe is the discovery request over a fresh connection: an old-style server answers it with its overload byte, as it
//! does every request, and a native one with its greeting, which has the byte and the server's memory. So a server that
//! has been replaced is noticed, too. Leaves what the answers mean to [`crate::schedule::Health`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::directories::Speaker;
use super::dispatch::Probed;
use super::event::Event;
use crate::protocol::status::Dialect;
use crate::protocol::{Message, Role, frame, json};
use crate::schedule::Slot;
use crate::transport::{BoxStream, Connect, Deadlines, Reader, plain};

/// First probes start this far from each other, so that thousands of servers are not probed in one instant.
const SPREAD: Duration = Duration::from_millis(1);

/// The shortest time between two probes, however often one is asked for.
const SHORTEST: Duration = Duration::from_millis(100);

/// The task that probes one server.
pub(super) struct Prober {
    pub(super) slot: Slot,
    pub(super) address: Arc<str>,
    /// The server's place among all servers, for spreading.
    pub(super) place: usize,
    /// Asks for a probe now.
    pub(super) nudge: Arc<Notify>,
    pub(super) connector: Arc<dyn Connect>,
    pub(super) hub: mpsc::UnboundedSender<Event>,
    pub(super) pace: watch::Receiver<ProbePace>,
    /// Which server of all that ever had this slot it is.
    pub(super) generation: u64,
}

/// How often servers are probed, and how long that may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbePace {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Prober {
    /// Probes once in an interval, give or take a tenth, and when asked to, until the hub is gone.
    pub(super) async fn run(self) {
        let place = u32::try_from(self.place).unwrap_or(u32::MAX);
        let first = self.pace().interval;
        sleep((SPREAD * place).min(first)).await;
        let generation = self.generation;
        loop {
            let (probed, speaker, took) = self.probe().await;
            if self.hub.send(Event::Probed { slot: self.slot, generation, probed, speaker, took }).is_err() {
                return;
            }
            let ProbePace { interval, .. } = self.pace();
            sleep(SHORTEST.min(interval)).await;
            let rest = interval.saturating_sub(SHORTEST).mul_f64(rand::rng().random_range(0.9..1.1));
            tokio::select! {
                () = sleep(rest) => {}
                () = self.nudge.notified() => {}
            }
        }
    }

    fn pace(&self) -> ProbePace {
        *self.pace.borrow()
    }

    /// Probes once, and says who answered and how long that took.
    async fn probe(&self) -> (Probed, Speaker, Duration) {
        let (started, ProbePace { timeout: most, .. }) = (Instant::now(), self.pace());
        let nobody = Speaker::default;
        let (probed, speaker) = match timeout(most, self.ask()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => (Probed::Failed(plain(&error)), nobody()),
            Err(_) => (Probed::Failed(format!("no answer to a probe in {most:?}")), nobody()),
        };
        (probed, speaker, started.elapsed())
    }

    async fn ask(&self) -> io::Result<(Probed, Speaker)> {
        let mut stream = self.connector.connect(&self.address).await?;
        stream.write_all(json::DISCOVERY_REQUEST).await?;
        let mut first = [0];
        if stream.read(&mut first).await? == 0 {
            return Err(io::Error::other("closed without an answer"));
        }
        let [byte] = first;
        match byte {
            0 | 1 => {
                let probed = Probed::Answered { overloaded: byte == 1, dialect: Dialect::OldStyle, memory: None };
                Ok((probed, Speaker::default()))
            }
            byte if byte == frame::MAGIC[0] => greeting(stream, byte).await,
            other => Err(io::Error::other(format!("answered byte 0x{other:02x}, which is no overload byte"))),
        }
    }
}

/// Reads the rest of a native greeting, whose first byte is taken.
async fn greeting(stream: BoxStream, first: u8) -> io::Result<(Probed, Speaker)> {
    let mut reader = Reader::new(io::Cursor::new([first]).chain(stream), Deadlines::default());
    reader.preface().await.map_err(io::Error::other)?;
    match reader.frame().await.map_err(io::Error::other)?.map(|frame| frame.message) {
        Some(Message::Hello { role: Role::Server, overloaded, memory, identity, instance }) => {
            let overloaded = overloaded.unwrap_or(false);
            let probed = Probed::Answered { overloaded, dialect: Dialect::Native, memory };
            Ok((probed, Speaker { identity, instance }))
        }
        Some(Message::Bye(refusal)) => Err(io::Error::other(refusal.reason)),
        _ => Err(io::Error::other("it is no file server")),
    }
}
