//! Role: the balancer. Takes files from clients, queues them, gives receipts, and sends the files
//! on to servers.
//!
//! ```text
//! ingress ──▶ gate ──▶ hub ──▶ link ──▶ server
//!    ▲                │  ▲       │
//!    └── receipts ────┘  └─ acks ┴─ probe
//! ```
//!
//! [`ingress`] reads from clients and [`gate`] makes room; [`hub`] is the one task that owns all
//! that is known of files and every decision, which [`dispatch`] takes without I/O; the journal's
//! writer is a thread beside it; `link` and `probe` talk to servers and report back to the hub.
//! Operators look in and give orders by [`control`], and hear of what happened from [`notices`].

mod cold;
pub mod control;
mod directories;
pub mod dispatch;
pub mod events;
pub mod gate;
pub mod hub;
pub mod ingress;
mod link;
pub mod messages;
mod probe;
mod queries;
pub mod query;
mod refusing;
mod sharing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use dispatch::{DispatchConfig, InDoubt, Window};
pub use gate::QueueLimits;

use self::sharing::Sharing;
use crate::config::ServerSpec;
use crate::descriptors::Openings;
use crate::protocol::limits::{DEFAULT_MAX_JSON, IDLE_TIMEOUT, STALL_TIMEOUT};
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::queue::journal::Journal;
use crate::queue::recovery::{self, Recovered, Report, Torn};
use crate::queue::{self, Durability, JournalConfig, JournalError, Lock, Retention, Writer};
use crate::transport::{self, Connect, Listener};
use control::{Control, Settings};
use events::{Events, Kind, Level};
use gate::Gate;
use hub::{Deps, Hub};
use ingress::{Door, DoorBounds, Uploads};
use messages::ToHub;

/// How a balancer is to work.
#[derive(Debug, Clone)]
pub struct BalancerConfig {
    /// The servers and their weights.
    pub servers: Vec<ServerSpec>,
    /// How much may wait.
    pub queue: QueueLimits,
    /// How files are given out.
    pub dispatch: DispatchConfig,
    /// How long files that ended are remembered, and their keys with them.
    pub retention: Retention,
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
    /// What the process may open beside what is reserved for these servers and the rest.
    pub openings: Openings,
    /// How long a stopping balancer goes on delivering what it has.
    pub grace: Duration,
    /// The journal's directory.
    pub journal: PathBuf,
    /// How the journal is kept.
    pub journal_config: JournalConfig,
}

impl Default for BalancerConfig {
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
            stall: STALL_TIMEOUT,
            idle: IDLE_TIMEOUT,
            max_json: DEFAULT_MAX_JSON,
            max_connections: 16_384,
            openings: Openings::UNBOUNDED,
            grace: Duration::from_secs(10),
            journal: PathBuf::from("journal"),
            journal_config: JournalConfig {
                durability: Durability::Disk,
                segment_size: None,
            },
        }
    }
}

/// Why a balancer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The journal cannot be opened, or has failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's thread cannot be started.
    #[error("cannot start the journal's thread: {0}")]
    Thread(std::io::Error),
    /// A server knows of files that this journal does not.
    #[error(
        "server {server} {found}: this journal is a copy, or was set back to an earlier state, and gives request numbers a second time"
    )]
    SetBack {
        /// The server that says so.
        server: Arc<str>,
        /// What it says, and what the journal says.
        found: String,
    },
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
    /// Accepted files that were not delivered: the journal keeps them for the next start.
    pub undelivered: usize,
}

/// A balancer that has all it needs but connections.
pub struct Balancer {
    config: BalancerConfig,
    journal: Journal,
    disk: Arc<dyn Disk>,
    recovered: Recovered,
    control: Control,
    finished: CancellationToken,
    events: mpsc::UnboundedReceiver<ToHub>,
    share: Sharing,
    /// Keeps other balancers out of the journal.
    lock: Lock,
}

impl Balancer {
    /// Checks the configuration, takes hold of the journal and reads it.
    pub fn open(config: BalancerConfig) -> Result<Self, BalancerError> {
        let (lock, disk) = queue::take_hold(&config.journal)?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let (journal, recovered) = recovery::open(disk.clone(), config.journal_config)?;
        log_recovery(&recovered);
        let (to_hub, events) = mpsc::unbounded_channel();
        // The oldest segment may have to be written again, and a new one begun.
        let reserve = 2 * journal.segment_size();
        let notices = Events::default();
        let gate = Gate::new(
            config.queue,
            config.max_json,
            disk.clone(),
            reserve,
            to_hub.clone(),
        );
        let gate = Arc::new(gate.telling(notices.clone(), config.journal.clone()));
        if config.max_json > gate.max_file() {
            return Err(BalancerError::Limits {
                max_json: config.max_json,
                queue: config.queue.bytes,
            });
        }
        let share = Sharing::new(config.max_connections, &config.openings);
        let (stop, finished) = (CancellationToken::new(), CancellationToken::new());
        let door = Door {
            gate: gate.clone(),
            uploads: Arc::new(Uploads::new(
                disk.clone(),
                config.journal_config.durability,
                config.openings.large,
                to_hub.clone(),
            )),
            farewell: Arc::default(),
            bounds: watch::Sender::new(DoorBounds::from(&Settings::from(&config))),
            stop: stop.clone(),
            finished: finished.clone(),
        };
        let control = Control {
            hub: to_hub,
            gate,
            door,
            notices,
            stop,
        };
        Ok(Self {
            config,
            journal,
            disk,
            recovered,
            control,
            finished,
            events,
            share,
            lock,
        })
    }

    /// What the operator's surface does with it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Runs until `stop` is cancelled: then it takes no more files, delivers what it has for as
    /// long as the configuration allows, and ends.
    pub async fn run(
        self,
        listener: impl Listener,
        connector: Arc<dyn Connect>,
        stop: CancellationToken,
    ) -> Result<Outcome, BalancerError> {
        let Self {
            config,
            journal,
            disk,
            recovered,
            control,
            finished,
            events,
            share,
            lock,
        } = self;
        let Control {
            hub: to_hub,
            gate,
            door,
            notices,
            stop: stopping,
        } = control;
        let tasks = TaskTracker::new();
        let (uploads, farewell) = (door.uploads.clone(), door.farewell.clone());
        tasks.spawn(
            finished
                .clone()
                .run_until_cancelled_owned(uploads.keep_tidy()),
        );
        let watched = gate.clone();
        tasks.spawn(
            finished
                .clone()
                .run_until_cancelled_owned(async move { watched.watch().await }),
        );
        let accept = transport::serve(
            listener,
            share.places(),
            stopping.clone(),
            tasks.clone(),
            move |stream, peer, seat| ingress::serve(stream, peer, door.clone(), seat),
        );
        tasks.spawn(accept);

        let grace = config.grace;
        let id = journal.id();
        let told = to_hub.clone();
        let tell = move |progress| drop(told.send(ToHub::Journal(progress)));
        let writer = Writer::start(journal, disk.clone(), tell).map_err(BalancerError::Thread)?;
        let (tasks_of_hub, ended) = (tasks.clone(), finished.clone());
        let with = Deps {
            config,
            disk,
            writer,
            journal: id,
            connector,
            tasks: tasks_of_hub,
            stop: ended,
            to_self: to_hub,
            notices: notices.clone(),
            gate,
            share,
        };
        notices.tell(
            Level::Info,
            Kind::Started,
            None,
            None,
            "the balancer started",
        );
        let (asked, stopping_now, told) = (stop.clone(), stopping.clone(), notices.clone());
        tasks.spawn(finished.clone().run_until_cancelled_owned(async move {
            asked.cancelled().await;
            told.tell(
                Level::Warn,
                Kind::Stopping,
                None,
                None,
                "the balancer is stopping: it takes no more files",
            );
            stopping_now.cancel();
        }));
        let hub = Hub::new(recovered, events, with);
        tracing::info!("balancer started");
        let ended = hub.run(stopping.clone(), grace).await;

        // A hub that failed stops the doorways, too.
        if let Err(error) = &ended {
            let _ = farewell.set(Refusal::new(RefusalCode::Storage, error.to_string()));
        }
        stop.cancel();
        stopping.cancel();
        finished.cancel();
        tasks.close();
        let _ = tokio::time::timeout(LAST_WORDS, tasks.wait()).await;
        drop(lock);
        let undelivered = ended?;
        tracing::info!(undelivered, "balancer stopped");
        Ok(Outcome { undelivered })
    }
}

/// Tells what a recovery has found.
fn log_recovery(recovered: &Recovered) {
    let dead = recovered.dead();
    let Report {
        segments,
        bytes,
        torn,
        damage,
        lost_records,
        lost_content,
        ..
    } = &recovered.report;
    let waiting = recovered.files.len() - dead;
    tracing::info!(
        waiting,
        dead,
        next_number = recovered.next_number,
        segments,
        bytes,
        "journal opened"
    );
    if let Some(Torn {
        name,
        offset,
        len,
        aside,
    }) = torn
    {
        let aside = aside.as_deref().unwrap_or("no room for it");
        tracing::warn!(
            segment = name,
            offset,
            bytes = len,
            copy = aside,
            "the end of the journal was never synced, and is cut off"
        );
    }
    for damage in damage.iter().filter(|damage| !damage.is_known) {
        let (name, what, offset, len) = (&*damage.name, &*damage.what, damage.offset, damage.len);
        let aside = damage.aside.as_deref().unwrap_or("-");
        tracing::error!(
            segment = name,
            what,
            offset,
            bytes = len,
            aside,
            "the journal is damaged"
        );
    }
    if *lost_records > 0 {
        tracing::error!(
            records = lost_records,
            "records are missing from the journal: files may be lost, or come twice"
        );
    }
    for number in lost_content {
        tracing::error!(
            number,
            "the content of a file is lost: it is a dead letter now"
        );
    }
}

/// How long connections get to write their last receipts when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
