//! The story of a balancer: it opens its journal, opens its doors, and stops in two phases.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::config::{BalancerConfig, BalancerError, Outcome};
use super::control::Control;
use super::events::Events;
use super::gate::Gate;
use super::happening::Happening;
use super::hub::{Clock, Deps, Hub, HubLimits, Tasks};
use super::ingress::{self, Door, Inner, Uploads};
use super::join::Joining;
use super::members;
use super::messages::ToHub;
use super::recovery_log::log_recovery;
use super::sharing::Sharing;
use super::standing::{self, Standing};
use crate::fleet::Fleet;
use crate::protocol::{Refusal, RefusalCode};
use crate::queue::disk::Disk;
use crate::queue::journal::Journal;
use crate::queue::recovery::{self, Recovered};
use crate::queue::{self, Writer};
use crate::shutdown::Shutdown;
use crate::transport::{self, Connect, Listener, Places};

/// How long a disk may take for what the fleet has to keep at the end.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// A balancer that has opened its journal and waits for a listener.
pub struct Balancer {
    config: BalancerConfig,
    journal: Journal,
    disk: Arc<dyn Disk>,
    recovered: Recovered,
    standing: Standing,
    fleet: Fleet,
    control: Control,
    door: Door,
    uploads: Arc<Uploads>,
    to_hub: mpsc::UnboundedReceiver<ToHub>,
    sharing: Sharing,
    /// Keeps other balancers out of the journal.
    lock: queue::Lock,
}

impl Balancer {
    /// Checks the configuration, takes hold of the journal and reads it.
    pub fn open(config: BalancerConfig) -> Result<Self, BalancerError> {
        let settings = &config.settings;
        settings.queue.check(settings.max_json)?;
        let (lock, disk) = queue::take_hold(&config.journal)?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let (journal, recovered) = recovery::open(disk.clone(), config.journal_config)?;
        log_recovery(&recovered);
        // The oldest segment may have to be written again, and a new one begun.
        let reserve = 2 * journal.segment_size();
        let (hub, to_hub) = mpsc::unbounded_channel();
        let events = Events::default();
        let fleet = open_fleet(&disk, &recovered, &config, &events);
        let standing = standing_orders(&*disk, &recovered, &config, &fleet, &events);
        let inner = behind_door(&config, &disk, reserve, &hub, &events);
        let access = config.access.clone();
        let tls = config.tls.clone();
        let joining = Joining::new(fleet.clone(), config.join.clone());
        let limits = config.limits;
        let door = Door::new(access, tls, joining, inner.clone(), settings, limits);
        let control = Control {
            hub,
            gate: inner.gate.clone(),
            door_bounds: door.bounds.clone(),
            events,
            shutdown: door.shutdown.clone(),
        };
        let sharing = Sharing::new(config.max_connections, &config.openings);
        Ok(Self {
            config,
            journal,
            disk,
            recovered,
            standing,
            fleet,
            control,
            door,
            uploads: inner.uploads,
            to_hub,
            sharing,
            lock,
        })
    }

    /// The operators' handle: samples and orders.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The members of the fleet.
    pub fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    /// The way in for files that do not come over the balancer's own listener.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Runs until `stop` is cancelled. Then it takes no more files, delivers those that it has
    /// until its grace is over, and ends. If it fails, it cancels `stop` itself.
    pub async fn run(
        self,
        listener: impl Listener,
        connector: Arc<dyn Connect>,
        stop: CancellationToken,
    ) -> Result<Outcome, BalancerError> {
        let shutdown = self.door.shutdown.clone();
        let farewell = self.door.farewell.clone();
        let last_words = self.config.limits.last_words;
        let events = self.control.events;
        let tasks = TaskTracker::new();
        let journal = self.journal.id();
        let writer = start_writer(self.journal, &self.disk, self.control.hub.clone())
            .inspect_err(|_| stop.cancel())?;
        tasks.spawn(until_ended(&shutdown, self.uploads.keep_tidy()));
        let fleet = self.fleet.clone();
        tasks.spawn(until_ended(&shutdown, async move { fleet.run().await }));
        let gate = self.control.gate.clone();
        tasks.spawn(until_ended(&shutdown, async move { gate.watch().await }));
        let users = self.door.lock().clone();
        serve_clients(self.door, self.sharing.places(), listener, &tasks);
        let lock = self.lock;
        let outside = Tasks {
            tracker: tasks.clone(),
            shutdown: shutdown.clone(),
            fleet: self.fleet.clone(),
        };
        let deps = Deps {
            config: self.config,
            limits: HubLimits::default(),
            clock: Clock::start(),
            disk: self.disk,
            journal,
            connector,
            outside: Box::new(outside),
            to_self: self.control.hub,
            events: events.clone(),
            gate: self.control.gate,
            lock: users,
            share: self.sharing,
            standing: self.standing,
            fleet: self.fleet.clone(),
        };
        let fleet = self.fleet.clone();
        let members = members::drive(self.fleet, deps.to_self.clone(), events.clone());
        let hub = Hub::new(self.recovered, self.to_hub, Box::new(writer), deps);
        // By now the fleet knows what is configured, and wants nothing done about that.
        tasks.spawn(until_ended(&shutdown, members));
        events.report(&Happening::Started);
        let draining = drain_when_told(stop.clone(), shutdown.clone(), events);
        tasks.spawn(until_ended(&shutdown, draining));
        // As a task it can run on the worker that has a message for it. The caller's future may belong
        // to a thread that each message would have to wake up. The lock goes with it: if this future
        // is dropped, the journal stays locked until the hub and its writer have ended.
        let draining = shutdown.draining.clone();
        let hub = AbortOnDropHandle::new(tokio::spawn(async move {
            let lock = lock;
            (hub.run(draining).await, lock)
        }));
        let (result, lock) = match hub.await {
            Ok(ended) => ended,
            Err(error) => resume_unwind(error.into_panic()),
        };

        // After a failure the doorways tell their clients why.
        if let Err(error) = &result {
            let _ = farewell.set(Refusal::new(RefusalCode::Storage, error.to_string()));
        }
        stop.cancel();
        shutdown.end();
        tasks.close();
        let _ = tokio::time::timeout(last_words, tasks.wait()).await;
        let closing = tokio::task::spawn_blocking(move || fleet.close());
        let _ = tokio::time::timeout(LAST_WRITES, closing).await;
        drop(lock);
        let undelivered = result?;
        tracing::info!(undelivered, "balancer stopped");
        Ok(Outcome { undelivered })
    }
}

/// The orders of earlier runs. If they cannot be read the balancer starts all the same: files come
/// first, and operators are told.
fn standing_orders(
    disk: &dyn Disk,
    recovered: &Recovered,
    config: &BalancerConfig,
    fleet: &Fleet,
    events: &Events,
) -> Standing {
    let journal = standing::name_of(recovered.journal);
    let mut standing = Standing::read(disk, &journal).unwrap_or_else(|reason| {
        let place = standing::FILE.set_aside(disk);
        let place = config.journal.join(place).display().to_string();
        events.report(&Happening::OrdersLost {
            reason: &reason,
            place: &place,
        });
        Standing::default()
    });
    let servers = standing::with_registered(&config.settings.servers, &fleet.registered());
    let (_, overtaken) = standing.begin(&servers);
    for order in &overtaken {
        tracing::warn!(order, "an order of an earlier run counts no longer");
    }
    // They are over, also if the configuration changes back.
    if !overtaken.is_empty()
        && let Err(error) = standing::FILE.write(disk, &standing.text(&journal))
    {
        tracing::error!(%error, "operators' orders cannot be kept for the next start");
    }
    standing
}

/// The members of the fleet, with those of earlier runs. If they cannot be read the balancer starts
/// all the same, and operators are told.
fn open_fleet(
    disk: &Arc<dyn Disk>,
    recovered: &Recovered,
    config: &BalancerConfig,
    events: &Events,
) -> Fleet {
    let journal = standing::name_of(recovered.journal);
    let (fleet, lost) = Fleet::open(disk.clone(), journal, config.registry, &config.history);
    if let Some(lost) = lost {
        let place = config.journal.join(lost.place).display().to_string();
        events.report(&Happening::FleetLost {
            reason: &lost.reason,
            place: &place,
        });
    }
    fleet
}

/// Makes what is behind the door: the way to an empty queue.
fn behind_door(
    config: &BalancerConfig,
    disk: &Arc<dyn Disk>,
    reserve: u64,
    hub: &mpsc::UnboundedSender<ToHub>,
    events: &Events,
) -> Inner {
    let settings = &config.settings;
    let gate = Gate::new(
        settings.queue,
        settings.max_json,
        disk.clone(),
        reserve,
        hub.clone(),
    );
    let uploads = Uploads::new(
        disk.clone(),
        config.journal_config.durability,
        config.openings.large,
        hub.clone(),
    );
    Inner {
        gate: Arc::new(gate.reporting(events.clone(), config.journal.clone())),
        uploads: Arc::new(uploads),
        hub: hub.clone(),
    }
}

/// Starts the accept loop.
fn serve_clients(door: Door, places: Arc<Places>, listener: impl Listener, tasks: &TaskTracker) {
    let draining = door.shutdown.draining.clone();
    tasks.spawn(transport::serve(
        listener,
        places,
        draining,
        tasks.clone(),
        move |stream, peer, seat| ingress::serve(stream, peer, door.clone(), seat),
    ));
}

/// A task that ends with the balancer at the latest.
fn until_ended<F: Future<Output = ()> + Send + 'static>(
    shutdown: &Shutdown,
    task: F,
) -> impl Future<Output = ()> + Send + use<F> {
    let task = shutdown.ended.clone().run_until_cancelled_owned(task);
    async move {
        task.await;
    }
}

/// Waits to be told to stop, reports it, and begins to drain.
async fn drain_when_told(stop: CancellationToken, shutdown: Shutdown, events: Events) {
    stop.cancelled().await;
    events.report(&Happening::Stopping);
    shutdown.draining.cancel();
}

/// Starts the journal's writer thread, which reports to the hub.
fn start_writer(
    journal: Journal,
    disk: &Arc<dyn Disk>,
    hub: mpsc::UnboundedSender<ToHub>,
) -> Result<Writer, BalancerError> {
    let report = move |progress| drop(hub.send(ToHub::Journal(progress)));
    Writer::start(journal, disk.clone(), report).map_err(BalancerError::Thread)
}
