//! The schedule of faults: which kind comes next, on what, for how long, and what it found.
#![allow(clippy::enum_glob_use, reason = "each match names nearly all kinds")]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Resource, Rlimit};

use super::deaths;
use super::kind::Kind;
use super::load::Load;
use super::stage::Stage;

/// The target of a fault. Two faults never have the same target at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Process(usize),
    Client(u32),
    Proxy(usize),
    Limits(usize),
    Disk,
}

/// A fault that is active.
pub(super) struct Active {
    pub(super) kind: Kind,
    pub(super) target: Target,
    /// The process that was signalled or limited.
    pub(super) pid: Option<u32>,
    pub(super) until: Instant,
    /// The limit as it was before.
    pub(super) limit: Option<(Resource, Rlimit)>,
}

/// How often a kind of fault came, and how much was in flight.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    /// How often it came.
    pub(super) fired: usize,
    /// How often files were in flight when it came.
    pub(super) hit: usize,
    /// The files without a final receipt when it came, summed up.
    pub(super) unreceipted: usize,
    /// The files that the balancer had when it came, as far as it could be asked.
    pub(super) waiting: usize,
}

/// Kinds of faults in random order. All of them come before one of them comes again.
#[derive(Debug, Default)]
struct Deck(Vec<Kind>);

impl Deck {
    /// Begins a fault of the first kind that can begin now, `preferred` first. A kind that cannot
    /// begin stays in the deck.
    fn deal(
        &mut self,
        preferred: Option<Kind>,
        mut begin: impl FnMut(Kind) -> Option<Active>,
    ) -> Option<Active> {
        let (first, rest): (Vec<usize>, Vec<usize>) = (0..self.0.len())
            .rev()
            .partition(|place| Some(self.0[*place]) == preferred);
        let (place, fault) = first
            .into_iter()
            .chain(rest)
            .find_map(|place| Some((place, begin(self.0[place])?)))?;
        self.0.remove(place);
        Some(fault)
    }
}

/// The faults and their schedule.
pub(super) struct Faults {
    pub(super) random: StdRng,
    deck: Deck,
    next: Instant,
    pace: Duration,
    pub(super) active: Vec<Active>,
    started: Instant,
    /// Each fault with its time.
    pub(super) log: Vec<String>,
    /// What is wrong.
    pub(super) findings: Vec<String>,
    /// By kind.
    pub(super) counts: BTreeMap<Kind, Count>,
    servers: usize,
    pub(super) seed: u64,
    /// The connections of a crowd.
    pub(super) crowd: Vec<TcpStream>,
    /// How many crowds there were.
    pub(super) crowds: usize,
    /// When the journal of the running balancer was renamed.
    pub(super) taken: Option<Instant>,
}

impl Faults {
    /// A schedule with `pace` from one fault to the next, on average.
    pub(super) fn new(seed: u64, servers: usize, pace: Duration) -> Self {
        let now = Instant::now();
        Self {
            random: StdRng::seed_from_u64(seed ^ 0xfa17),
            deck: Deck::default(),
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

    /// Ends faults whose time is over, and begins the next one when it is due.
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
            // Some faults end only after a while, or once a process has ended: look again.
            std::thread::sleep(Duration::from_millis(20));
            self.findings.extend(deaths::find(stage));
        }
    }

    /// Kinds that never came, or never while files were in flight.
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

    /// Begins the next fault of the deck that can begin now.
    fn fire_next(&mut self, stage: &mut Stage, load: &mut Load) {
        if load.in_flight() == 0 {
            // A fault that finds nothing in flight shows nothing.
            return;
        }
        let mut deck = std::mem::take(&mut self.deck);
        if deck.0.is_empty() {
            deck.0 = Kind::all(self.servers);
            deck.0.shuffle(&mut self.random);
        }
        let sequel = self.sequel();
        let fault = deck.deal(sequel, |kind| self.fire(kind, stage, load));
        self.active.extend(fault);
        self.deck = deck;
    }

    /// Begins a fault of this kind. `None` if its target has a fault already, or is not there.
    fn fire(&mut self, kind: Kind, stage: &mut Stage, load: &mut Load) -> Option<Active> {
        let target = self.target(kind, load)?;
        if self.active.iter().any(|other| other.target == target) {
            return None;
        }
        let unreceipted = load.in_flight();
        let waiting = stage
            .status(Duration::from_millis(300))
            .map(|status| status.queue.files());
        let lasts = Duration::from_millis(self.random.random_range(300..4000));
        let text = waiting.map_or_else(|| "unknown".to_owned(), |waiting| waiting.to_string());
        self.note(&format!(
            "{kind:?} on {target:?} for {lasts:?}; {unreceipted} files without receipt, waiting: {text}"
        ));
        let Some(fault) = self.strike(kind, target, lasts, stage, load) else {
            self.note(&format!(
                "{kind:?} finds nothing on {target:?}: it comes later"
            ));
            return None;
        };
        let count = self.counts.entry(kind).or_default();
        count.fired += 1;
        count.hit += usize::from(unreceipted > 0);
        count.unreceipted += unreceipted;
        count.waiting += waiting.unwrap_or(0);
        Some(fault)
    }

    /// A kind that makes an active fault worse: the process whose messages are lost, or which
    /// cannot write, is killed.
    fn sequel(&mut self) -> Option<Kind> {
        let vanishing = self
            .active
            .iter()
            .find_map(|fault| match (fault.kind, fault.target) {
                (Kind::SwallowAcks, Target::Proxy(place)) => Some(Kind::KillServer(place)),
                (Kind::SwallowReceipts | Kind::FullJournal | Kind::StuckJournal, _) => {
                    Some(Kind::KillBalancer)
                }
                _ => None,
            });
        vanishing.filter(|_| self.random.random_bool(0.7))
    }

    /// Chooses the target of a fault of this kind.
    fn target(&mut self, kind: Kind, load: &mut Load) -> Option<Target> {
        use Kind::*;
        let server = self.random.random_range(1..=self.servers);
        Some(match kind {
            KillBalancer | PauseBalancer | TakeJournal | FlipBits => Target::Process(0),
            KillServer(place) => Target::Process(place),
            PauseServer => Target::Process(server),
            KillClient | PauseClient => Target::Client(load.any_running()?),
            CutClients | StallClients | SwallowReceipts => Target::Proxy(0),
            CutServer | Delay | StallServer | LoseServer | SwallowAcks => Target::Proxy(server),
            FullJournal => Target::Disk,
            NoFilesBalancer | StuckJournal | CrowdBalancer => Target::Limits(0),
            FullServer | NoFilesServer => Target::Limits(server),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind) -> Active {
        Active {
            kind,
            target: Target::Disk,
            pid: None,
            until: Instant::now(),
            limit: None,
        }
    }

    /// A crowd was once lost for good when the balancer that it was for was down.
    #[test]
    fn a_fault_whose_target_is_gone_comes_later() {
        let mut deck = Deck(vec![Kind::Delay, Kind::FlipBits, Kind::CrowdBalancer]);
        let mut deal = |preferred, gone: &[Kind]| {
            let begin = |kind| (!gone.contains(&kind)).then(|| fault(kind));
            deck.deal(preferred, begin).map(|fault| fault.kind)
        };
        assert_eq!(deal(None, &[Kind::CrowdBalancer]), Some(Kind::FlipBits));
        assert_eq!(deal(None, &[Kind::CrowdBalancer, Kind::Delay]), None);
        assert_eq!(deal(Some(Kind::Delay), &[]), Some(Kind::Delay));
        assert_eq!(deal(None, &[]), Some(Kind::CrowdBalancer));
        assert_eq!(deal(None, &[]), None);
    }
}
