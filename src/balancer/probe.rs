//! Probes one server: is it there, does it answer, is it overloaded, and what does it speak?
//!
//! A probe is the status request over a fresh connection, which old and new servers answer alike with their overload
//! byte. The first one, the first after trouble, and every one of an old-style server ask what the server speaks
//! instead, for it may have been replaced. Leaves what the answers mean to [`crate::schedule::Health`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

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
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Prober {
    /// Probes once in an interval, give or take a tenth, and when asked to, until the hub is gone.
    pub(super) async fn run(self) {
        let place = u32::try_from(self.place).unwrap_or(u32::MAX);
        sleep((SPREAD * place).min(self.interval)).await;
        let mut known = false;
        loop {
            let probed = self.probe(!known).await;
            // An old-style server answers the question as it answers a status request, and nothing but the question
            // shows that it has been replaced. A native one's link breaks when it is.
            known = match probed {
                Probed::Answered { dialect: Some(Dialect::OldStyle), .. } | Probed::Failed(_) => false,
                Probed::Answered { .. } => true,
            };
            if self.hub.send(Event::Probed { slot: self.slot, probed }).is_err() {
                return;
            }
            sleep(SHORTEST.min(self.interval)).await;
            let rest = self.interval.saturating_sub(SHORTEST).mul_f64(rand::rng().random_range(0.9..1.1));
            tokio::select! {
                () = sleep(rest) => {}
                () = self.nudge.notified() => known = false,
            }
        }
    }

    async fn probe(&self, discover: bool) -> Probed {
        match timeout(self.timeout, self.ask(discover)).await {
            Ok(Ok(probed)) => probed,
            Ok(Err(error)) => Probed::Failed(plain(&error)),
            Err(_) => Probed::Failed(format!("no answer to a probe in {:?}", self.timeout)),
        }
    }

    async fn ask(&self, discover: bool) -> io::Result<Probed> {
        let mut stream = self.connector.connect(&self.address).await?;
        let request = if discover { json::DISCOVERY_REQUEST } else { json::STATUS_REQUEST };
        stream.write_all(request).await?;
        let mut first = [0];
        if stream.read(&mut first).await? == 0 {
            return Err(io::Error::other("closed without an answer"));
        }
        let [byte] = first;
        match byte {
            0 | 1 => {
                let dialect = discover.then_some(Dialect::OldStyle);
                Ok(Probed::Answered { overloaded: byte == 1, dialect })
            }
            byte if byte == frame::MAGIC[0] => greeting(stream, byte).await,
            other => Err(io::Error::other(format!("answered byte 0x{other:02x}, which is no overload byte"))),
        }
    }
}

/// Reads the rest of a native greeting, whose first byte is taken.
async fn greeting(stream: BoxStream, first: u8) -> io::Result<Probed> {
    let mut reader = Reader::new(io::Cursor::new([first]).chain(stream), Deadlines::default());
    reader.preface().await.map_err(io::Error::other)?;
    match reader.frame().await.map_err(io::Error::other)?.map(|frame| frame.message) {
        Some(Message::Hello { role: Role::Server, overloaded, identity: _ }) => {
            Ok(Probed::Answered { overloaded: overloaded.unwrap_or(false), dialect: Some(Dialect::Native) })
        }
        Some(Message::Bye(refusal)) => Err(io::Error::other(refusal.reason)),
        _ => Err(io::Error::other("it is no file server")),
    }
}
