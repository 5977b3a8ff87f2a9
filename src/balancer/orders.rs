//! What operators ask a balancer for and have it do: samples, orders, and other settings.
//!
//! [`super::control`] checks them and passes them on; the hub carries them out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::oneshot;

use super::dispatch::DispatchConfig;
use super::room::{LimitsError, QueueLimits};
use super::standing::Held;
use crate::access::{Denied, Right};
use crate::config::MAX_WEIGHT;
use crate::config::{ServerSpec, SpecError, check_servers, parse_server};
use crate::descriptors::PER_SERVER;
use crate::protocol::limits::{DEFAULT_MAX_JSON, IDLE_TIMEOUT, OLD_STYLE_TIMEOUT, STALL_TIMEOUT};
use crate::protocol::status::StatusReport;
use crate::queue::Retention;

/// The most servers of one balancer.
pub const MAX_SERVERS: usize = 10_000;

/// The settings of a balancer that can be changed while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configured servers and their weights. A running balancer removes servers that are not
    /// listed, unless they have registered themselves.
    pub servers: Vec<ServerSpec>,
    /// How much may wait.
    pub queue: QueueLimits,
    /// How files are given out to servers.
    pub dispatch: DispatchConfig,
    /// How long ended files and their keys are remembered.
    pub retention: Retention,
    /// The time between two probes of a server.
    pub probe_interval: Duration,
    /// How long a probe, or connecting to a server, may take.
    pub probe_timeout: Duration,
    /// What servers may speak.
    pub servers_speak: ServersSpeak,
    /// How long a peer may pause in the middle of a message; for new connections.
    pub stall: Duration,
    /// How long an old-style server may take to save a file; for new links.
    pub old_style: Duration,
    /// How long a client may be silent with nothing under way; for new connections.
    pub idle: Duration,
    /// The largest object at the JSON doorway, in bytes; for new connections.
    pub max_json: u64,
}

/// What servers may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServersSpeak {
    /// Any protocol that this balancer knows, the old-style one included.
    Any,
    /// The native protocol only: whatever else listens at a server's address gets no files.
    Native,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            queue: QueueLimits {
                files: 1_000_000,
                bytes: 64 * 1024 * 1024 * 1024,
            },
            dispatch: DispatchConfig::default(),
            retention: Retention::default(),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            servers_speak: ServersSpeak::Any,
            stall: STALL_TIMEOUT,
            old_style: OLD_STYLE_TIMEOUT,
            idle: IDLE_TIMEOUT,
            max_json: DEFAULT_MAX_JSON,
        }
    }
}

impl Settings {
    /// Checks each value, and that they fit together.
    pub(super) fn check(&self) -> Result<(), OrderError> {
        self.servers.iter().try_for_each(check_spec)?;
        check_servers(&self.servers)?;
        if self.servers.len() > MAX_SERVERS {
            return Err(OrderError::TooMany);
        }
        self.queue.check(self.max_json)?;
        Ok(())
    }
}

/// What an operator wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Gives a server another weight.
    SetWeight {
        /// The server's name.
        server: String,
        /// Up to [`MAX_WEIGHT`]; a server of weight 0 stays known and gets no files.
        weight: u32,
    },
    /// Sends a server nothing new; files in flight to it finish.
    Drain {
        /// The server's name.
        server: String,
    },
    /// Ends a drain.
    Undrain {
        /// The server's name.
        server: String,
    },
    /// Adds a server.
    Add(ServerSpec),
    /// Sends a server nothing new, and forgets it once nothing is in flight to it.
    Remove {
        /// The server's name.
        server: String,
    },
    /// Forgets what was ordered about a server: it is as it is configured.
    Forget {
        /// The server's name.
        server: String,
    },
}

impl Order {
    /// The right that it takes.
    pub fn right(&self) -> Right {
        match self {
            Self::SetWeight { .. } | Self::Drain { .. } | Self::Undrain { .. } => Right::Operate,
            Self::Add(_) | Self::Remove { .. } | Self::Forget { .. } => Right::Admin,
        }
    }

    /// Its name in the audit log, and what it is about.
    pub(super) fn told(&self) -> (&'static str, String) {
        match self {
            Self::SetWeight { server, weight } => ("order.weight", format!("{server}={weight}")),
            Self::Drain { server } => ("order.drain", server.clone()),
            Self::Undrain { server } => ("order.undrain", server.clone()),
            Self::Add(spec) => ("order.add", format!("{}={}", spec.address, spec.weight)),
            Self::Remove { server } => ("order.remove", server.clone()),
            Self::Forget { server } => ("order.forget", server.clone()),
        }
    }

    /// Checks what can be judged without the hub.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        match self {
            Self::SetWeight { weight, .. } => check_weight(*weight),
            Self::Add(spec) => check_spec(spec),
            Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Remove { .. }
            | Self::Forget { .. } => Ok(()),
        }
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
    parse_server(&spec.address)?;
    check_weight(spec.weight)
}

/// Why an order cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No server has this name.
    #[error("there is no server {0}")]
    UnknownServer(String),
    /// A server's address or weight is invalid, or a server is listed twice.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// One more server needs more open files than the process has left of this many.
    #[error(
        "a server needs up to {PER_SERVER} open files, and none are left of the {0} that this \
         process may have; raise `ulimit -n` (LimitNOFILE= with systemd)"
    )]
    Descriptors(u64),
    /// The balancer has as many servers as it can have.
    #[error("a balancer has at most {MAX_SERVERS} servers")]
    TooMany,
    /// The settings contradict each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Nothing was ordered about this server, or it is as it is configured again.
    #[error("no order stands about a server {0}")]
    NoOrder(String),
    /// The order is in force, and may be forgotten at the next start.
    #[error("it is in force now, but cannot be kept for the next start of the balancer: {0}")]
    NotKept(Arc<str>),
    /// The balancer has stopped or is stopping.
    #[error("the balancer is stopping")]
    Stopping,
    /// Whoever gave it may not.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// The state of the whole balancer at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Files and servers.
    pub status: StatusReport,
    /// What stands about servers by orders, by their names.
    pub ordered: BTreeMap<String, Held>,
    /// Times from a file being read whole to its receipt, since the start, in microseconds.
    pub accept: Histogram<u64>,
    /// Times from a file's acceptance to its server's acknowledgement, since the start, in
    /// microseconds.
    pub deliver: Histogram<u64>,
    /// When the sample was taken.
    pub at: Instant,
}

/// What the registry of members wants of a server. Each says how the server is to be from now on, so
/// that one that comes twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberOrder {
    /// The balancer is to have it.
    Add {
        /// The server, and the weight that it registered with.
        spec: ServerSpec,
        /// The identity of the directory that registered: who answers with another one gets no
        /// files.
        directory: Option<Arc<str>>,
    },
    /// A server that registered has another address: what was ordered about it goes along.
    Moved {
        /// Where it was. It gets nothing new there.
        from: Arc<str>,
        /// Where it is.
        to: Arc<str>,
        /// Its directory.
        directory: Option<Arc<str>>,
    },
    /// It is to get nothing new, for this reason; or files again.
    HoldBack {
        /// The server's name.
        server: Arc<str>,
        /// Why; `None`: no longer.
        reason: Option<Arc<str>>,
    },
    /// It is to be forgotten, once nothing is in flight to it and nothing in doubt there.
    Remove {
        /// The server's name.
        server: Arc<str>,
    },
}

/// What [`super::control::Control`] asks of the hub. The answer comes through the channel.
#[derive(Debug)]
pub enum Command {
    /// Do what the registry of members wants.
    Member(MemberOrder, oneshot::Sender<Result<(), OrderError>>),
    /// Carry out an order.
    Order(Order, oneshot::Sender<Result<(), OrderError>>),
    /// Work with these settings from now on.
    Apply(Box<Settings>, oneshot::Sender<Result<(), OrderError>>),
    /// Tell which orders stand, by server.
    Standing(oneshot::Sender<Vec<(String, Held)>>),
}
