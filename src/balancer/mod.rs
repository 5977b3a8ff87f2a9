//! Role: the balancer. Takes files from clients, queues them, gives receipts, and sends the files on to servers.
//!
//! ```text
//! ingress ──▶ gate ──▶ hub ──▶ link ──▶ server
//!    ▲                │  ▲       │
//!    └── receipts ────┘  └─ acks ┴─ probe
//! ```
//!
//! [`ingress`] reads from clients and [`gate`] makes room; [`hub`] is the one task that owns the queue and every decision,
//! which [`dispatch`] takes without I/O; `link` and `probe` talk to servers and report back to the hub.

pub mod dispatch;
pub mod event;
pub mod gate;
pub mod hub;
pub mod ingress;
mod link;
mod probe;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use dispatch::Window;
pub use gate::QueueLimits;

use crate::config::ServerSpec;
use crate::protocol::limits::{DEFAULT_MAX_JSON, IDLE_TIMEOUT, STALL_TIMEOUT};
use crate::queue::{MemoryQueue, Numbers, NumbersError};
use crate::schedule::HealthConfig;
use crate::transport::{self, Connect, Deadlines, Listener};
use event::Event;
use gate::Gate;
use hub::Hub;
use ingress::Door;

/// How a balancer is to work.
#[derive(Debug, Clone)]
pub struct BalancerConfig {
    /// The servers and their weights.
    pub servers: Vec<ServerSpec>,
    /// How much may wait.
    pub queue: QueueLimits,
    /// How much may be in flight to one server.
    pub window: Window,
    /// How probes count.
    pub health: HealthConfig,
    /// The time between two probes of a server.
    pub probe_interval: Duration,
    /// How long a probe, or a connection to a server, may take.
    pub probe_timeout: Duration,
    /// How long a peer may stop in the middle of something.
    pub stall: Duration,
    /// How long a client may be silent with nothing under way.
    pub idle: Duration,
    /// The largest object at the JSON doorway, in bytes.
    pub max_json: u64,
    /// The most connections of clients at once.
    pub max_connections: usize,
    /// How long a stopping balancer goes on delivering what it has.
    pub grace: Duration,
    /// Where the request numbers are kept; `None` forgets them.
    pub state: Option<PathBuf>,
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            queue: QueueLimits { files: 1_000_000, bytes: 1024 * 1024 * 1024 },
            window: Window::default(),
            health: HealthConfig::default(),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
            max_json: DEFAULT_MAX_JSON,
            max_connections: 16_384,
            grace: Duration::from_secs(10),
            state: None,
        }
    }
}

/// Why a balancer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// Request numbers cannot be given, so nothing can be accepted.
    #[error(transparent)]
    Numbers(#[from] NumbersError),
    /// A limit contradicts another.
    #[error(
        "an object of {max_json} bytes (--max-json) cannot pass: a file may take half of the queue's {queue} bytes (--queue-bytes)"
    )]
    Limits {
        /// The largest object at the JSON doorway.
        max_json: u64,
        /// The queue's bytes.
        queue: u64,
    },
}

/// How a balancer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Accepted files that were not delivered, and are lost with the queue in memory.
    pub undelivered: usize,
}

/// A balancer that has all it needs but connections.
#[derive(Debug)]
pub struct Balancer {
    config: BalancerConfig,
    numbers: Numbers,
    gate: Arc<Gate>,
    to_hub: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Balancer {
    /// Checks the configuration and takes hold of the state directory.
    pub fn open(config: BalancerConfig) -> Result<Self, BalancerError> {
        let numbers = match &config.state {
            Some(dir) => Numbers::open(dir)?,
            None => Numbers::in_memory(),
        };
        let (to_hub, events) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::new(config.queue, to_hub.clone()));
        if config.max_json > gate.max_file() {
            return Err(BalancerError::Limits { max_json: config.max_json, queue: config.queue.bytes });
        }
        Ok(Self { config, numbers, gate, to_hub, events })
    }

    /// Runs until `stop` is cancelled: then it takes no more files, delivers what it has for as long as the
    /// configuration allows, and ends.
    pub async fn run(
        self,
        listener: impl Listener,
        connector: Arc<dyn Connect>,
        stop: CancellationToken,
    ) -> Result<Outcome, BalancerError> {
        let Self { config, numbers, gate, to_hub, events } = self;
        let tasks = TaskTracker::new();
        let finished = CancellationToken::new();
        let deadlines = Deadlines { stall: config.stall, idle: config.idle };
        let door = Door { gate, deadlines, max_json: config.max_json, stop: stop.clone(), finished: finished.clone() };
        let accept =
            transport::serve(listener, config.max_connections, stop.clone(), tasks.clone(), move |stream, peer| {
                ingress::serve(stream, peer, door.clone())
            });
        tasks.spawn(accept);

        let grace = config.grace;
        let queue = MemoryQueue::new(numbers);
        let hub = Hub::new(config, queue, (to_hub, events), connector, tasks.clone(), finished.clone());
        tracing::info!("balancer started");
        let ended = hub.run(stop.clone(), grace).await;

        // A hub that failed stops the doorways, too.
        stop.cancel();
        finished.cancel();
        tasks.close();
        let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
        let undelivered = ended?;
        if undelivered > 0 {
            tracing::error!(undelivered, "stopped with files that are not delivered: they are lost");
        } else {
            tracing::info!("balancer stopped");
        }
        Ok(Outcome { undelivered })
    }
}

/// How long connections get to write their last receipts when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
