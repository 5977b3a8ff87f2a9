//! How each kind of fault begins and ends.
#![allow(clippy::enum_glob_use, reason = "each match names nearly all kinds")]

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::crowd;
use super::faults::{Active, Faults, Thing};
use super::kind::Kind;
use super::load::Load;
use super::proxy::Way;
use super::stage::{Post, Stage};
use super::tamper;
use crate::signal;

/// How long a balancer may take to notice that its journal was taken away, other faults included.
const MUST_END: Duration = Duration::from_secs(15);

/// The file that fills the journal's disk.
const FILLER: &str = "filler";

impl Faults {
    /// Begins a fault. `None` if there is nothing to do it to.
    pub(super) fn fire(
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

    /// Ends a fault.
    pub(super) fn heal(&mut self, fault: &Active, stage: &mut Stage, load: &Load) {
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
