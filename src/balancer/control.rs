//! What the operator's surface does with a balancer: it asks for samples, and gives orders.
//!
//! All of it goes to the hub over the channel of its events, so that an order and the files around
//! it have one order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::gate::{Gate, QueueLimits};
use super::ingress::http::{HttpUpload, Receipts, UploadBody};
use super::ingress::{Door, DoorBounds};
use super::messages::ToHub;
use super::query::{Answer, Query};
use super::{BalancerConfig, DispatchConfig};
use crate::config::{ServerSpec, SpecError, check_servers, parse_address};
use crate::descriptors::PER_SERVER;
use crate::protocol::status::StatusReport;
use crate::queue::Retention;
use crate::schedule::MAX_WEIGHT;
use crate::transport::ReadError;

/// The most servers of one balancer.
pub const MAX_SERVERS: usize = 10_000;

/// What the operator's surface does with a balancer. Cheap to clone; it works from
/// [`super::Balancer::open`] on, and answers come once the balancer runs.
#[derive(Clone)]
pub struct Control {
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
    pub(super) gate: Arc<Gate>,
    pub(super) door: Door,
    pub(super) notices: Events,
    pub(super) stop: CancellationToken,
}

/// The state of everything at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Files and servers.
    pub status: StatusReport,
    /// How long files took from being read whole to their receipts, in microseconds, since the
    /// start.
    pub accept: Histogram<u64>,
    /// How long files took from their acceptance to their servers' acknowledgements, in
    /// microseconds, since the start.
    pub deliver: Histogram<u64>,
    /// When that was so.
    pub at: Instant,
}

/// What an operator wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A server gets another weight.
    SetWeight {
        /// Its name.
        server: String,
        /// The weight, up to [`MAX_WEIGHT`]; 0 keeps the server known but sends nothing to it.
        weight: u32,
    },
    /// A server gets nothing new; what is in flight to it goes on.
    Drain {
        /// Its name.
        server: String,
    },
    /// A drained server gets files again.
    Undrain {
        /// Its name.
        server: String,
    },
    /// There is one more server.
    Add(ServerSpec),
    /// A server gets nothing new, and is forgotten once nothing is in flight to it.
    Remove {
        /// Its name.
        server: String,
    },
}

/// Why an order cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no server of this name.
    #[error("there is no server {0}")]
    UnknownServer(String),
    /// A server, or a weight, makes no sense, or is there twice.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The process may not open what one more server needs.
    #[error(
        "a server needs up to {PER_SERVER} open files, and none are left of the {0} that this process may have; raise `ulimit -n` (LimitNOFILE= with systemd)"
    )]
    Descriptors(u64),
    /// There are enough servers.
    #[error("a balancer has at most {MAX_SERVERS} servers")]
    TooMany,
    /// The largest object of an old-style client does not fit into half of the queue.
    #[error(
        "an object of {max_json} bytes (max-json) cannot pass: a file may take half of the queue's {queue} bytes (queue-bytes)"
    )]
    Limits {
        /// The largest object.
        max_json: u64,
        /// The queue's bytes.
        queue: u64,
    },
    /// The balancer is gone, or going.
    #[error("the balancer is stopping")]
    Stopping,
}

/// What can be changed in a running balancer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers and their weights. Those that are not among them are removed.
    pub servers: Vec<ServerSpec>,
    /// How much may wait.
    pub queue: QueueLimits,
    /// How files are given out.
    pub dispatch: DispatchConfig,
    /// How long files that ended are remembered.
    pub retention: Retention,
    /// The time between two probes of a server.
    pub probe_interval: Duration,
    /// How long a probe, or a connection to a server, may take.
    pub probe_timeout: Duration,
    /// How long a peer may stop in the middle of something; for connections from now on.
    pub stall: Duration,
    /// How long a client may be silent with nothing under way; for connections from now on.
    pub idle: Duration,
    /// The largest object at the JSON doorway, in bytes; for connections from now on.
    pub max_json: u64,
}

impl From<&BalancerConfig> for Settings {
    fn from(config: &BalancerConfig) -> Self {
        Self {
            servers: config.servers.clone(),
            queue: config.queue,
            dispatch: config.dispatch,
            retention: config.retention,
            probe_interval: config.probe_interval,
            probe_timeout: config.probe_timeout,
            stall: config.stall,
            idle: config.idle,
            max_json: config.max_json,
        }
    }
}

/// What the hub is asked for, or told to do.
#[derive(Debug)]
pub enum Command {
    /// To say how everything is.
    Sample(oneshot::Sender<Sample>),
    /// To carry out an order.
    Order(Order, oneshot::Sender<Result<(), OrderError>>),
    /// To work in another way from now on.
    Apply(Box<Settings>, oneshot::Sender<Result<(), OrderError>>),
}

impl Control {
    /// The state of everything now; `None` once the balancer is gone.
    pub async fn sample(&self) -> Option<Sample> {
        let (to, sample) = oneshot::channel();
        self.hub.send(ToHub::Control(Command::Sample(to))).ok()?;
        sample.await.ok()
    }

    /// Carries out an order; it holds when this returns.
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        match &order {
            Order::SetWeight { weight, .. } => check_weight(*weight)?,
            Order::Add(spec) => check_spec(spec)?,
            Order::Drain { .. } | Order::Undrain { .. } | Order::Remove { .. } => {}
        }
        let (to, done) = oneshot::channel();
        self.hub
            .send(ToHub::Control(Command::Order(order, to)))
            .map_err(|_| OrderError::Stopping)?;
        done.await.unwrap_or(Err(OrderError::Stopping))
    }

    /// Lets the balancer work in another way. If the settings make no sense, nothing changes.
    pub async fn apply(&self, settings: Settings) -> Result<(), OrderError> {
        settings.servers.iter().try_for_each(check_spec)?;
        check_servers(&settings.servers)?;
        if settings.servers.len() > MAX_SERVERS {
            return Err(OrderError::TooMany);
        }
        let (max_json, queue) = (settings.max_json, settings.queue.bytes);
        if max_json > Gate::max_file_of(queue) {
            return Err(OrderError::Limits { max_json, queue });
        }
        self.gate.set_limits(settings.queue, max_json);
        self.door.set_bounds(DoorBounds::from(&settings));
        let (to, done) = oneshot::channel();
        self.hub
            .send(ToHub::Control(Command::Apply(Box::new(settings), to)))
            .map_err(|_| OrderError::Stopping)?;
        done.await.unwrap_or(Err(OrderError::Stopping))
    }

    /// Answers a question about files, or carries out what is to be done with dead letters. `None`
    /// once the balancer is gone.
    pub async fn ask(&self, query: Query) -> Option<Answer> {
        let (to, answer) = oneshot::channel();
        self.hub.send(ToHub::Query(query, to)).ok()?;
        answer.await.ok()
    }

    /// Takes one file, as every doorway does. Its receipts follow.
    pub async fn receive<B: UploadBody>(
        &self,
        upload: HttpUpload<B>,
    ) -> Result<Receipts, ReadError> {
        self.door.receive(upload).await
    }

    /// What has happened lately, and what happens next.
    pub fn notices(&self) -> &Events {
        &self.notices
    }

    /// Whether it takes no more files because it was told to stop, or has failed.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
}

fn check_weight(weight: u32) -> Result<(), SpecError> {
    if weight > MAX_WEIGHT {
        Err(SpecError::Weight(weight.to_string()))
    } else {
        Ok(())
    }
}

fn check_spec(spec: &ServerSpec) -> Result<(), SpecError> {
    parse_address(&spec.address)?;
    check_weight(spec.weight)
}
