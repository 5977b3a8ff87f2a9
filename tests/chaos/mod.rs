//! Chaos on real processes: a balancer, its servers and its clients, all of them killed, stopped,
//! cut off and starved of disk and descriptors at random, and the history checker's word on what
//! came of it.
//!
//! [`Stage`] is what runs, [`Load`] the clients, [`Faults`] what happens to all of them, [`judge`]
//! what must hold.

mod crowd;
mod faults;
mod judge;
mod load;
mod proxy;
pub mod shows;
mod stage;
mod tamper;

use std::fmt::Write;
use std::time::{Duration, Instant};

use faults::Faults;
use load::Load;
use stage::{Setup, Stage};

/// How long faults go on between two judgements at the most. What was judged is removed, so that
/// disks stay small.
const ROUND: Duration = Duration::from_mins(4);

/// The time between two faults, at the least and at the most.
const PACE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(2500));

/// How a run ended.
pub struct Outcome {
    /// What was not as it must be.
    pub findings: Vec<String>,
    /// The counts, for people.
    pub summary: String,
    /// What happened, and when.
    pub log: Vec<String>,
}

/// The seed from the environment, or a new one.
pub fn seed() -> u64 {
    std::env::var("BILICO_SEED").map_or_else(
        |_| rand::random::<u32>().into(),
        |seed| seed.parse().unwrap(),
    )
}

/// Lets faults rain for so long. Ends early when something is found, or when `is_enough`.
pub fn run(seed: u64, time: Duration, is_enough: impl Fn() -> bool) -> Outcome {
    let weights = [3, 2, 1];
    // Each kind comes at least twice, whatever the time is.
    let kinds = u32::try_from(faults::Kind::all(weights.len()).len()).unwrap();
    let pace = (time / (2 * kinds + 4)).clamp(PACE.0, PACE.1);
    let mut stage = Stage::start(&Setup {
        weights: &weights,
        balancer: &["--window-files", "24", "--segment-size", "1MiB"],
        journal: Some("192m"),
        delay: Duration::from_millis(4),
    });
    let mut load = Load::new(seed, stage.dir.path(), &stage.balancer.proxy.address);
    let mut faults = Faults::new(seed, weights.len(), pace);
    let (started, mut findings) = (Instant::now(), Vec::new());
    while findings.is_empty() && started.elapsed() < time && !is_enough() {
        let end = (Instant::now() + ROUND).min(started + time);
        findings.extend(rain(
            seed,
            end,
            &mut stage,
            &mut load,
            &mut faults,
            &is_enough,
        ));
        faults.heal_all(&mut stage, &load);
        findings.append(&mut faults.findings);
        stage.start_all();
        findings.extend(judge::judge(seed, &mut stage, &mut load));
        if findings.is_empty() {
            judge::clear(&stage, &mut load);
        }
    }
    let missed = faults.missed();
    if !missed.is_empty() && !is_enough() && findings.is_empty() {
        findings.push(format!(
            "a failed run: nothing was in flight, or they never came: {missed:?}"
        ));
    }
    stage.keep = !findings.is_empty();
    let summary = summary(&load, &faults, started.elapsed());
    Outcome {
        findings,
        summary,
        log: faults.log,
    }
}

/// One time of faults, up to `end`.
fn rain(
    seed: u64,
    end: Instant,
    stage: &mut Stage,
    load: &mut Load,
    faults: &mut Faults,
    is_enough: &impl Fn() -> bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    let mut next_look = Instant::now();
    while Instant::now() < end && findings.is_empty() && !is_enough() {
        load.tend(true);
        faults.tend(stage, load);
        findings.extend(deaths(stage));
        findings.append(&mut faults.findings);
        if Instant::now() >= next_look {
            findings.extend(judge::sample(seed, stage));
            next_look = Instant::now() + Duration::from_millis(700);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    findings
}

/// Processes that ended though nobody killed them.
fn deaths(stage: &mut Stage) -> Vec<String> {
    let mut findings = Vec::new();
    for place in 0..=stage.servers.len() {
        let must_end = place == 0 && stage.is_journal_away;
        let post = stage.post(place);
        if let Some(status) = post.role.as_mut().and_then(crate::harness::Role::ended) {
            if !must_end || status.code() != Some(tamper::JOURNAL_FAILED) {
                findings.push(format!("the {} ended by itself: {status}", post.name));
            }
            post.role = None;
        }
    }
    findings
}

fn summary(load: &Load, faults: &Faults, elapsed: Duration) -> String {
    let sums = load.sums;
    let mut text = format!(
        "{:.0} s; {} files in {} waves, {} runs of `bilico send`, {} waves left with files refused or unknown\n",
        elapsed.as_secs_f64(),
        sums.files,
        sums.waves,
        sums.runs,
        sums.left
    );
    let _ = writeln!(
        text,
        "{:18} {:>5} {:>9} {:>16} {:>16}",
        "fault", "fired", "hit some", "without receipt", "at balancer"
    );
    for (kind, count) in &faults.counts {
        let kind = format!("{kind:?}");
        let _ = writeln!(
            text,
            "{kind:18} {:>5} {:>9} {:>16} {:>16}",
            count.fired, count.hit, count.unreceipted, count.waiting
        );
    }
    text
}

impl Outcome {
    /// Prints what there is to say; all of it if something was found.
    pub fn tell(&self, seed: u64) {
        if !self.findings.is_empty() {
            self.log.iter().for_each(|line| println!("{line}"));
        }
        println!("{}", self.summary);
        for finding in self.findings.iter().take(50) {
            println!("FOUND: {finding}");
        }
        if self.findings.is_empty() {
            println!("seed {seed}: nothing is wrong");
        } else {
            println!(
                "seed {seed}: {} findings; run it again with BILICO_SEED={seed}",
                self.findings.len()
            );
        }
    }
}
