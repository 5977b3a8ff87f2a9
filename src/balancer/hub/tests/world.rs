//! The hub, and everything around it: a journal on a simulated disk that commits when a test says
//! so, servers at the other ends of channels, and clients that note their receipts.
//!
//! After every step the world checks that nothing was announced that is not durable, and that each
//! file is in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::outside::{Beside, Nowhere, Ops};
use super::peers::{Client, Server};
use crate::access::Lock;
use crate::balancer::events::Events;
use crate::balancer::gate::Gate;
use crate::balancer::hub::{Clock, Deps, Hub, HubLimits};
use crate::balancer::messages::{ToClient, ToHub, ToServer};
use crate::balancer::orders::Settings;
use crate::balancer::room::QueueLimits;
use crate::balancer::sharing::Sharing;
use crate::balancer::standing::{self, Standing};
use crate::balancer::{BalancerConfig, BalancerError};
use crate::config::ServerSpec;
use crate::descriptors::Openings;
use crate::protocol::Message;
use crate::queue::journal::{Journal, JournalConfig};
use crate::queue::sim::{Shape, SimDisk};
use crate::queue::{Durability, JournalError, Op, Progress, Retention, recovery};

/// The journal's configuration: small segments, so that tests see several.
const JOURNAL: JournalConfig = JournalConfig {
    durability: Durability::Disk,
    segment_size: Some(64 * 1024),
};

/// Small bounds, so that few files reach them.
pub(super) const LIMITS: HubLimits = HubLimits {
    memory: 4096,
    ready: 8,
    read_back_files: 4,
    read_back_bytes: 64 * 1024,
};

/// More than any test needs.
const QUEUE: QueueLimits = QueueLimits {
    files: 1000,
    bytes: 1 << 30,
};

/// How long ended files are remembered.
pub(super) const RETENTION: Duration = Duration::from_mins(1);

/// A hub and everything around it.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) journal: Journal,
    pub(super) ops: Ops,
    pub(super) hub: Hub,
    pub(super) beside: Beside,
    /// Jobs wait until a test runs them.
    pub(super) holds_jobs: bool,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) clients: Vec<Client>,
    pub(super) gate: Arc<Gate>,
    pub(super) events: Events,
    pub(super) now: Duration,
    /// The numbers of files whose acceptance is durable.
    pub(super) durable: BTreeSet<u64>,
    /// What was sent, by title.
    pub(super) contents: BTreeMap<String, Vec<u8>>,
    pub(super) next_title: usize,
}

impl World {
    /// A hub over an empty journal, with servers of these names that nobody has heard yet.
    pub(super) fn new(names: &[&str]) -> Self {
        let servers = names.iter().map(|name| {
            let server = Server {
                identity: format!("directory of {name}"),
                ..Server::default()
            };
            ((*name).to_owned(), server)
        });
        Self::open(
            SimDisk::new(),
            servers.collect(),
            Duration::from_secs(1_000_000),
        )
        .unwrap()
    }

    /// The same with all servers up.
    pub(super) fn up(names: &[&str]) -> Self {
        let mut world = Self::new(names);
        for name in names {
            world.bring_up(name);
        }
        world
    }

    /// A balancer that starts over what is on the disk.
    fn open(
        disk: SimDisk,
        servers: BTreeMap<String, Server>,
        now: Duration,
    ) -> Result<Self, JournalError> {
        let (journal, recovered) = recovery::open(Arc::new(disk.clone()), JOURNAL)?;
        let durable = recovered.files.iter().map(|(number, _)| number);
        let ended = recovered.ended.iter().map(|ended| ended.number);
        let durable = durable.chain(ended).collect();
        let (to_self, inbox) = mpsc::unbounded_channel();
        let disk_of_hub = Arc::new(disk.clone());
        let gate = Gate::new(QUEUE, 1024, disk_of_hub.clone(), 0, to_self.clone());
        let gate = Arc::new(gate);
        let events = Events::default();
        let beside = Beside::default();
        let deps = Deps {
            config: config(servers.keys()),
            limits: LIMITS,
            clock: Clock::at(now),
            disk: disk_of_hub,
            journal: journal.id(),
            connector: Arc::new(Nowhere),
            outside: Box::new(beside.clone()),
            to_self,
            events: events.clone(),
            gate: gate.clone(),
            lock: Lock::off_at_balancer(),
            share: Sharing::new(1000, &Openings::UNBOUNDED),
            standing: Standing::read(&disk, &standing::name_of(journal.id())).unwrap(),
            fleet: crate::fleet::Fleet::default(),
        };
        let ops = Ops::default();
        let hub = Hub::new(recovered, inbox, Box::new(ops.clone()), deps);
        let mut world = Self {
            disk,
            journal,
            ops,
            hub,
            beside,
            holds_jobs: false,
            servers,
            clients: Vec::new(),
            gate,
            events,
            now,
            durable,
            contents: BTreeMap::new(),
            next_title: 0,
        };
        world.step([]);
        Ok(world)
    }

    /// The balancer dies now and starts again over what the crash has left. Clients are gone.
    pub(super) fn crash(self, shape: Shape) -> Self {
        self.after_crash(shape)
    }

    /// The same, of a world that stays as it is.
    pub(super) fn after_crash(&self, shape: Shape) -> Self {
        self.start_over(self.disk.crash(shape))
    }

    fn start_over(&self, disk: SimDisk) -> Self {
        let servers = self.servers.clone();
        let now = self.now + Duration::from_secs(1);
        let mut world = Self::open(disk, servers, now).unwrap();
        world.contents = self.contents.clone();
        world.next_title = self.next_title;
        world
    }

    /// Time passes, and the hub handles these messages and what they lead to.
    pub(super) fn step(&mut self, messages: impl IntoIterator<Item = ToHub>) {
        self.try_step(messages).unwrap();
    }

    pub(super) fn try_step(
        &mut self,
        messages: impl IntoIterator<Item = ToHub>,
    ) -> Result<(), BalancerError> {
        let mut messages: Vec<ToHub> = messages.into_iter().collect();
        loop {
            self.hub.step(messages, self.now)?;
            self.look_around();
            if !self.holds_jobs {
                self.run_jobs();
            }
            messages = std::iter::from_fn(|| self.hub.inbox.try_recv().ok()).collect();
            if messages.is_empty() {
                return Ok(());
            }
        }
    }

    pub(super) fn run_jobs(&mut self) {
        let jobs = std::mem::take(&mut *self.beside.jobs.lock().unwrap());
        for job in jobs {
            job();
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.step([]);
    }

    /// Collects what was announced, and checks that it could be.
    fn look_around(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        for client in &mut clients {
            while let Ok(told) = client.from.try_recv() {
                let told = self.check_told(told);
                client.told.push(told);
            }
        }
        self.clients = clients;
        let mut links = std::mem::take(&mut *self.beside.links.lock().unwrap());
        for link in links.values_mut() {
            while let Ok(message) = link.from_hub.try_recv() {
                self.check_sent(&message);
                let server = self.servers.get_mut(&*link.server).unwrap();
                server.inbox.push_back(message);
            }
        }
        *self.beside.links.lock().unwrap() = links;
        for number in 1..self.hub.next_number {
            assert!(self.hub.files.places(number) <= 1, "{number}");
        }
    }

    fn check_told(&mut self, told: ToClient) -> String {
        let ToClient::Message(message) = told else {
            panic!("{told:?}");
        };
        match message {
            Message::Accepted { id, number } => {
                assert!(self.durable.contains(&number), "{number} is not durable");
                format!("{id}: accepted {number}")
            }
            Message::Delivered {
                id, number, server, ..
            } => {
                let has_it = |server: &Server| server.copies.contains_key(&number);
                assert!(self.servers.values().any(has_it), "{number}");
                format!("{id}: delivered {number} by {server}")
            }
            Message::Dead { id, number, reason } => {
                assert!(!self.is_open(number), "{number} is not durably dead");
                format!("{id}: dead {number}: {reason}")
            }
            Message::Refused { id, refusal } => format!("{id}: refused: {}", refusal.code),
            Message::Wanted { id, offset } => format!("{id}: wanted from {offset}"),
            other => panic!("{other:?}"),
        }
    }

    fn check_sent(&self, message: &ToServer) {
        match message {
            ToServer::Parcel(parcel) => assert!(self.durable.contains(&parcel.number)),
            ToServer::Confirm(numbers) => {
                assert!(numbers.iter().all(|number| !self.is_open(*number)));
            }
            ToServer::Ahead(_) => {}
            ToServer::Drop(number, _) => assert!(!self.is_open(*number)),
        }
    }

    /// Whether something about the file is recorded and not durable yet.
    fn is_open(&self, number: u64) -> bool {
        self.ops.0.lock().unwrap().iter().any(|op| match op {
            Op::Accept(accepted) => accepted.number == number,
            Op::End(ended) => ended.number == number,
            Op::Bury { number: buried, .. } => *buried == number,
            Op::Attempt { .. } | Op::Replay { .. } | Op::Forget(_) => false,
        })
    }

    /// How many operations wait for a commit.
    pub(super) fn open_ops(&self) -> usize {
        self.ops.0.lock().unwrap().len()
    }

    /// The journal commits what it was given, until nothing more comes.
    pub(super) fn commit(&mut self) {
        self.try_commit().unwrap();
    }

    pub(super) fn try_commit(&mut self) -> Result<(), JournalError> {
        while self.open_ops() > 0 {
            self.try_commit_once()?;
        }
        Ok(())
    }

    /// The journal commits what it was given until now.
    pub(super) fn commit_once(&mut self) {
        self.try_commit_once().unwrap();
    }

    fn try_commit_once(&mut self) -> Result<(), JournalError> {
        self.journal.prepare()?;
        let ops = std::mem::take(&mut *self.ops.0.lock().unwrap());
        for op in ops {
            if let Op::Accept(accepted) = &op {
                self.durable.insert(accepted.number);
            }
            self.journal.apply(op);
        }
        let committed = self.journal.commit()?;
        self.step([ToHub::Journal(Progress::Committed(committed))]);
        Ok(())
    }

    /// Everything is served and committed until nothing more happens.
    pub(super) fn settle(&mut self) {
        let names: Vec<String> = self.servers.keys().cloned().collect();
        self.step([]);
        loop {
            let mut did = self.open_ops();
            self.commit();
            for name in &names {
                did += self.serve(name).len();
            }
            if did == 0 {
                return;
            }
        }
    }
}

/// A configuration with servers of these names, all of weight 1.
fn config<'a>(names: impl Iterator<Item = &'a String>) -> BalancerConfig {
    let spec = |name: &String| ServerSpec {
        address: name.clone(),
        weight: 1,
    };
    let settings = Settings {
        servers: names.map(spec).collect(),
        retention: Retention {
            time: RETENTION,
            files: 1000,
        },
        ..Settings::default()
    };
    BalancerConfig {
        settings,
        ..BalancerConfig::default()
    }
}
