//! A run of chaos, from the start to the verdict.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::faults::Faults;
use super::kind::Kind;
use super::load::Load;
use super::stage::{Setup, Stage};
use super::{deaths, judge};

/// The longest time of faults between two judgements. Files that were judged are removed, so that
/// disks stay small.
const ROUND: Duration = Duration::from_mins(4);

/// The shortest and the longest average time between two faults.
const PACE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(2500));

/// How a run ended.
pub struct Outcome {
    /// What is wrong.
    pub findings: Vec<String>,
    /// Kinds of faults that never came, or never found a file without its final receipt.
    pub missed: Vec<String>,
    /// The counts of each kind of fault, as a table.
    pub summary: String,
    /// Each fault with its time.
    pub log: Vec<String>,
}

/// The seed in `BILICO_SEED`, or a random one.
pub fn seed() -> u64 {
    std::env::var("BILICO_SEED").map_or_else(
        |_| rand::random::<u32>().into(),
        |seed| seed.parse().unwrap(),
    )
}

/// Lets faults rain for so long, on peers that speak TLS and show tokens if it is to be secure. Ends early when something is found, or when `is_enough` says so.
pub fn run(seed: u64, time: Duration, is_secure: bool, is_enough: impl Fn() -> bool) -> Outcome {
    let weights = [3, 2, 1];
    // In two minutes, each kind comes at least twice.
    let kinds = u32::try_from(Kind::all(weights.len()).len()).unwrap();
    let pace = (time / (2 * kinds + 4)).clamp(PACE.0, PACE.1);
    let mut stage = Stage::start(&Setup {
        weights: &weights,
        balancer: &["--window-files", "24", "--segment-size", "1MiB"],
        journal: Some("192m"),
        delay: Duration::from_millis(4),
        is_secure,
    });
    let mut load = Load::new(seed, &stage);
    let mut faults = Faults::new(seed, weights.len(), pace);
    let started = Instant::now();
    let mut findings = Vec::new();
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
    stage.keep = !findings.is_empty();
    let summary = summary(&load, &faults, started.elapsed());
    Outcome {
        findings,
        missed: faults
            .missed()
            .iter()
            .map(|kind| format!("{kind:?}"))
            .collect(),
        summary,
        log: faults.log,
    }
}

/// Lets faults come up to `end`, and returns what is wrong.
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
        findings.extend(deaths::find(stage));
        findings.append(&mut faults.findings);
        if Instant::now() >= next_look {
            findings.extend(judge::sample(seed, stage));
            next_look = Instant::now() + Duration::from_millis(700);
        }
        std::thread::sleep(Duration::from_millis(20));
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
    /// Makes a finding of kinds of faults that were missed: a long run that missed one shows too
    /// little.
    pub fn fail_if_missed(&mut self) {
        if !self.missed.is_empty() && self.findings.is_empty() {
            self.findings.push(format!(
                "a failed run: nothing was in flight, or they never came: {:?}",
                self.missed
            ));
        }
    }

    /// Prints the outcome. If something is wrong, it prints each fault, too.
    pub fn tell(&self, seed: u64) {
        if !self.findings.is_empty() {
            self.log.iter().for_each(|line| println!("{line}"));
        }
        println!("{}", self.summary);
        if !self.missed.is_empty() {
            println!("missed: {:?}", self.missed);
        }
        // Whoever keeps only the end of a long output must find the cause there.
        for finding in self.findings.iter().take(20) {
            println!("FOUND: {finding:.1000}");
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
