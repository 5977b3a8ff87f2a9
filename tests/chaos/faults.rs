//! What goes wrong, on what, for how long, and whether it hit anything.
#![allow(clippy::enum_glob_use, reason = "each match names nearly all kinds")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::crowd;
use super::load::Load;
use super::proxy::Way;
use super::stage::{Post, Stage};
use super::tamper;
use crate::harness::signal;

/// A kind of fault. A place is that of a process: 0 is the balancer, servers are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// kill -9, and a start later.
    KillBalancer,
    /// The same of the server in this place.
    KillServer(usize),
    /// The same of a client, by the same command.
    KillClient,
    /// SIGSTOP, and SIGCONT later.
    PauseBalancer,
    /// The same of a server.
    PauseServer,
    /// The same of a client.
    PauseClient,
    /// Connections of clients are cut after some bytes.
    CutClients,
    /// Connections to a server are cut after some bytes.
    CutServer,
    /// Everything takes long on its way to a server.
    Delay,
    /// Nothing gets on between clients and balancer for a while.
    StallClients,
    /// Nothing gets on between balancer and a server for a while.
    StallServer,
    /// Everything between the balancer and a server vanishes, both ways, until the connections are
    /// cut.
    LoseServer,
    /// What a server answers vanishes.
    SwallowAcks,
    /// What the balancer answers to clients vanishes.
    SwallowReceipts,
    /// The journal's disk is full.
    FullJournal,
    /// The journal's files cannot grow, though its disk has room: nothing is committed, and
    /// everything else goes on.
    StuckJournal,
    /// A server cannot write files of more than a few bytes.
    FullServer,
    /// The balancer can open next to nothing.
    NoFilesBalancer,
    /// A server can open next to nothing.
    NoFilesServer,
    /// Clients use up what the balancer may open: silent ones, idle ones, and those that vanish
    /// after their receipts.
    CrowdBalancer,
    /// The journal's directory is renamed while the balancer runs, and half of the time an empty
    /// one takes its place.
    TakeJournal,
    /// The balancer is killed, and a bit flips in a file of each kind before it starts again.
    FlipBits,
}

impl Kind {
    /// All of them, for so many servers.
    pub fn all(servers: usize) -> Vec<Self> {
        use Kind::*;
        let mut all = vec![
            KillBalancer,
            KillClient,
            PauseBalancer,
            PauseServer,
            PauseClient,
            CutClients,
            CutServer,
            Delay,
            StallClients,
            StallServer,
            LoseServer,
            SwallowAcks,
            SwallowReceipts,
            FullJournal,
            StuckJournal,
            FullServer,
            NoFilesBalancer,
            NoFilesServer,
            CrowdBalancer,
            TakeJournal,
            FlipBits,
        ];
        all.extend((1..=servers).map(KillServer));
        all
    }
}

/// What a fault changes. Two faults never change the same at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Process(usize),
    Client(u32),
    Proxy(usize),
    Limits(usize),
    Disk,
}

struct Active {
    kind: Kind,
    thing: Thing,
    pid: Option<u32>,
    until: Instant,
    limit: Option<(Resource, Rlimit)>,
}

/// How often a kind of fault came, and what it found.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// How often it came.
    pub fired: usize,
    /// How often something was in flight then.
    pub hit: usize,
    /// The files without a final receipt then, summed up.
    pub unreceipted: usize,
    /// The files that waited at the balancer or were with a server then, as far as it could be
    /// asked.
    pub waiting: usize,
}

/// The faults, their schedule and what is known of them.
pub struct Faults {
    random: StdRng,
    deck: Vec<Kind>,
    next: Instant,
    pace: Duration,
    active: Vec<Active>,
    started: Instant,
    /// What happened, and when.
    pub log: Vec<String>,
    /// What was not as it must be.
    pub findings: Vec<String>,
    /// By kind.
    pub counts: BTreeMap<Kind, Count>,
    servers: usize,
    seed: u64,
    /// The connections of a crowd.
    crowd: Vec<TcpStream>,
    /// How many crowds there were.
    crowds: usize,
    /// Since when a balancer is waited for whose journal was taken away.
    taken: Option<Instant>,
}

/// How long a balancer may take to notice that its journal was taken away, other faults included.
const MUST_END: Duration = Duration::from_secs(15);

/// The file that fills the journal's disk.
const FILLER: &str = "filler";

impl Faults {
    /// A schedule with `pace` from one fault to the next, on average.
    pub fn new(seed: u64, servers: usize, pace: Duration) -> Self {
        let now = Instant::now();
        Self {
            random: StdRng::seed_from_u64(seed ^ 0xfa17),
            deck: Vec::new(),
            next: now,
            pace,
            active: Vec::new(),
            started: now,
            log: Vec::new(),
            findings: Vec::new(),
            counts: Kind::all(servers)
                .into_iter()
                .map(|kind| (kind, Count::default()))
                .collect(),
            servers,
            seed,
            crowd: Vec::new(),
            crowds: 0,
            taken: None,
        }
    }

    /// Ends what has lasted long enough, and begins what is due.
    pub fn tend(&mut self, stage: &mut Stage, load: &mut Load) {
        let now = Instant::now();
        let (over, active) = std::mem::take(&mut self.active)
            .into_iter()
            .partition(|fault| fault.until <= now);
        self.active = active;
        for fault in over {
            self.heal(&fault, stage, load);
        }
        if now >= self.next && self.active.len() < 4 {
            self.fire_next(stage, load);
            self.next = Instant::now() + self.pace.mul_f64(self.random.random_range(0.5..1.5));
        }
    }

    /// Ends all of them.
    pub fn heal_all(&mut self, stage: &mut Stage, load: &Load) {
        while !self.active.is_empty() {
            for fault in std::mem::take(&mut self.active) {
                self.heal(&fault, stage, load);
            }
            // What takes its time to end is looked at again.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kinds that never came, or never when anything was in flight.
    pub fn missed(&self) -> Vec<Kind> {
        self.counts
            .iter()
            .filter(|(_, count)| count.hit == 0)
            .map(|(kind, _)| *kind)
            .collect()
    }

    fn note(&mut self, what: &str) {
        let line = format!("{:9.3} s  {what}", self.started.elapsed().as_secs_f64());
        self.log.push(line);
    }

    /// Begins the next fault of the deck that can be begun now.
    fn fire_next(&mut self, stage: &mut Stage, load: &mut Load) {
        if self.deck.is_empty() {
            self.deck = Kind::all(self.servers);
            self.deck.shuffle(&mut self.random);
        }
        let sequel = self.sequel();
        let (first, rest): (Vec<usize>, Vec<usize>) = (0..self.deck.len())
            .rev()
            .partition(|place| Some(self.deck[*place]) == sequel);
        for place in first.into_iter().chain(rest) {
            let kind = self.deck[place];
            let Some(thing) = self.thing(kind, load) else {
                continue;
            };
            if self.active.iter().any(|other| other.thing == thing) {
                continue;
            }
            let unreceipted = load.in_flight();
            let status = stage.status(Duration::from_millis(300));
            if unreceipted == 0 {
                // A fault that hits nothing shows nothing.
                return;
            }
            self.deck.remove(place);
            let lasts = Duration::from_millis(self.random.random_range(300..4000));
            let waiting = status.map(|status| status.queue.files());
            let text = waiting.map_or_else(|| "unknown".to_owned(), |waiting| waiting.to_string());
            self.note(&format!(
                "{kind:?} on {thing:?} for {lasts:?}; {unreceipted} files without receipt, waiting: {text}"
            ));
            if let Some(fault) = self.fire(kind, thing, lasts, stage, load) {
                let count = self.counts.entry(kind).or_default();
                count.fired += 1;
                count.hit += usize::from(unreceipted > 0);
                count.unreceipted += unreceipted;
                count.waiting += waiting.unwrap_or(0);
                self.active.push(fault);
            }
            return;
        }
    }

    /// What would make a fault that is active now worse: whoever has said something that vanished
    /// dies, or who could not write down what it knows.
    fn sequel(&mut self) -> Option<Kind> {
        let vanishing = self
            .active
            .iter()
            .find_map(|fault| match (fault.kind, fault.thing) {
                (Kind::SwallowAcks, Thing::Proxy(place)) => Some(Kind::KillServer(place)),
                (Kind::SwallowReceipts | Kind::FullJournal | Kind::StuckJournal, _) => {
                    Some(Kind::KillBalancer)
                }
                _ => None,
            });
        vanishing.filter(|_| self.random.random_bool(0.7))
    }

    /// What a fault of this kind is to change this time.
    fn thing(&mut self, kind: Kind, load: &mut Load) -> Option<Thing> {
        use Kind::*;
        let server = self.random.random_range(1..=self.servers);
        Some(match kind {
            KillBalancer | PauseBalancer | TakeJournal | FlipBits => Thing::Process(0),
            KillServer(place) => Thing::Process(place),
            PauseServer => Thing::Process(server),
            KillClient | PauseClient => Thing::Client(load.any_running()?),
            CutClients | StallClients | SwallowReceipts => Thing::Proxy(0),
            CutServer | Delay | StallServer | LoseServer | SwallowAcks => Thing::Proxy(server),
            FullJournal => Thing::Disk,
            NoFilesBalancer | StuckJournal | CrowdBalancer => Thing::Limits(0),
            FullServer | NoFilesServer => Thing::Limits(server),
        })
    }

    fn fire(
        &mut self,
        kind: Kind,
        thing: Thing,
        lasts: Duration,
        stage: &mut Stage,
        load: &mut Load,
    ) -> Option<Active> {
        use Kind::*;
        let mut fault = Active {
            kind,
            thing,
            pid: None,
            until: Instant::now() + lasts,
            limit: None,
        };
        match (kind, thing) {
            (KillBalancer | KillServer(_), Thing::Process(place)) => stage.post(place).kill(),
            (TakeJournal, _) => tamper::take(stage, self.random.random_bool(0.5)),
            (FlipBits, _) => {
                stage.balancer.kill();
                let (done, findings) = tamper::flip_bits(stage, &mut self.random);
                for what in done {
                    self.note(&what);
                }
                self.findings.extend(findings);
            }
            (PauseBalancer | PauseServer, Thing::Process(place)) => {
                fault.pid = Some(stage.post(place).pid()?);
                signal(fault.pid?, "STOP");
            }
            (KillClient, Thing::Client(pid)) => load.kill(pid, lasts),
            (PauseClient, Thing::Client(pid)) => load.signal(pid, "STOP"),
            (_, Thing::Proxy(place)) => self.trouble(kind, place, stage),
            (FullJournal, _) if stage.has_own_disk => fill(stage),
            (FullJournal | StuckJournal, _) => {
                fault.limit(&stage.balancer, Resource::Fsize, 4096)?
            }
            (FullServer, Thing::Limits(place)) => {
                let most = self.random.random_range(0..2048);
                fault.limit(stage.post(place), Resource::Fsize, most)?;
            }
            (NoFilesBalancer | NoFilesServer, Thing::Limits(place)) => {
                let pid = stage.post(place).pid()?;
                let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
                fault.limit(
                    stage.post(place),
                    Resource::Nofile,
                    open + self.random.random_range(0..4),
                )?;
            }
            (CrowdBalancer, _) => self.crowd(stage, load)?,
            _ => unreachable!("{kind:?} on {thing:?}"),
        }
        Some(fault)
    }

    /// Makes a proxy fail.
    fn trouble(&mut self, kind: Kind, place: usize, stage: &mut Stage) {
        use Kind::*;
        let random = &mut self.random;
        let proxy = &stage.post(place).proxy;
        // Half of the time new connections get through, so that the balancer thinks nothing of it.
        let before = if random.random_bool(0.5) {
            proxy.opened()
        } else {
            u64::MAX
        };
        let delay = Duration::from_millis(random.random_range(20..300));
        let cuts_within = Some(10_u64.pow(random.random_range(2..7)));
        proxy.set(|weather| match kind {
            CutClients | CutServer => weather.cuts_within = cuts_within,
            Delay => weather.delay = delay,
            StallClients | StallServer => weather.is_stalled = true,
            LoseServer => {
                (weather.swallows, weather.before) = (vec![Way::There, Way::Back], before)
            }
            _ => (weather.swallows, weather.before) = (vec![Way::Back], before),
        });
    }

    /// Gathers a crowd of clients. While nothing else is wrong, all goes on beside it.
    fn crowd(&mut self, stage: &Stage, load: &mut Load) -> Option<()> {
        let gathered = crowd::gather(stage, self.seed, self.crowds)?;
        self.crowds += 1;
        load.receipts.push(gathered.receipts);
        self.crowd = gathered.connections;
        if self.active.is_empty() {
            self.findings.extend(crowd::look(stage));
        }
        Some(())
    }

    /// A balancer whose journal was taken away ends by itself.
    fn wait_for_the_end(&mut self, fault: &Active, stage: &mut Stage) {
        let taken = self.taken.get_or_insert_with(Instant::now);
        if taken.elapsed() > MUST_END {
            self.findings.push(format!(
                "the balancer still runs {MUST_END:?} after its journal was taken away"
            ));
            stage.balancer.kill();
        }
        self.active.push(Active {
            until: Instant::now() + Duration::from_millis(100),
            ..*fault
        });
    }

    fn heal(&mut self, fault: &Active, stage: &mut Stage, load: &Load) {
        use Kind::*;
        self.note(&format!("{:?} on {:?} is over", fault.kind, fault.thing));
        match (fault.kind, fault.thing) {
            (TakeJournal, _) if stage.balancer.role.is_some() => {
                self.wait_for_the_end(fault, stage)
            }
            (KillBalancer | KillServer(_) | TakeJournal | FlipBits, Thing::Process(place)) => {
                self.taken = self.taken.filter(|_| place != 0);
                if stage.is_journal_away && place == 0 {
                    self.findings.extend(tamper::put_back(stage));
                }
                if let Err(error) = stage.post(place).start() {
                    self.note(&format!("cannot start {}: {error}", stage.post(place).name));
                    // What keeps it from starting ends, too.
                    self.active.push(Active {
                        until: Instant::now() + Duration::from_millis(500),
                        ..*fault
                    });
                }
            }
            (PauseClient, Thing::Client(pid)) => load.signal(pid, "CONT"),
            (KillClient, _) => {}
            (CrowdBalancer, _) => self.crowd.clear(),
            (_, Thing::Process(place)) => {
                if let Some(pid) = fault
                    .pid
                    .filter(|pid| stage.post(place).pid() == Some(*pid))
                {
                    signal(pid, "CONT");
                }
            }
            (_, Thing::Proxy(place)) => stage.post(place).proxy.set(|_| {}),
            (FullJournal, _) if stage.has_own_disk => {
                let _ = fs::remove_file(stage.journal.join("..").join(FILLER));
            }
            (_, _) => {
                let place = if let Thing::Limits(place) = fault.thing {
                    place
                } else {
                    0
                };
                let same = stage
                    .post(place)
                    .pid()
                    .filter(|pid| fault.pid == Some(*pid));
                if let (Some(pid), Some((resource, before))) = (same, fault.limit) {
                    let _ = prlimit(Pid::from_raw(pid.cast_signed()), resource, before);
                }
            }
        }
    }
}

impl Active {
    /// Limits a process until the fault is over.
    fn limit(&mut self, post: &Post, resource: Resource, to: u64) -> Option<()> {
        let (pid, before) = (post.pid()?, post.limit(resource));
        let limit = Rlimit {
            current: Some(to),
            maximum: before.maximum,
        };
        prlimit(Pid::from_raw(pid.cast_signed()), resource, limit).ok()?;
        (self.pid, self.limit) = (Some(pid), Some((resource, before)));
        Some(())
    }
}

/// Leaves no room on the journal's disk.
fn fill(stage: &Stage) {
    let Ok(mut filler) = File::create(stage.journal.join("..").join(FILLER)) else {
        return;
    };
    for piece in [vec![0; 1 << 20], vec![0; 4096]] {
        while filler
            .write(&piece)
            .is_ok_and(|written| written == piece.len())
        {}
    }
}
