//! Checks what must hold: for a stored file at any time, and for all files once the faults have
//! ended.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bilico::client::receipts::State;
use bilico::queue::content;
use bilico::server::name::is_own;
use bilico::verify::{Receipts, Report, verify};
use rand::seq::IndexedRandom;

use super::load::{Load, content_of};
use super::stage::{PATIENCE, Stage, mortal_bilico};

/// How many files must go through after the faults.
const AFTERWARDS: usize = 50;

/// Checks the content of a stored file, which follows from its name, `<number>_<title>`.
fn is_whole(seed: u64, dir: &Path, name: &str) -> Result<(), String> {
    let path = dir.join(name);
    let title = name.split_once('_').map_or(name, |(_, title)| title);
    // A name that was taken gets a suffix. The content follows from the title alone.
    let title = title.split_once('~').map_or(title, |(title, _)| title);
    match fs::read(&path) {
        // It was a second copy, and has been removed since.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(stored) if content_of(seed, title).is_some_and(|expected| expected == stored) => Ok(()),
        Ok(stored) => Err(format!(
            "{} has {} bytes that are not what was sent",
            path.display(),
            stored.len()
        )),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| !is_own(name)).collect()
}

/// Checks a few stored files while faults go on.
pub(super) fn sample(seed: u64, stage: &Stage) -> Vec<String> {
    let mut findings = Vec::new();
    for dir in stage.shelves() {
        let names = names(&dir);
        let some: Vec<&String> = names.sample(&mut rand::rng(), 5).collect();
        findings.extend(
            some.into_iter()
                .filter_map(|name| is_whole(seed, &dir, name).err()),
        );
    }
    findings
}

/// Waits until everything has settled, and returns what is wrong. Call it while everything runs and
/// no fault is active.
pub(super) fn judge(seed: u64, stage: &mut Stage, load: &mut Load) -> Vec<String> {
    let mut findings = Vec::new();
    let started = Instant::now();
    while !load.is_idle() {
        if started.elapsed() > PATIENCE {
            findings.push(format!(
                "{} files have no receipt {PATIENCE:?} after all faults",
                load.in_flight()
            ));
            return findings;
        }
        load.tend(false);
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = stage.wait_for("the queue to drain", |status| status.queue.files() == 0);
    if status.queue.dead > 0 {
        findings.push(format!("{} dead letters", status.queue.dead));
    }
    findings.extend(forgotten(load));
    findings.extend(compare(stage, load));
    for dir in stage.shelves() {
        findings.extend(
            names(&dir)
                .iter()
                .filter_map(|name| is_whole(seed, &dir, name).err()),
        );
    }
    findings.extend(afterwards(stage));
    findings.extend(orphans(stage, load));
    findings.extend(check_journal(stage));
    findings
}

/// Finds files that the balancer accepted and has forgotten. It remembers files for far longer than
/// a run takes.
fn forgotten(load: &Load) -> Option<String> {
    let ledger = Receipts::read(&load.receipts).unwrap();
    let forgotten = ledger
        .entries
        .iter()
        .filter(|entry| entry.state == State::Forgotten);
    let (count, some) = (
        forgotten.clone().count(),
        forgotten.take(5).collect::<Vec<_>>(),
    );
    (count > 0).then(|| format!("{count} files were accepted and forgotten: {some:?}"))
}

/// Runs the history checker, again for a while: a second copy may be about to be removed.
fn compare(stage: &Stage, load: &Load) -> Vec<String> {
    let started = Instant::now();
    loop {
        let report = verify(&load.receipts, &stage.shelves(), false).unwrap();
        if report.is_clean() {
            return Vec::new();
        }
        if started.elapsed() > PATIENCE / 6 {
            return told(&report);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The findings of a report, in words.
pub(super) fn told(report: &Report) -> Vec<String> {
    let kinds = report
        .kinds()
        .map(|(kind, findings)| (kind, findings.to_vec()));
    kinds
        .into_iter()
        .flat_map(|(kind, all)| all.into_iter().map(move |one| format!("{kind}: {one:?}")))
        .collect()
}

/// Sends new files. They must be stored, and no other file may appear.
fn afterwards(stage: &Stage) -> Option<String> {
    let from = stage.dir.path().join("afterwards");
    fs::create_dir_all(&from).unwrap();
    for file in 0..AFTERWARDS {
        fs::write(from.join(format!("after-{file}")), file.to_string()).unwrap();
    }
    let count = || {
        stage
            .shelves()
            .iter()
            .map(|dir| names(dir).len())
            .sum::<usize>()
    };
    let before = count();
    let mut command = mortal_bilico();
    command.args([
        "send",
        "--quiet",
        "--recursive",
        "--timeout",
        "2m",
        "--balancer",
        &stage.balancer.proxy.address,
    ]);
    if let Some(secured) = &stage.secured {
        secured.let_in(&mut command);
    }
    let ended = command
        .arg(&from)
        .current_dir(stage.dir.path())
        .output()
        .unwrap();
    let stored = count() - before;
    let is_fine = ended.status.success() && stored == AFTERWARDS;
    (!is_fine).then(|| format!("of {AFTERWARDS} new files {stored} were stored: {ended:?}"))
}

/// Finds files in the journal's directory that belong to no accepted file.
fn orphans(stage: &Stage, load: &Load) -> Vec<String> {
    let find = || {
        let entries = fs::read_dir(&stage.journal)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap());
        let is_orphan = |name: &String| {
            let is_part =
                content::parse_part_name(name).is_some() && !load.leftovers.contains(name);
            is_part || content::parse_name(name).is_some()
        };
        names.filter(is_orphan).collect::<Vec<_>>()
    };
    let started = Instant::now();
    loop {
        let found = find();
        if found.is_empty() || started.elapsed() > PATIENCE / 6 {
            return found
                .into_iter()
                .map(|name| format!("{name} is left in the journal"))
                .collect();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Stops the balancer, checks its journal, and starts it again.
fn check_journal(stage: &mut Stage) -> Vec<String> {
    let mut findings = Vec::new();
    let stopped = stage.balancer.role.take().and_then(|mut role| role.stop());
    if stopped != Some(0) {
        findings.push(format!("the balancer stopped with {stopped:?}"));
    }
    let checked = mortal_bilico()
        .args(["queue", "check"])
        .arg(&stage.journal)
        .output()
        .unwrap();
    if !checked.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr),
        );
        findings.push(format!("the journal is not sound: {out}{err}"));
    }
    stage.start_all();
    findings
}

/// Removes files that were stored and judged.
pub(super) fn clear(stage: &Stage, load: &mut Load) {
    for dir in stage.shelves() {
        for name in names(&dir) {
            fs::remove_file(dir.join(name)).unwrap();
        }
    }
    for receipts in load.receipts.drain(..) {
        fs::remove_file(receipts).unwrap();
    }
}
