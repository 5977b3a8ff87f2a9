//! The schedule of faults: which kind comes next, on what, for how long, and what it found.
#![allow(clippy::enum_glob_use, reason = "each match names nearly all kinds")]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Resource, Rlimit};

use super::kind::Kind;
use super::load::Load;
use super::stage::Stage;

/// What a fault changes. Two faults never change the same at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing {
    Process(usize),
    Client(u32),
    Proxy(usize),
    Limits(usize),
    Disk,
}

/// A fault that goes on.
pub(super) struct Active {
    pub(super) kind: Kind,
    pub(super) thing: Thing,
    /// The process that was signalled or limited.
    pub(super) pid: Option<u32>,
    pub(super) until: Instant,
    /// The limit as it was before.
    pub(super) limit: Option<(Resource, Rlimit)>,
}

/// How often a kind of fault came, and what it found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    /// How often it came.
    pub(super) fired: usize,
    /// How often something was in flight then.
    pub(super) hit: usize,
    /// The files without a final receipt then, summed up.
    pub(super) unreceipted: usize,
    /// The files that waited at the balancer or were with a server then, as far as it could be
    /// asked.
    pub(super) waiting: usize,
}

/// The faults, their schedule and what is known of them.
pub(super) struct Faults {
    pub(super) random: StdRng,
    deck: Vec<Kind>,
    next: Instant,
    pace: Duration,
    pub(super) active: Vec<Active>,
    started: Instant,
    /// What happened, and when.
    pub(super) log: Vec<String>,
    /// What was not as it must be.
    pub(super) findings: Vec<String>,
    /// By kind.
    pub(super) counts: BTreeMap<Kind, Count>,
    servers: usize,
    pub(super) seed: u64,
    /// The connections of a crowd.
    pub(super) crowd: Vec<TcpStream>,
    /// How many crowds there were.
    pub(super) crowds: usize,
    /// Since when a balancer is waited for whose journal was taken away.
    pub(super) taken: Option<Instant>,
}

impl Faults {
    /// A schedule with `pace` from one fault to the next, on average.
    pub(super) fn new(seed: u64, servers: usize, pace: Duration) -> Self {
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
    pub(super) fn tend(&mut self, stage: &mut Stage, load: &mut Load) {
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
    pub(super) fn heal_all(&mut self, stage: &mut Stage, load: &Load) {
        while !self.active.is_empty() {
            for fault in std::mem::take(&mut self.active) {
                self.heal(&fault, stage, load);
            }
            // What takes its time to end is looked at again.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kinds that never came, or never when anything was in flight.
    pub(super) fn missed(&self) -> Vec<Kind> {
        self.counts
            .iter()
            .filter(|(_, count)| count.hit == 0)
            .map(|(kind, _)| *kind)
            .collect()
    }

    pub(super) fn note(&mut self, what: &str) {
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
}
