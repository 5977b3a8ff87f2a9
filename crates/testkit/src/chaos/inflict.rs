//! How each kind of fault begins and ends.
#![allow(clippy::enum_glob_use, reason = "each match names nearly all kinds")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::crowd;
use super::faults::{Active, Faults, Target};
use super::kind::Kind;
use super::load::Load;
use super::proxy::Way;
use super::stage::{Post, Stage};
use super::tamper;
use crate::signal;

/// The longest time until a balancer notices that its journal was renamed, with other faults at
/// work.
const MUST_END: Duration = Duration::from_secs(15);

impl Faults {
    /// Begins a fault. `None` if its target is not there.
    pub(super) fn strike(
        &mut self,
        kind: Kind,
        target: Target,
        lasts: Duration,
        stage: &mut Stage,
        load: &mut Load,
    ) -> Option<Active> {
        use Kind::*;
        let mut fault = Active {
            kind,
            target,
            pid: None,
            until: Instant::now() + lasts,
            limit: None,
        };
        match (kind, target) {
            (KillBalancer | KillServer(_), Target::Process(place)) => stage.post(place).kill(),
            (TakeJournal, _) => tamper::take(stage, self.random.random_bool(0.5)),
            (FlipBits, _) => {
                stage.balancer.kill();
                let (done, findings) = tamper::flip_bits(stage, &mut self.random);
                for what in done {
                    self.note(&what);
                }
                self.findings.extend(findings);
            }
            (PauseBalancer | PauseServer, Target::Process(place)) => {
                fault.pid = Some(stage.post(place).pid()?);
                signal(fault.pid?, "STOP");
            }
            (KillClient, Target::Client(pid)) => load.kill(pid, lasts),
            (PauseClient, Target::Client(pid)) => load.signal(pid, "STOP"),
            (_, Target::Proxy(place)) => self.trouble(kind, place, stage),
            (FullJournal, _) if stage.has_own_disk => fill(&stage.journal),
            (FullJournal | StuckJournal, _) => {
                fault.limit(&stage.balancer, Resource::Fsize, 4096)?;
            }
            (FullServer, Target::Limits(place)) => {
                let most = self.random.random_range(0..2048);
                fault.limit(stage.post(place), Resource::Fsize, most)?;
            }
            (NoFilesBalancer | NoFilesServer, Target::Limits(place)) => {
                let pid = stage.post(place).pid()?;
                let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
                fault.limit(
                    stage.post(place),
                    Resource::Nofile,
                    open + self.random.random_range(0..4),
                )?;
            }
            (CrowdBalancer, _) => self.crowd(stage, load)?,
            _ => unreachable!("{kind:?} on {target:?}"),
        }
        Some(fault)
    }

    /// Makes a proxy fail.
    fn trouble(&mut self, kind: Kind, place: usize, stage: &mut Stage) {
        use Kind::*;
        let random = &mut self.random;
        let proxy = &stage.post(place).proxy;
        // Half of the time new connections get through, so that probes succeed.
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
                weather.swallows = vec![Way::There, Way::Back];
                weather.before = before;
            }
            _ => {
                weather.swallows = vec![Way::Back];
                weather.before = before;
            }
        });
    }

    /// Gathers a crowd of clients. While nothing else is wrong, others must be served beside it.
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

    /// Waits for a balancer whose journal was renamed: it must end by itself.
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
        self.note(&format!("{:?} on {:?} is over", fault.kind, fault.target));
        match (fault.kind, fault.target) {
            (TakeJournal, _) if stage.balancer.role.is_some() => {
                self.wait_for_the_end(fault, stage);
            }
            (KillBalancer | KillServer(_) | TakeJournal | FlipBits, Target::Process(place)) => {
                self.taken = self.taken.filter(|_| place != 0);
                if stage.is_journal_away && place == 0 {
                    self.findings.extend(tamper::put_back(stage));
                }
                if let Err(error) = stage.post(place).start() {
                    self.note(&format!("cannot start {}: {error}", stage.post(place).name));
                    // Another fault keeps it from starting; that ends, too.
                    self.active.push(Active {
                        until: Instant::now() + Duration::from_millis(500),
                        ..*fault
                    });
                }
            }
            (PauseClient, Target::Client(pid)) => load.signal(pid, "CONT"),
            (KillClient, _) => {}
            (CrowdBalancer, _) => self.crowd.clear(),
            (_, Target::Process(place)) => {
                if let Some(pid) = fault
                    .pid
                    .filter(|pid| stage.post(place).pid() == Some(*pid))
                {
                    signal(pid, "CONT");
                }
            }
            (_, Target::Proxy(place)) => stage.post(place).proxy.set(|_| {}),
            (FullJournal, _) if stage.has_own_disk => {
                if let Err(error) = fs::remove_file(filler(&stage.journal)) {
                    self.findings
                        .push(format!("the disk cannot be given room again: {error}"));
                }
            }
            (_, _) => {
                let place = if let Target::Limits(place) = fault.target {
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

/// The file that fills the journal's disk. The path does not lead through the journal's directory,
/// which another fault may have renamed.
fn filler(journal: &Path) -> PathBuf {
    journal.with_file_name("filler")
}

/// Leaves no room on the journal's disk.
fn fill(journal: &Path) {
    let mut filler = File::create(filler(journal)).unwrap();
    for piece in [vec![0; 1 << 20], vec![0; 4096]] {
        while filler
            .write(&piece)
            .is_ok_and(|written| written == piece.len())
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It once stayed for good when the journal's directory was renamed meanwhile.
    #[test]
    fn the_file_that_fills_the_disk_is_found_while_the_journal_is_away() {
        let disk = tempfile::tempdir().unwrap();
        let journal = disk.path().join("journal");
        assert!(!journal.exists());
        File::create(filler(&journal)).unwrap();
        fs::remove_file(filler(&journal)).unwrap();
    }
}
