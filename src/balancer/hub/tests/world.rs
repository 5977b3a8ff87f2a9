//! The hub, and everything around it: a journal on a simulated disk that commits when a test says
//! so, servers at the other ends of channels, and clients that note their receipts.
//!
//! After every step the world checks that nothing was announced that is not durable, and that each
//! file is in one place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::balancer::dispatch::{Probed, Speaker, Who};
use crate::balancer::events::{Event, Events};
use crate::balancer::gate::Gate;
use crate::balancer::hub::commits::Submit;
use crate::balancer::hub::outside::Outside;
use crate::balancer::hub::{Clock, Deps, Hub, HubLimits};
use crate::balancer::link::Target;
use crate::balancer::messages::{
    Admission, Arrived, Ask, Declined, LinkEvent, Offer, Reply, Sum, ToClient, ToHub, ToServer,
};
use crate::balancer::orders::{Command, Order, OrderError, Settings};
use crate::balancer::probe::Prober;
use crate::balancer::room::QueueLimits;
use crate::balancer::sharing::Sharing;
use crate::balancer::{BalancerConfig, BalancerError};
use crate::config::ServerSpec;
use crate::descriptors::Openings;
use crate::protocol::json::NotOldStyle;
use crate::protocol::lists::StoredFile;
use crate::protocol::query::{Answer, FileReport, Query};
use crate::protocol::status::{Dialect, StatusReport};
use crate::protocol::{Message, Refusal, RefusalCode};
use crate::queue::journal::{Journal, JournalConfig};
use crate::queue::sim::{Shape, SimDisk};
use crate::queue::{Durability, FileBody, JournalError, Op, Progress, Retention, recovery};
use crate::schedule::Slot;
use crate::transport::{Connect, Connecting};

type Shared<T> = Arc<Mutex<T>>;

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

/// How long ended files are remembered.
pub(super) const RETENTION: Duration = Duration::from_secs(60);

/// The operations that the hub has submitted and no commit has counted.
#[derive(Clone, Default)]
struct Ops(Shared<VecDeque<Op>>);

impl Submit for Ops {
    fn submit(&self, op: Op) {
        self.0.lock().unwrap().push_back(op);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The hub's link to a server, as the server's end sees it.
struct OpenLink {
    server: Arc<str>,
    epoch: u64,
    from_hub: mpsc::UnboundedReceiver<ToServer>,
}

/// What the hub has started beside itself.
#[derive(Clone, Default)]
struct Beside {
    generations: Shared<BTreeMap<Slot, u64>>,
    links: Shared<BTreeMap<Slot, OpenLink>>,
    jobs: Shared<Vec<Job>>,
}

impl Outside for Beside {
    fn probe(&mut self, prober: Prober) -> DropGuard {
        let mut generations = self.generations.lock().unwrap();
        generations.insert(prober.slot, prober.generation);
        CancellationToken::new().drop_guard()
    }

    fn link(
        &mut self,
        target: Target,
        _: Dialect,
        from_hub: mpsc::UnboundedReceiver<ToServer>,
    ) -> DropGuard {
        let mut links = self.links.lock().unwrap();
        let link = OpenLink {
            server: target.address,
            epoch: target.epoch,
            from_hub,
        };
        links.insert(target.slot, link);
        CancellationToken::new().drop_guard()
    }

    fn block(&mut self, job: Job) {
        self.jobs.lock().unwrap().push(job);
    }
}

/// Nobody answers anywhere: the world gives the answers itself.
struct Nowhere;

impl Connect for Nowhere {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        Box::pin(std::future::pending())
    }
}

/// A server and its disk, which outlives the balancer.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) identity: String,
    /// Everything that it has stored and not removed.
    pub(super) copies: BTreeMap<u64, StoredFile>,
    /// Those of them that no balancer has confirmed.
    pub(super) unconfirmed: BTreeSet<u64>,
    /// The highest number that it ever stored.
    pub(super) seen: u64,
    /// How often it was sent each file.
    pub(super) sent: BTreeMap<u64, usize>,
    /// What came over its link and was not answered.
    pub(super) inbox: VecDeque<ToServer>,
}

impl Clone for Server {
    /// The server's disk: its link is gone.
    fn clone(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            copies: self.copies.clone(),
            unconfirmed: self.unconfirmed.clone(),
            seen: self.seen,
            sent: self.sent.clone(),
            inbox: VecDeque::new(),
        }
    }
}

/// A client, and what it was told, in short words.
struct Client {
    connection: u64,
    to: mpsc::UnboundedSender<ToClient>,
    from: mpsc::UnboundedReceiver<ToClient>,
    told: Vec<String>,
}

/// A file that a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) key: Option<&'a str>,
    pub(super) content: &'a [u8],
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    journal: Journal,
    ops: Ops,
    pub(super) hub: Hub,
    beside: Beside,
    /// Jobs wait until a test runs them.
    pub(super) holds_jobs: bool,
    pub(super) servers: BTreeMap<String, Server>,
    clients: Vec<Client>,
    gate: Arc<Gate>,
    pub(super) events: Events,
    pub(super) now: Duration,
    /// The numbers of files whose acceptance is durable.
    pub(super) durable: BTreeSet<u64>,
    /// What was sent, by title.
    contents: BTreeMap<String, Vec<u8>>,
    next_title: usize,
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
        let limits = QueueLimits {
            files: 1000,
            bytes: 1 << 30,
        };
        let disk_of_hub = Arc::new(disk.clone());
        let gate = Gate::new(limits, 1024, disk_of_hub.clone(), 0, to_self.clone());
        let gate = Arc::new(gate);
        let events = Events::default();
        let beside = Beside::default();
        let spec = |name: &String| ServerSpec {
            address: name.clone(),
            weight: 1,
        };
        let settings = Settings {
            servers: servers.keys().map(spec).collect(),
            retention: Retention {
                time: RETENTION,
                files: 1000,
            },
            ..Settings::default()
        };
        let config = BalancerConfig {
            settings,
            ..BalancerConfig::default()
        };
        let deps = Deps {
            config,
            limits: LIMITS,
            clock: Clock::at(now),
            disk: disk_of_hub,
            journal: journal.id(),
            connector: Arc::new(Nowhere),
            outside: Box::new(beside.clone()),
            to_self,
            events: events.clone(),
            gate: gate.clone(),
            share: Sharing::new(1000, &Openings::UNBOUNDED),
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
        jobs.into_iter().for_each(|job| job());
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
        }
        Ok(())
    }

    pub(super) fn client(&mut self) -> usize {
        let (to, from) = mpsc::unbounded_channel();
        self.clients.push(Client {
            connection: self.clients.len() as u64,
            to,
            from,
            told: Vec::new(),
        });
        self.clients.len() - 1
    }

    /// What the client was told since this was asked last.
    pub(super) fn told(&mut self, client: usize) -> Vec<String> {
        std::mem::take(&mut self.clients[client].told)
    }

    pub(super) fn reply(&self, client: usize, id: u64) -> Reply {
        Reply {
            connection: self.clients[client].connection,
            to: self.clients[client].to.clone(),
            id,
        }
    }

    /// A client sends a file, which is not committed yet.
    pub(super) fn send(&mut self, client: usize, id: u64, file: File<'_>) {
        let content = Arrived::Memory(Bytes::copy_from_slice(file.content));
        self.send_as(client, id, file, content);
    }

    pub(super) fn send_as(&mut self, client: usize, id: u64, file: File<'_>, content: Arrived) {
        self.next_title += 1;
        let title = format!("file {}", self.next_title);
        self.contents.insert(title.clone(), file.content.to_vec());
        let size = file.content.len() as u64;
        let admission = Admission {
            title: title.into(),
            key: file.key.map(Arc::from),
            content,
            size,
            crc32c: crc32c::crc32c(file.content),
            old_style_len: Err(NotOldStyle::NotText),
            room: self.gate.try_room(size).unwrap(),
            disk: self.gate.reserve_disk(size, 0).unwrap(),
            from: "client".into(),
            reply: Some(self.reply(client, id)),
        };
        let read = self.hub.deps.clock.instant(self.now).into_std();
        self.step([ToHub::Admit(Box::new(admission), read)]);
    }

    /// Files of one client that are accepted: `count` of them, without keys.
    pub(super) fn accept(&mut self, count: usize) -> usize {
        let client = self.client();
        for id in 1..=count as u64 {
            let content = format!("content {id}");
            self.send(client, id, unnamed(content.as_bytes()));
        }
        self.commit();
        client
    }

    pub(super) fn offer(&mut self, client: usize, id: u64, file: File<'_>, with_sum: bool) {
        let offer = Offer {
            key: file.key.unwrap().into(),
            size: file.content.len() as u64,
            crc32c: with_sum.then(|| crc32c::crc32c(file.content)),
            offset: 7,
            reply: self.reply(client, id),
        };
        self.step([ToHub::Offer(offer)]);
    }

    pub(super) fn refuse(&mut self, client: usize, id: u64, file: File<'_>, sum: Sum) {
        let declined = Declined {
            key: file.key.unwrap().into(),
            size: file.content.len() as u64,
            sum,
            refusal: Refusal::new(RefusalCode::Full, "full"),
            reply: self.reply(client, id),
        };
        self.step([ToHub::Refuse(declined)]);
    }

    pub(super) fn slot(&self, name: &str) -> Slot {
        self.hub.files.dispatcher.slot_of(name).unwrap()
    }

    /// The server's present link, as its reports name it.
    pub(super) fn epoch(&self, name: &str) -> u64 {
        let slot = self.slot(name);
        self.beside.links.lock().unwrap()[&slot].epoch
    }

    pub(super) fn answer_probe(&mut self, name: &str) {
        let slot = self.slot(name);
        let generation = self.beside.generations.lock().unwrap()[&slot];
        let who = Who {
            speaker: self.speaker(name),
            ..Who::default()
        };
        let probed = Probed::Answered {
            overloaded: false,
            dialect: Dialect::Native,
            memory: None,
            who,
        };
        let took = Duration::from_millis(1);
        self.step([ToHub::Probed {
            slot,
            generation,
            probed,
            took,
        }]);
    }

    pub(super) fn fail_probes(&mut self, name: &str) {
        let slot = self.slot(name);
        let generation = self.beside.generations.lock().unwrap()[&slot];
        for _ in 0..5 {
            let probed = Probed::Failed("refused".to_owned());
            self.step([ToHub::Probed {
                slot,
                generation,
                probed,
                took: Duration::ZERO,
            }]);
        }
    }

    fn speaker(&self, name: &str) -> Speaker {
        let identity = &self.servers[name].identity;
        Speaker {
            identity: Some(identity.as_str().into()),
            instance: Some(format!("process of {name}").into()),
        }
    }

    /// The server answers a probe, and its link opens with the list of what it holds.
    pub(super) fn bring_up(&mut self, name: &str) {
        // A link that was closed is not opened again at once.
        self.now += Duration::from_secs(10);
        self.answer_probe(name);
        let server = &self.servers[name];
        let holding = server.unconfirmed.iter();
        let holding = holding.map(|number| server.copies[number]).collect();
        let seen = server.seen;
        self.try_open_link(name, holding, seen).unwrap();
    }

    /// The server's link opens with this list.
    pub(super) fn try_open_link(
        &mut self,
        name: &str,
        holding: Vec<StoredFile>,
        seen: u64,
    ) -> Result<(), BalancerError> {
        let opened = LinkEvent::Opened {
            speaker: self.speaker(name),
            holding: Some(holding),
            seen: Some(seen),
        };
        let message = self.from_link(name, opened);
        self.try_step([message])
    }

    fn from_link(&self, name: &str, event: LinkEvent) -> ToHub {
        ToHub::Link {
            slot: self.slot(name),
            epoch: self.epoch(name),
            event,
        }
    }

    /// The server's link reports something.
    pub(super) fn report(&mut self, name: &str, event: LinkEvent) {
        let message = self.from_link(name, event);
        self.step([message]);
    }

    pub(super) fn cut_link(&mut self, name: &str) {
        self.report(name, LinkEvent::Closed("cut".to_owned()));
    }

    /// The numbers of the files that the server was sent and has not answered.
    pub(super) fn unanswered(&self, name: &str) -> Vec<u64> {
        let number = |message: &ToServer| match message {
            ToServer::Parcel(parcel) => Some(parcel.number),
            ToServer::Confirm(_) | ToServer::Drop(..) => None,
        };
        self.servers[name].inbox.iter().filter_map(number).collect()
    }

    /// The server does what it was told: stores files, forgets and removes them. It acknowledges
    /// files only if `acknowledges`. Gives what it was told, in short words.
    pub(super) fn serve_as(&mut self, name: &str, acknowledges: bool) -> Vec<String> {
        let mut did = Vec::new();
        while let Some(message) = self.servers.get_mut(name).unwrap().inbox.pop_front() {
            let server = self.servers.get_mut(name).unwrap();
            match message {
                ToServer::Parcel(parcel) => {
                    let number = parcel.number;
                    let content = match parcel.content {
                        FileBody::Memory(bytes, _) => bytes,
                        FileBody::Journal(location) => location.read(parcel.meta.crc32c).unwrap(),
                        FileBody::Own(_) => self.contents[&*parcel.meta.title].clone().into(),
                    };
                    assert_eq!(content, self.contents[&*parcel.meta.title], "{number}");
                    let held = StoredFile(number, parcel.meta.size, parcel.meta.crc32c);
                    server.copies.insert(number, held);
                    server.unconfirmed.insert(number);
                    server.seen = server.seen.max(number);
                    *server.sent.entry(number).or_default() += 1;
                    did.push(format!("store {number}"));
                    if acknowledges {
                        let stored = LinkEvent::Stored {
                            numbers: vec![number],
                            confirmed: true,
                        };
                        self.report(name, stored);
                    }
                }
                ToServer::Confirm(numbers) => {
                    server
                        .unconfirmed
                        .retain(|number| !numbers.contains(number));
                    did.push(format!("confirm {numbers:?}"));
                }
                ToServer::Drop(number, expected) => {
                    let StoredFile(_, size, crc32c) = server.copies[&number];
                    assert_eq!((expected.size, expected.crc32c), (size, crc32c));
                    server.copies.remove(&number);
                    server.unconfirmed.remove(&number);
                    did.push(format!("remove {number}"));
                    self.report(name, LinkEvent::Dropped { number });
                }
            }
        }
        did
    }

    pub(super) fn serve(&mut self, name: &str) -> Vec<String> {
        self.serve_as(name, true)
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

    /// The server refuses the file for good.
    pub(super) fn reject(&mut self, name: &str, number: u64) {
        let server = self.servers.get_mut(name).unwrap();
        server.inbox.retain(
            |message| !matches!(message, ToServer::Parcel(parcel) if parcel.number == number),
        );
        let refusal = Refusal::new(RefusalCode::TooLarge, "too large here");
        self.report(name, LinkEvent::NotStored { number, refusal });
    }

    /// An order about servers, or new settings.
    pub(super) fn order(&mut self, order: Order) -> Result<(), OrderError> {
        let (to, mut done) = oneshot::channel();
        self.step([ToHub::Control(Command::Order(order, to))]);
        done.try_recv().unwrap()
    }

    pub(super) fn apply(&mut self, servers: &[(&str, u32)]) -> Result<(), OrderError> {
        let mut settings = self.hub.deps.config.settings.clone();
        let spec = |(name, weight): &(&str, u32)| ServerSpec {
            address: (*name).to_owned(),
            weight: *weight,
        };
        settings.servers = servers.iter().map(spec).collect();
        let (to, mut done) = oneshot::channel();
        self.step([ToHub::Control(Command::Apply(Box::new(settings), to))]);
        done.try_recv().unwrap()
    }

    /// Asks about files; the answer may come later.
    pub(super) fn ask(&mut self, query: Query) -> oneshot::Receiver<Answer> {
        let (to, answer) = oneshot::channel();
        self.step([ToHub::Ask(Ask::Files(query, to))]);
        answer
    }

    /// Asks, and commits what the answer waits for.
    pub(super) fn ask_now(&mut self, query: Query) -> Answer {
        let mut answer = self.ask(query);
        self.commit();
        answer.try_recv().unwrap()
    }

    pub(super) fn drop_file(&mut self, number: u64) -> Result<usize, String> {
        match self.ask_now(Query::Drop { number }) {
            Answer::Done { files } => Ok(files),
            Answer::Failed { reason } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn show(&mut self, number: u64) -> Option<FileReport> {
        match self.ask_now(Query::Show { number }) {
            Answer::File(report) => Some(*report),
            _ => None,
        }
    }

    pub(super) fn status(&mut self) -> StatusReport {
        let (to, mut status) = oneshot::channel();
        self.step([ToHub::Ask(Ask::Status(to))]);
        status.try_recv().unwrap()
    }

    /// The texts of the events of this kind, and whom they are about.
    pub(super) fn noted(&self, is_wanted: impl Fn(&Event) -> bool) -> Vec<String> {
        let events = self.events.after(0);
        let wanted = events.iter().filter(|event| is_wanted(event));
        wanted.map(|event| event.text.clone()).collect()
    }
}

/// A file without a key.
pub(super) fn unnamed(content: &[u8]) -> File<'_> {
    File { key: None, content }
}

/// A file with a key.
pub(super) fn named<'a>(key: &'a str, content: &'a [u8]) -> File<'a> {
    File {
        key: Some(key),
        content,
    }
}
