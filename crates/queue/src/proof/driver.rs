//! Drives a journal as the balancer's writer does, one step after the other, and keeps the model of
//! what it must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Change, File, Found, Model, Truth, attempt, death};
use crate::content::{self, Part};
use crate::disk::Disk;
use crate::error::JournalError;
use crate::journal::{Journal, JournalConfig, Location};
use crate::recovery::{self, Recovered};
use crate::sim::{Rng, Shape, SimDisk};
use bilico_core::durability::Durability;

/// Why the driver cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The process has to end.
    Dead(String),
    /// The disk is full and the reserve is used up. The step can be tried again.
    Full,
}

/// How often a step is tried on a full disk: again after the reserve was given up, and after an
/// error that goes away.
const TRIES: usize = 3;

/// A journal, and what it must hold.
pub(super) struct Driver {
    pub(super) disk: SimDisk,
    pub(super) config: JournalConfig,
    pub(super) journal: Journal,
    pub(super) truth: Truth,
    /// Where the hub would read content.
    pub(super) locations: BTreeMap<u64, Location>,
}

/// Opens a journal and reads what it holds.
fn open(disk: &SimDisk, config: JournalConfig) -> Result<(Journal, Recovered, Found), Stop> {
    let opened = recovery::open(Arc::new(disk.clone()), config);
    let (journal, recovered) = opened.map_err(|error| stopped(&error))?;
    journal.check_invariants();
    match Found::read(disk, &recovered) {
        Ok(found) => Ok((journal, recovered, found)),
        Err(error) if disk.is_crashed() => Err(Stop::Dead(error)),
        Err(error) => panic!("{error}\n{}", disk.log().join("\n")),
    }
}

impl Driver {
    /// Opens the journal, which must hold what the model says; `Err` if the disk fails.
    pub(super) fn open(
        disk: &SimDisk,
        config: JournalConfig,
        mut truth: Truth,
    ) -> Result<Self, Box<(Stop, Truth)>> {
        let (journal, recovered, found) = match open(disk, config) {
            Ok(opened) => opened,
            Err(stop) => return Err(Box::new((stop, truth))),
        };
        truth
            .judge(&found)
            .unwrap_or_else(|error| panic!("{error}\n{}", disk.log().join("\n")));
        assert!(
            recovered.report.is_sound(),
            "{:?}\n{}",
            recovered.report,
            disk.log().join("\n")
        );
        let location = |(number, kept): (u64, recovery::FoundFile)| Some((number, kept.location?));
        let locations = recovered
            .found_files()
            .unwrap_or_default()
            .into_iter()
            .filter_map(location)
            .collect();
        Ok(Self {
            disk: disk.clone(),
            config,
            journal,
            truth,
            locations,
        })
    }

    /// Closes the journal and opens it again.
    pub(super) fn reopen(self) -> Result<Self, Box<(Stop, Truth)>> {
        let Self {
            disk,
            config,
            journal,
            truth,
            ..
        } = self;
        drop(journal);
        Self::open(&disk, config, truth)
    }

    /// Does a step, again when the reserve or another try can help.
    fn insist<T>(
        &mut self,
        mut step: impl FnMut(&mut Journal) -> Result<T, JournalError>,
    ) -> Result<T, Stop> {
        for _ in 0..TRIES {
            match step(&mut self.journal) {
                Err(error) if error.is_full() => {
                    self.journal.release_reserve();
                }
                Err(error) => return Err(stopped(&error)),
                Ok(done) => {
                    self.journal.check_invariants();
                    return Ok(done);
                }
            }
        }
        Err(Stop::Full)
    }

    /// Opens a segment if one is needed.
    pub(super) fn prepare(&mut self) -> Result<(), Stop> {
        self.insist(Journal::prepare)
    }

    /// Puts a change into the batch.
    pub(super) fn apply(&mut self, change: Change) {
        self.journal.apply(change.op());
        self.truth.open.push(change);
    }

    /// Commits the batch, and notes that it is durable.
    pub(super) fn commit(&mut self) -> Result<(), Stop> {
        let committed = self.insist(Journal::commit)?;
        assert_eq!(
            committed.ops,
            self.truth.open.len(),
            "each operation is told of once"
        );
        self.truth.settle();
        if self.disk.is_crashed() {
            return Err(Stop::Dead(
                "crashed in what the journal can do without".into(),
            ));
        }
        for (number, location) in committed.stored.into_iter().chain(committed.moved) {
            if let Some(file) = self.truth.sure.files.get(&number).filter(|file| !file.own) {
                assert_eq!(
                    location.read(file.meta.crc32c).map_err(drop),
                    Ok(file.content.clone()),
                    "{number}"
                );
                self.locations.insert(number, location);
            }
        }
        Ok(())
    }

    /// Cleans for as long as about three times `written` bytes take.
    pub(super) fn clean(&mut self, written: u64) -> Result<(), Stop> {
        let mut budget = 3 * written;
        while budget > 0 {
            self.prepare()?;
            let Ok(space) = self.disk.space() else {
                return Err(Stop::Dead("no space".into()));
            };
            let looked_at = self.insist(|journal| journal.clean(space))?;
            if looked_at == 0 {
                break;
            }
            budget = budget.saturating_sub(looked_at);
        }
        Ok(())
    }

    /// What the writer does with the operations that queued.
    pub(super) fn cycle(&mut self, changes: Vec<Change>) -> Result<(), Stop> {
        self.prepare()?;
        for change in changes {
            self.apply(change);
        }
        let written = self.journal.pending() as u64;
        self.commit()?;
        self.clean(written)
    }

    /// What the writer does when nothing queues.
    pub(super) fn idle(&mut self) -> Result<(), Stop> {
        if self.journal.pending() > 0 {
            self.commit()?;
        }
        self.insist(Journal::mark)
    }

    /// Receives content in two pieces, with a break of the connection between them if `broken`.
    /// False if the disk has refused it.
    pub(super) fn upload(&self, number: u64, content: &[u8], broken: bool) -> Result<bool, Stop> {
        let receive = || {
            let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
            let (first, second) = content.split_at(content.len() / 2);
            let mut part = Part::create(disk.clone(), number.into())?;
            part.write(first)?;
            if broken {
                drop(part);
                part = Part::resume(disk, number.into(), first.len() as u64)?;
            }
            part.write(second)?;
            assert_eq!(
                (part.len(), part.crc32c()),
                (content.len() as u64, crc32c::crc32c(content))
            );
            part.finish(number, self.config.durability)
        };
        match receive() {
            Ok(()) => Ok(true),
            Err(error) if self.disk.is_crashed() => Err(Stop::Dead(error.to_string())),
            Err(_) => Ok(false),
        }
    }

    /// Whether all contents can be read where the hub was told that they are.
    pub(super) fn check_locations(&self) {
        if self.disk.is_crashed() {
            return;
        }
        for (number, file) in self.truth.sure.files.iter().filter(|(_, file)| !file.own) {
            let read = self.locations[number]
                .read(file.meta.crc32c)
                .map_err(|error| error.to_string());
            assert_eq!(read.as_ref(), Ok(&file.content), "{number}");
        }
    }
}

fn stopped(error: &JournalError) -> Stop {
    if error.is_full() {
        Stop::Full
    } else {
        Stop::Dead(error.to_string())
    }
}

/// A journal with segments of this length.
pub(super) fn config(durability: Durability, segment_size: u64) -> JournalConfig {
    JournalConfig {
        durability,
        segment_size: Some(segment_size),
    }
}

/// The shortest segments of the proofs.
pub(super) fn small() -> JournalConfig {
    config(Durability::Disk, 2048)
}

/// A journal of such segments on an empty disk.
pub(super) fn begun(disk: &SimDisk) -> Driver {
    Driver::open(disk, small(), Truth::default())
        .map_err(|stopped| stopped.0)
        .unwrap()
}

/// A file whose content is in the journal's records.
pub(super) fn accept(number: u64, size: usize) -> Change {
    Change::Accept(number, File::new(number, size, false))
}

/// Opens a disk as a crash left it. The recovery must find what the model says, nothing else and no
/// damage, and find it again after a power cut right then. Gives the model from then on.
pub(super) fn verify(
    image: &SimDisk,
    config: JournalConfig,
    truth: &Truth,
) -> Result<Truth, String> {
    let mut truth = truth.clone();
    recover(image, config, &mut truth)?;
    if config.durability == Durability::Disk {
        let again = image.crash(Shape::None);
        recover(&again, config, &mut truth)
            .map_err(|error| format!("after a power cut right then: {error}"))?;
    }
    Ok(truth)
}

fn recover(disk: &SimDisk, config: JournalConfig, truth: &mut Truth) -> Result<(), String> {
    let (journal, recovered) = recovery::open(Arc::new(disk.clone()), config)
        .map_err(|error| format!("does not open: {error}"))?;
    journal.check_invariants();
    if !recovered.report.is_sound() {
        return Err(format!("a false alarm: {:?}", recovered.report));
    }
    let found = Found::read(disk, &recovered)?;
    truth.judge(&found)?;
    let is_orphan = |name: &String| {
        content::parse_name(name)
            .is_some_and(|id| !found.files.get(&id).is_some_and(|file| file.own))
    };
    match disk
        .list()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .find(is_orphan)
    {
        Some(name) => Err(format!("{name} is left behind")),
        None => Ok(()),
    }
}

/// Chooses what happens next.
pub(super) struct Workload {
    pub(super) rng: Rng,
    next: u64,
    now: u64,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            next: 1,
            now: 10_000,
        }
    }

    /// A few changes that make sense one after the other.
    pub(super) fn changes(&mut self, driver: &Driver) -> Result<Vec<Change>, Stop> {
        let mut model = driver.truth.sure.clone();
        let mut changes = Vec::new();
        for _ in 0..=self.rng.below(4) {
            if let Some(change) = self.change(driver, &model)? {
                model.apply(&change);
                changes.push(change);
            }
        }
        Ok(changes)
    }

    fn change(&mut self, driver: &Driver, model: &Model) -> Result<Option<Change>, Stop> {
        self.now += 1;
        let dice = self
            .rng
            .below(if model.files.len() > 12 { 60 } else { 100 });
        let file = self.any(&model.files);
        Ok(match (dice, file) {
            (0..35, Some(number)) => Some(model.ending(number, !dice.is_multiple_of(4))),
            (35..43, Some(number)) => {
                Some(Change::Attempt(number, attempt(self.now), self.rng.coin()))
            }
            (43..47, Some(number)) => Some(Change::Bury(number, death(self.now))),
            (47..50, Some(number)) => Some(Change::Replay(number)),
            (50..51, _) => Some(Change::Attempt(1_000_000, attempt(self.now), true)),
            (51..60, _) => Some(Change::Forget(self.any(&model.ended).into_iter().collect())),
            (60..68, _) => {
                let (number, file) = self.file(true);
                let is_there = driver.upload(number, &file.content, self.rng.coin())?;
                is_there.then_some(Change::Accept(number, file))
            }
            _ => {
                let (number, file) = self.file(false);
                Some(Change::Accept(number, file))
            }
        })
    }

    fn file(&mut self, own: bool) -> (u64, File) {
        let number = self.next;
        self.next += 1;
        let most = [1, 40, 400, 1500][self.rng.below(4)];
        (number, File::new(number, self.rng.below(most), own))
    }

    fn any<T>(&mut self, of: &BTreeMap<u64, T>) -> Option<u64> {
        (!of.is_empty()).then(|| *of.keys().nth(self.rng.below(of.len())).unwrap())
    }
}
