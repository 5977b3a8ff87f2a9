//! The one task that owns the [`Dispatcher`]: it feeds it what happened, with the time, and carries out what it
//! decides. Everything else in the balancer talks to it over one channel, so that no lock is shared on the way of a
//! file, and what came in together is decided together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::dispatch::{Action, Dispatcher, Held, Parcel};
use super::event::{Admission, Event, LinkEvent, Outgoing, Reply, Room};
use super::link::{self, Target};
use super::{BalancerConfig, probe};
use crate::protocol::Message;
use crate::queue::{MemoryQueue, NumbersError};
use crate::transport::Connect;

/// How many events are decided at once.
const BATCH: usize = 1024;

/// What the hub keeps beside a queued file.
#[derive(Debug)]
pub struct Tag {
    reply: Option<Reply>,
    /// Held for as long as the file is in the queue.
    _room: Room,
}

/// An open link, as the hub holds it; dropping it closes the link.
struct Link {
    parcels: mpsc::UnboundedSender<Parcel>,
    _close: DropGuard,
}

/// What the hub keeps of a server.
struct Server {
    address: Arc<str>,
    nudge: Arc<Notify>,
    link: Option<Link>,
}

/// The driver of the [`Dispatcher`].
pub(super) struct Hub {
    dispatcher: Dispatcher<Tag, MemoryQueue<Held<Tag>>>,
    /// By slot.
    servers: Vec<Server>,
    started: Instant,
    events: mpsc::UnboundedReceiver<Event>,
    to_self: mpsc::UnboundedSender<Event>,
    connector: Arc<dyn Connect>,
    config: BalancerConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Hub {
    /// A hub over an empty queue, probing the configured servers. Links and probes end with `stop`.
    pub(super) fn new(
        config: BalancerConfig,
        queue: MemoryQueue<Held<Tag>>,
        (to_self, events): (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
        connector: Arc<dyn Connect>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let dispatcher = Dispatcher::new(queue, config.window, config.health);
        let (servers, started) = (Vec::new(), Instant::now());
        let mut hub = Self { dispatcher, servers, started, events, to_self, connector, config, tasks, stop };
        for server in hub.config.servers.clone() {
            hub.add_server(&server.address, server.weight);
        }
        hub
    }

    fn add_server(&mut self, address: &str, weight: u32) {
        let slot = self.dispatcher.add_server(address, weight, self.now());
        let server = Server { address: address.into(), nudge: Arc::new(Notify::new()), link: None };
        let prober = probe::Prober {
            slot,
            address: server.address.clone(),
            place: self.servers.len(),
            nudge: server.nudge.clone(),
            connector: self.connector.clone(),
            hub: self.to_self.clone(),
            interval: self.config.probe_interval,
            timeout: self.config.probe_timeout,
        };
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(prober.run()));
        // Slots are given in order, so the server's place is its slot's.
        self.servers.push(server);
    }

    /// Works until `drain` is cancelled; then until the queue is empty, or for `grace` at the longest. Gives the
    /// number of files that are left undelivered.
    pub(super) async fn run(mut self, drain: CancellationToken, grace: Duration) -> Result<usize, NumbersError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ends = None;
        loop {
            let due = self.dispatcher.next_due().map(|due| self.started + due);
            let wake = due.into_iter().chain(ends).min();
            tokio::select! {
                biased;
                () = drain.cancelled(), if ends.is_none() => ends = Some(Instant::now() + grace),
                _ = self.events.recv_many(&mut batch, BATCH) => {}
                () = until(wake) => {}
            }
            let now = self.now();
            for event in batch.drain(..) {
                self.handle(event, now)?;
            }
            self.dispatcher.advance(now);
            self.act();
            let done = self.dispatcher.is_empty() && self.events.is_empty();
            if ends.is_some_and(|ends| done || Instant::now() >= ends) {
                return Ok(self.dispatcher.undelivered());
            }
        }
    }

    fn handle(&mut self, event: Event, now: Duration) -> Result<(), NumbersError> {
        match event {
            Event::Admit(admission) => self.admit(admission, now)?,
            Event::Status(to) => {
                let _ = to.send(Outgoing::Status(Box::new(self.dispatcher.status(now))));
            }
            Event::Probed { slot, probed } => self.dispatcher.probed(slot, probed, now),
            Event::Link { slot, epoch, event } => match event {
                LinkEvent::Opened => self.dispatcher.link_opened(slot, epoch, now),
                LinkEvent::Stored { number, confirmed } => self.dispatcher.stored(slot, epoch, number, confirmed, now),
                LinkEvent::NotStored { number, refusal } => {
                    self.dispatcher.not_stored(slot, epoch, number, &refusal, now);
                }
                LinkEvent::Lost { number, reason } => self.dispatcher.lost(slot, epoch, number, &reason, now),
                LinkEvent::Closed(reason) => self.dispatcher.link_closed(slot, epoch, &reason, now),
            },
        }
        Ok(())
    }

    /// The one function that every file passes: number, queue, log, receipt.
    fn admit(&mut self, admission: Admission, now: Duration) -> Result<(), NumbersError> {
        let Admission { title, content, room, peer, reply } = admission;
        let bytes = content.len();
        let receipt = reply.clone();
        let number = self.dispatcher.accept(title.clone(), content, Tag { reply, _room: room }, now)?;
        tracing::info!(number, title = &*title, bytes, from = %peer, "received");
        if let Some(Reply { to, id }) = receipt {
            // The client may have gone; its file stays.
            let _ = to.send(Outgoing::Message(Message::Accepted { id, number }));
        }
        Ok(())
    }

    fn act(&mut self) {
        for action in self.dispatcher.actions() {
            match action {
                Action::Send { slot, parcel } => {
                    let link = self.servers.get(slot.index()).and_then(|server| server.link.as_ref());
                    // A link that has ended has said so in an event that is on its way to us.
                    let _ = link.map(|link| link.parcels.send(parcel));
                }
                Action::Delivered { number, server, confirmed, file } => {
                    if let Some(Reply { to, id }) = file.tag.tag.reply {
                        let _ = to.send(Outgoing::Message(Message::Delivered { id, number, server, confirmed }));
                    }
                }
                Action::OpenLink { slot, dialect, epoch } => {
                    let Some(server) = self.servers.get_mut(slot.index()) else { continue };
                    let (parcels, from_hub) = mpsc::unbounded_channel();
                    let closed = self.stop.child_token();
                    let target = Target {
                        slot,
                        epoch,
                        address: server.address.clone(),
                        connector: self.connector.clone(),
                        hub: self.to_self.clone(),
                        connect_timeout: self.config.probe_timeout,
                        stall: self.config.stall,
                    };
                    let task = link::run(target, dialect, from_hub);
                    self.tasks.spawn(closed.clone().run_until_cancelled_owned(task));
                    server.link = Some(Link { parcels, _close: closed.drop_guard() });
                }
                Action::CloseLink { slot } => {
                    if let Some(server) = self.servers.get_mut(slot.index()) {
                        server.link = None;
                    }
                }
                Action::Probe { slot } => {
                    if let Some(server) = self.servers.get(slot.index()) {
                        server.nudge.notify_one();
                    }
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Sleeps until then, or for ever.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
