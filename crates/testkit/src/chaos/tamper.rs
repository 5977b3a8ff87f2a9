//! Tampers with the journal's directory: it is renamed while the balancer runs, and bits flip in
//! its files while the balancer is down.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bilico::queue::{content, recovery, segment};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::Value;

use super::stage::{Stage, mortal_bilico};
use crate::Role;

/// The balancer's exit code when its journal fails.
pub(super) const JOURNAL_FAILED: i32 = 6;

fn elsewhere(stage: &Stage) -> PathBuf {
    stage.journal.with_extension("away")
}

/// Renames the journal's directory, and may put an empty one in its place.
pub(super) fn take(stage: &mut Stage, is_replaced: bool) {
    fs::rename(&stage.journal, elsewhere(stage)).unwrap();
    if is_replaced {
        fs::create_dir(&stage.journal).unwrap();
    }
    stage.is_journal_away = true;
}

/// Puts the journal's directory back. Files that were written to the empty one are findings.
pub(super) fn put_back(stage: &mut Stage) -> Vec<String> {
    let mut findings = Vec::new();
    if let Ok(entries) = fs::read_dir(&stage.journal) {
        findings.extend(entries.map(|entry| {
            format!(
                "{} was written beside the journal",
                entry.unwrap().file_name().display()
            )
        }));
        fs::remove_dir_all(&stage.journal).unwrap();
    }
    fs::rename(elsewhere(stage), &stage.journal).unwrap();
    stage.is_journal_away = false;
    findings
}

/// A kind of file in the journal's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Identity,
    Segment,
    Content,
    /// A file on which no accepted file depends.
    Spare,
}

impl FileKind {
    fn of(name: &str) -> Self {
        match name {
            recovery::IDENTITY => Self::Identity,
            name if segment::parse_name(name).is_some() => Self::Segment,
            name if content::parse_name(name).is_some() => Self::Content,
            _ => Self::Spare,
        }
    }
}

/// The verdict of `queue check`, and its counts.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    is_sound: bool,
    torn: u64,
    /// Waiting files, dead letters, remembered files, and the next request number.
    counts: [u64; 4],
}

/// Runs `queue check`. `None` if it refuses to read the journal.
fn check(journal: &Path) -> Result<Option<Found>, String> {
    let output = mortal_bilico()
        .args(["queue", "check", "--json"])
        .arg(journal)
        .output()
        .unwrap();
    let code = output.status.code();
    let Ok(found) = serde_json::from_slice::<Value>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        return if code == Some(JOURNAL_FAILED) {
            Ok(None)
        } else {
            Err(format!("exit code {code:?}: {said}"))
        };
    };
    let number = |field: &str| found[field].as_u64().unwrap();
    let counts = ["waiting", "dead", "remembered", "next_number"].map(number);
    let is_sound = found["sound"].as_bool().unwrap();
    let expected = if is_sound { 0 } else { JOURNAL_FAILED };
    if code != Some(expected) {
        return Err(format!("exit code {code:?} with {found}"));
    }
    Ok(Some(Found {
        is_sound,
        torn: number("torn_bytes"),
        counts,
    }))
}

/// Flips a bit of a file in place: the disk may have no room for a copy.
fn flip(path: &Path, bit: usize) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (mut byte, at) = ([0], (bit / 8) as u64);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], at).unwrap();
}

/// One file of each kind, of those that are not empty.
fn one_of_each(journal: &Path, random: &mut StdRng) -> Vec<(FileKind, PathBuf)> {
    let mut entries: Vec<_> = fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.retain(|entry| entry.metadata().unwrap().len() > 0);
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let files = entries.iter().map(|entry| {
        (
            FileKind::of(&entry.file_name().to_string_lossy()),
            entry.path(),
        )
    });
    let files: Vec<_> = files.collect();
    let kinds = [
        FileKind::Identity,
        FileKind::Segment,
        FileKind::Content,
        FileKind::Spare,
    ];
    let mut chosen = Vec::new();
    for kind in kinds {
        let those: Vec<_> = files.iter().filter(|(other, _)| *other == kind).collect();
        chosen.extend(those.choose(random).map(|file| (*file).clone()));
    }
    chosen
}

/// Flips a bit in one file of each kind, one after another, and runs `queue check` after each. Then
/// a balancer without servers opens a copy of the journal with one flipped bit. The journal itself
/// stays as it was. Call it with the balancer down.
pub(super) fn flip_bits(stage: &Stage, random: &mut StdRng) -> (Vec<String>, Vec<String>) {
    let (mut done, mut findings) = (Vec::new(), Vec::new());
    let before = match check(&stage.journal) {
        Ok(Some(before)) => before,
        other => {
            return (
                done,
                vec![format!(
                    "the journal of a balancer that was killed cannot be checked: {other:?}"
                )],
            );
        }
    };
    let files = one_of_each(&stage.journal, random);
    for (kind, path) in &files {
        let bit =
            random.random_range(0..usize::try_from(fs::metadata(path).unwrap().len()).unwrap() * 8);
        flip(path, bit);
        let found = check(&stage.journal);
        flip(path, bit);
        let what = format!(
            "bit {bit} of {}",
            path.file_name().unwrap().to_string_lossy()
        );
        match found {
            Ok(found) if is_told(*kind, &before, found.as_ref()) => {
                done.push(format!("{what}: reported"));
            }
            Ok(_) if *kind == FileKind::Content && is_unneeded(path, &before) => {
                done.push(format!("{what}: nothing needs it"));
            }
            other => findings.push(format!("{what}: {other:?}, before: {before:?}")),
        }
    }
    if let Some((kind, path)) = files.choose(random) {
        let bit = random.next_u64();
        findings.extend(open_copy(
            stage,
            *kind,
            path.file_name().unwrap().as_ref(),
            bit,
            &before,
        ));
    }
    (done, findings)
}

/// Whether `queue check` reported the flip, or the flip costs nothing.
fn is_told(kind: FileKind, before: &Found, found: Option<&Found>) -> bool {
    let Some(found) = found else {
        return kind != FileKind::Spare;
    };
    match kind {
        FileKind::Identity | FileKind::Content => !found.is_sound,
        // A batch that nothing proves to be synced looks like a torn tail. A segment that no file
        // needs is not read.
        FileKind::Segment => !found.is_sound || found.torn > 0 || found.counts == before.counts,
        FileKind::Spare => found.counts == before.counts,
    }
}

/// Whether no record names this content, because the balancer was killed before it wrote the record
/// of its acceptance, or before it removed what was delivered. Then the journal is sound without it.
fn is_unneeded(content: &Path, before: &Found) -> bool {
    let aside = content.with_file_name("aside");
    fs::rename(content, &aside).unwrap();
    let found = content.parent().map(check);
    fs::rename(&aside, content).unwrap();
    matches!(found, Some(Ok(Some(found))) if found.is_sound && found.counts == before.counts)
}

/// Starts a balancer on a copy of the journal with one flipped bit.
fn open_copy(
    stage: &Stage,
    kind: FileKind,
    name: &Path,
    bit: u64,
    before: &Found,
) -> Option<String> {
    let copy = stage.dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&stage.journal)
        .unwrap()
        .map(|entry| entry.unwrap())
    {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let bits = fs::metadata(copy.join(name)).unwrap().len() * 8;
    let bit = usize::try_from(bit % bits).unwrap();
    flip(&copy.join(name), bit);
    let found = check(&copy);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "none",
        "--server",
        "127.0.0.1:1=1",
    ];
    let args = [
        &args[..],
        &[
            "--journal",
            copy.to_str().unwrap(),
            "--log-dir",
            "logs-of-the-copy",
        ],
    ]
    .concat();
    let finding = match Role::launch(mortal_bilico(), stage.dir.path(), &args) {
        // It refuses the journal, as the check did, or cannot write because the disk is full.
        Err(_) => None,
        Ok(mut role) => {
            let status = stage.status_at(&role.address, Duration::from_secs(10));
            role.kill();
            let kept = status.map(|status| (status.queue.files() + status.queue.dead) as u64);
            let [waiting, dead, ..] = before.counts;
            let is_silent =
                matches!(&found, Ok(Some(found)) if found.is_sound && found.torn == before.torn);
            (is_silent && kept != Some(waiting + dead)).then(|| {
                let name = name.display();
                format!("with bit {bit} of {name} ({kind:?}) flipped it has {kept:?} files, before: {before:?}")
            })
        }
    };
    fs::remove_dir_all(&copy).unwrap();
    finding
}
