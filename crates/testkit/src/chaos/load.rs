//! Clients that keep sending. Each sends one wave of files after another by `bilico send` with keys
//! and receipts, and runs the same command again if it was killed or gave up.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilico::client::receipts::State;
use bilico::queue::{content, key_hash};
use bilico::verify::Receipts;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::secure::{Secured, USER};
use super::stage::{Stage, mortal_bilico};
use crate::signal;

/// The waves of a slot: how many files, their sizes in bytes, and the shortest time from the start
/// of one wave to the start of the next.
struct Kind {
    files: usize,
    sizes: std::ops::RangeInclusive<usize>,
    pace: Duration,
}

/// Two clients send many small files, one sends some medium files, one a few large ones.
const KINDS: [Kind; 4] = [
    Kind {
        files: 200,
        sizes: 1024..=1024,
        pace: Duration::from_millis(700),
    },
    Kind {
        files: 100,
        sizes: 1024..=1024,
        pace: Duration::from_millis(400),
    },
    Kind {
        files: 40,
        sizes: 10 * 1024..=100 * 1024,
        pace: Duration::from_millis(800),
    },
    Kind {
        files: 3,
        sizes: 2 << 20..=12 << 20,
        pace: Duration::from_secs(4),
    },
];

/// The content of the file with this title. The title ends in the size; no two titles have the same
/// content.
pub(super) fn content_of(seed: u64, title: &str) -> Option<Vec<u8>> {
    let size: usize = title.rsplit_once('-')?.1.parse().ok()?;
    let mut content = vec![0; size];
    blake3::Hasher::new()
        .update(&seed.to_be_bytes())
        .update(title.as_bytes())
        .finalize_xof()
        .fill(&mut content);
    Some(content)
}

/// A set of files with its own key prefix and its own file of receipts.
struct Wave {
    name: String,
    files: usize,
    titles: Vec<String>,
    receipts: PathBuf,
}

enum Doing {
    /// It does nothing until then.
    Idle(Instant),
    Sends(Wave, Child),
    /// The wave is incomplete; its command runs again at this time.
    Waits(Wave, Instant),
}

struct Slot {
    doing: Doing,
    begun: Instant,
    waves: usize,
}

/// Sums over all clients.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sums {
    /// Waves begun.
    pub(super) waves: usize,
    /// Files in them.
    pub(super) files: usize,
    /// Runs of the command.
    pub(super) runs: usize,
    /// Waves that were left incomplete, with files refused or unknown.
    pub(super) left: usize,
}

/// All clients.
pub(super) struct Load {
    seed: u64,
    random: StdRng,
    dir: PathBuf,
    balancer: String,
    secured: Option<Arc<Secured>>,
    slots: Vec<Slot>,
    /// The files of receipts since the last judgement.
    pub(super) receipts: Vec<PathBuf>,
    /// Parts of uploads that the balancer may keep for a while: their clients will not return.
    pub(super) leftovers: HashSet<String>,
    /// The sums so far.
    pub(super) sums: Sums,
}

impl Load {
    /// Clients of the balancer on this stage, which have not sent anything yet.
    pub(super) fn new(seed: u64, stage: &Stage) -> Self {
        let slots = KINDS.iter().map(|_| Slot {
            doing: Doing::Idle(Instant::now()),
            begun: Instant::now(),
            waves: 0,
        });
        Self {
            seed,
            random: StdRng::seed_from_u64(seed ^ 0x10ad),
            dir: stage.dir.path().to_owned(),
            balancer: stage.balancer.proxy.address.clone(),
            secured: stage.secured.clone(),
            slots: slots.collect(),
            receipts: Vec::new(),
            leftovers: HashSet::new(),
            sums: Sums::default(),
        }
    }

    /// Looks which commands have ended, and starts others. It starts new waves only if `goes_on`.
    pub(super) fn tend(&mut self, goes_on: bool) {
        for place in 0..self.slots.len() {
            let now = Instant::now();
            let doing = std::mem::replace(&mut self.slots[place].doing, Doing::Idle(now));
            self.slots[place].doing = match doing {
                Doing::Idle(until) if !goes_on || now < until => Doing::Idle(until),
                Doing::Idle(_) => {
                    let wave = self.wave(place);
                    self.send(wave, goes_on)
                }
                Doing::Waits(wave, until) if now < until => Doing::Waits(wave, until),
                Doing::Waits(wave, _) => self.send(wave, goes_on),
                Doing::Sends(wave, mut child) => match child.try_wait().unwrap() {
                    None => Doing::Sends(wave, child),
                    Some(_) => self.look_at(place, wave),
                },
            };
        }
    }

    /// Whether no wave is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| matches!(slot.doing, Doing::Idle(_)))
    }

    /// How many files of the waves under way have no final receipt.
    pub(super) fn in_flight(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| match &slot.doing {
                Doing::Idle(_) => 0,
                Doing::Sends(wave, _) | Doing::Waits(wave, _) => {
                    wave.files - states(wave).1.min(wave.files)
                }
            })
            .sum()
    }

    /// The clients that run now.
    pub(super) fn running(&self) -> Vec<u32> {
        let pids = self.slots.iter().filter_map(|slot| match &slot.doing {
            Doing::Sends(_, child) => Some(child.id()),
            _ => None,
        });
        pids.collect()
    }

    /// One of the clients that run now.
    pub(super) fn any_running(&mut self) -> Option<u32> {
        self.running().choose(&mut self.random).copied()
    }

    /// Kills a client, as a crash would. Its command runs again `later`.
    pub(super) fn kill(&mut self, pid: u32, later: Duration) {
        for slot in &mut self.slots {
            let doing = std::mem::replace(&mut slot.doing, Doing::Idle(Instant::now()));
            slot.doing = match doing {
                Doing::Sends(wave, mut child) if child.id() == pid => {
                    let _ = child.kill();
                    child.wait().unwrap();
                    Doing::Waits(wave, Instant::now() + later)
                }
                other => other,
            };
        }
    }

    /// Sends a client a signal, if it still runs.
    pub(super) fn signal(&self, pid: u32, name: &str) {
        if self.running().contains(&pid) {
            signal(pid, name);
        }
    }

    /// Writes the files of a slot's next wave.
    fn wave(&mut self, place: usize) -> Wave {
        let slot = &mut self.slots[place];
        slot.waves += 1;
        slot.begun = Instant::now();
        let name = format!("c{place}-w{}", slot.waves);
        let from = self.dir.join("out").join(&name);
        fs::create_dir_all(&from).unwrap();
        let kind = &KINDS[place];
        let titles: Vec<String> = (0..kind.files)
            .map(|file| {
                format!(
                    "{name}-{file}-{}",
                    self.random.random_range(kind.sizes.clone())
                )
            })
            .collect();
        for title in &titles {
            fs::write(from.join(title), content_of(self.seed, title).unwrap()).unwrap();
        }
        let receipts = self.dir.join(format!("{name}.receipts"));
        File::create(&receipts).unwrap();
        self.receipts.push(receipts.clone());
        self.sums.waves += 1;
        self.sums.files += kind.files;
        Wave {
            name,
            files: kind.files,
            titles,
            receipts,
        }
    }

    fn send(&mut self, wave: Wave, goes_on: bool) -> Doing {
        let retry = if goes_on {
            *["1s", "5s", "1m"].choose(&mut self.random).unwrap()
        } else {
            "1m"
        };
        let mut command = mortal_bilico();
        let said = File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("clients.said"))
            .unwrap();
        command.args([
            "send",
            "--quiet",
            "--recursive",
            "--retry",
            retry,
            "--balancer",
            &self.balancer,
        ]);
        command
            .arg("--key-prefix")
            .arg(format!("{}/", wave.name))
            .arg("--receipts")
            .arg(&wave.receipts);
        command
            .arg(self.dir.join("out").join(&wave.name))
            .current_dir(&self.dir);
        if let Some(secured) = &self.secured {
            secured.let_in(&mut command);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        self.sums.runs += 1;
        Doing::Sends(wave, child)
    }

    /// A command has ended by itself. Its wave is complete, or is left as it is, or the command
    /// runs again.
    fn look_at(&mut self, place: usize, wave: Wave) -> Doing {
        let (known, delivered) = states(&wave);
        let is_complete = delivered == wave.files;
        // Only a client that ended by itself has written a receipt for each file.
        let is_left = !is_complete && known == wave.files && self.random.random_bool(0.3);
        if !is_complete && !is_left {
            return Doing::Waits(wave, Instant::now() + Duration::from_millis(300));
        }
        if is_left {
            self.sums.left += 1;
            // A user's keys are its own.
            let user = if self.secured.is_some() {
                format!("{USER}\u{1f}")
            } else {
                String::new()
            };
            let prefix = format!("{user}{}/", wave.name);
            let parts = wave
                .titles
                .iter()
                .map(|title| content::part_name(key_hash(&format!("{prefix}{title}"))));
            self.leftovers.extend(parts);
        }
        fs::remove_dir_all(self.dir.join("out").join(&wave.name)).unwrap();
        Doing::Idle(self.slots[place].begun + KINDS[place].pace)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Doing::Sends(_, child) = &mut slot.doing {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// The number of files of a wave that have a receipt, and of those that are delivered.
fn states(wave: &Wave) -> (usize, usize) {
    let ledger = Receipts::read(std::slice::from_ref(&wave.receipts)).unwrap();
    let delivered = ledger
        .entries
        .iter()
        .filter(|entry| entry.state == State::Delivered)
        .count();
    (ledger.entries.len(), delivered)
}
