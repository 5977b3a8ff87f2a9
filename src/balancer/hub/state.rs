//! The hub's fields, and what it is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::clock::Clock;
use super::commits::{Commits, Submit};
use super::errands::Errands;
use super::files::{Files, Tag};
use super::keeping::Keeping;
use super::limits::HubLimits;
use super::news::News;
use super::outside::Outside;
use super::reading::Reading;
use super::retiring::Retiring;
use super::servers::{ServerHandle, Servers, ToldOfServer};
use super::times::Times;
use super::told::Told;
use super::waiters::Waiters;
use crate::access::Lock;
use crate::balancer::BalancerConfig;
use crate::balancer::cold::Cold;
use crate::balancer::directories::Directories;
use crate::balancer::dispatch::{Action, Delivery, Dispatcher};
use crate::balancer::events::Events;
use crate::balancer::gate::Gate;
use crate::balancer::happening::Happening;
use crate::balancer::messages::ToHub;
use crate::balancer::orders::Settings;
use crate::balancer::probe::{ProbePace, Prober, Route};
use crate::balancer::sharing::Sharing;
use crate::balancer::standing::Standing;
use crate::fleet::Fleet;
use crate::queue::Ledger;
use crate::queue::disk::Disk;
use crate::queue::recovery::Recovered;
use crate::queue::segment::JournalId;
use crate::transport::Connect;

/// The hub's dependencies.
pub(in crate::balancer) struct Deps {
    pub(in crate::balancer) config: BalancerConfig,
    pub(in crate::balancer) limits: HubLimits,
    pub(in crate::balancer) clock: Clock,
    pub(in crate::balancer) disk: Arc<dyn Disk>,
    pub(in crate::balancer) journal: JournalId,
    pub(in crate::balancer) connector: Arc<dyn Connect>,
    pub(in crate::balancer) outside: Box<dyn Outside>,
    pub(in crate::balancer) to_self: mpsc::UnboundedSender<ToHub>,
    pub(in crate::balancer) events: Events,
    pub(in crate::balancer) gate: Arc<Gate>,
    /// Counts the files of an earlier run for their users.
    pub(in crate::balancer) lock: Lock,
    /// What servers may open.
    pub(in crate::balancer) share: Sharing,
    /// The orders of earlier runs.
    pub(in crate::balancer) standing: Standing,
    /// The members, which servers are among.
    pub(in crate::balancer) fleet: Fleet,
}

/// The task that owns all files.
pub(in crate::balancer) struct Hub {
    pub(super) files: Files,
    pub(super) waiters: Waiters,
    pub(super) commits: Commits,
    pub(super) servers: Servers,
    /// How many servers there ever were.
    generations: u64,
    /// Which server speaks for which directory.
    pub(super) directories: Directories,
    pub(super) next_number: u64,
    /// The journal's identity as servers know it, in hex.
    pub(super) journal_name: Arc<str>,
    pub(super) reading: Reading,
    pub(super) errands: Errands,
    /// Bytes of content of waiting files in memory.
    pub(super) in_memory: u64,
    pub(super) told: Told,
    pub(super) news: News,
    pub(super) pace: watch::Sender<ProbePace>,
    pub(super) times: Times,
    /// Why the journal cannot write now, if so.
    pub(super) trouble: Option<String>,
    /// The dispatcher's decisions while they are carried out: kept for its capacity.
    pub(super) actions: Vec<Action<Delivery<Tag>>>,
    pub(super) next_sweep: Duration,
    pub(super) keeping: Keeping,
    pub(super) retiring: Retiring,
    pub(super) inbox: mpsc::UnboundedReceiver<ToHub>,
    pub(super) deps: Deps,
}

impl Hub {
    /// A hub over what the journal holds. It probes the configured servers from now on.
    pub(in crate::balancer) fn new(
        mut recovered: Recovered,
        inbox: mpsc::UnboundedReceiver<ToHub>,
        writer: Box<dyn Submit>,
        deps: Deps,
    ) -> Self {
        let began = deps.clock.began();
        let keys = std::mem::take(&mut recovered.keys);
        let mut hub = Self {
            files: Files {
                accepting: BTreeMap::new(),
                dispatcher: Dispatcher::new(deps.config.settings.dispatch),
                backlog: Cold::new(deps.gate.rooms().clone()),
                ledger: Ledger::new(deps.config.settings.retention, keys),
            },
            waiters: Waiters::default(),
            commits: Commits::new(writer),
            servers: Servers::default(),
            generations: 0,
            directories: Directories::default(),
            next_number: recovered.next_number,
            journal_name: format!("{:032x}", u128::from_be_bytes(recovered.known_as)).into(),
            reading: Reading::Idle,
            errands: Errands::default(),
            in_memory: 0,
            told: Told::default(),
            news: News::default(),
            pace: watch::Sender::new(pace(&deps.config.settings)),
            times: Times::default(),
            trouble: None,
            actions: Vec::new(),
            next_sweep: began,
            keeping: Keeping::default(),
            retiring: Retiring::default(),
            inbox,
            deps,
        };
        hub.begin_servers(began);
        hub.recover(recovered);
        hub
    }

    /// Adds a server and begins to probe it.
    pub(super) fn add_server(&mut self, address: &str, weight: u32, now: Duration) {
        let slot = self.files.dispatcher.add_server(address, weight, now);
        self.generations += 1;
        let address: Arc<str> = address.into();
        let nudge = Arc::new(Notify::new());
        let probes = self.deps.outside.probe(Prober {
            slot,
            address: address.clone(),
            place: slot.index(),
            nudge: nudge.clone(),
            connector: self.deps.connector.clone(),
            hub: self.deps.to_self.clone(),
            pace: self.pace.subscribe(),
            generation: self.generations,
            route: Route::default(),
        });
        let server = ServerHandle {
            address,
            generation: self.generations,
            nudge,
            link: None,
            twice: None,
            expected: None,
            another: None,
            told: ToldOfServer::default(),
            _probes: probes,
        };
        self.servers.insert(slot, server);
    }

    /// Logs what happened, and notes it for operators.
    pub(super) fn report(&self, happening: &Happening<'_>) {
        self.deps.events.report(happening);
    }
}

/// Milliseconds since the beginning of 1970, UTC, as records have them.
pub(super) fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How servers are probed with these settings.
pub(super) fn pace(settings: &Settings) -> ProbePace {
    ProbePace {
        interval: settings.probe_interval,
        timeout: settings.probe_timeout,
        servers_speak: settings.servers_speak,
    }
}
