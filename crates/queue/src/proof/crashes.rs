//! A crash, or an error and then a crash, at each operation of a workload.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::driver::{Driver, Stop, Workload, config, verify};
use super::from_environment;
use super::model::Truth;
use crate::journal::JournalConfig;
use crate::sim::{Fault, Rng, Shape, SimDisk};
use bilico_core::durability::Durability;

/// The workload of a run without `BILICO_SEED`.
const SEED: u64 = 1;
/// How many batches a workload has.
const CYCLES: usize = 40;
/// A few records long, so that many segments come and go.
const SEGMENT: u64 = 2048;
/// One of so many images gets a second crash, during its recovery.
const SECOND: usize = 12;

/// What goes wrong at an operation.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Crash,
    Fault(Fault),
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Crash,
    Trouble::Fault(Fault::ALL[0]),
    Trouble::Fault(Fault::ALL[1]),
    Trouble::Fault(Fault::ALL[2]),
    Trouble::Fault(Fault::ALL[3]),
];

/// Runs the workload until its end or until the disk stops it. Gives what the journal must hold.
fn work(disk: &SimDisk, config: JournalConfig, seed: u64) -> Truth {
    let mut workload = Workload::new(seed);
    let mut driver = match Driver::open(disk, config, Truth::default()) {
        Ok(driver) => driver,
        Err(stopped) => return stopped.1,
    };
    for cycle in 0..CYCLES {
        if cycle % 13 == 12 {
            driver = match driver.reopen() {
                Ok(driver) => driver,
                Err(stopped) => return stopped.1,
            };
        }
        if round(&mut driver, &mut workload).is_err() {
            return driver.truth;
        }
    }
    driver.check_locations();
    driver.truth
}

fn round(driver: &mut Driver, workload: &mut Workload) -> Result<(), Stop> {
    let changes = workload.changes(driver)?;
    driver.cycle(changes)?;
    driver.journal.restore_reserve();
    if workload.rng.below(3) == 0 {
        driver.idle()
    } else {
        Ok(())
    }
}

/// Everything that can go wrong with one workload.
struct Exploration {
    config: JournalConfig,
    seed: u64,
    operations: usize,
    recoveries: AtomicUsize,
}

impl Exploration {
    fn new(durability: Durability, seed: u64) -> Self {
        let (disk, config) = (SimDisk::new(), config(durability, SEGMENT));
        let truth = work(&disk, config, seed);
        assert!(truth.open.is_empty(), "undisturbed, all is done");
        Self {
            config,
            seed,
            operations: disk.operations(),
            recoveries: AtomicUsize::new(0),
        }
    }

    /// On as many threads as there are cores, as nothing is shared. Gives the number of recoveries.
    fn run(&self) -> usize {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let search = || {
            while failed.lock().unwrap().is_none() {
                let case = next.fetch_add(1, Ordering::Relaxed);
                let (operation, trouble) = (case / TROUBLES.len(), TROUBLES[case % TROUBLES.len()]);
                if operation > self.operations {
                    break;
                }
                // After a panic, too, the message says how to repeat it.
                let tried = catch_unwind(AssertUnwindSafe(|| self.try_at(operation, trouble)));
                let seed = self.seed;
                let panicked = |_| {
                    Err(format!(
                        "BILICO_SEED={seed}: panicked after {trouble:?} at {operation}"
                    ))
                };
                if let Err(error) = tried.unwrap_or_else(panicked) {
                    failed.lock().unwrap().get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(search)));
        });
        if let Some(error) = failed.into_inner().unwrap() {
            panic!("{error}");
        }
        self.recoveries.load(Ordering::Relaxed)
    }

    fn try_at(&self, operation: usize, trouble: Trouble) -> Result<(), String> {
        let mut rng = Rng::new(self.seed ^ ((operation as u64) << 20));
        let disk = SimDisk::new();
        match trouble {
            Trouble::Crash => disk.crash_at(operation),
            Trouble::Fault(fault) => {
                disk.fail_at(operation, fault);
                // Right behind it, or after what the error has led to.
                disk.crash_at(operation + 1 + rng.below(16));
            }
        }
        let truth = work(&disk, self.config, self.seed);
        for shape in self.shapes(&disk, rng.next()) {
            let image = disk.crash(shape);
            self.recoveries.fetch_add(2, Ordering::Relaxed);
            let story = |error: String, image: &SimDisk| {
                let (before, after, seed) =
                    (disk.log().join("\n"), image.log().join("\n"), self.seed);
                let config = self.config.durability;
                format!(
                    "{error}\n{before}\nthen\n{after}\n\
                     BILICO_SEED={seed}: {config:?}, {trouble:?} at {operation}, {shape:?}"
                )
            };
            verify(&image, self.config, &truth).map_err(|error| story(error, &image))?;
            if rng.below(SECOND) == 0 {
                self.crash_again(&disk, shape, &truth, &mut rng)
                    .map_err(|(error, image)| story(error, &image))?;
            }
        }
        Ok(())
    }

    fn shapes(&self, disk: &SimDisk, seed: u64) -> Vec<Shape> {
        match self.config.durability {
            Durability::Disk => disk.shapes(seed),
            Durability::Os => vec![Shape::All],
        }
    }

    /// The machine goes down once more while it recovers.
    fn crash_again(
        &self,
        disk: &SimDisk,
        shape: Shape,
        truth: &Truth,
        rng: &mut Rng,
    ) -> Result<(), (String, SimDisk)> {
        let image = disk.crash(shape);
        drop(Driver::open(&image, self.config, truth.clone()));
        let operations = image.operations();
        let image = disk.crash(shape);
        image.crash_at(rng.below(operations));
        drop(Driver::open(&image, self.config, truth.clone()));
        for shape in self.shapes(&image, rng.next()) {
            self.recoveries.fetch_add(2, Ordering::Relaxed);
            verify(&image.crash(shape), self.config, truth).map_err(|error| {
                (
                    format!("after a second crash, {shape:?}: {error}"),
                    image.clone(),
                )
            })?;
        }
        Ok(())
    }
}

/// A crash at each operation in each shape, each error at each operation and then a crash, and
/// crashes during recovery. `BILICO_SEED` chooses the workload, `BILICO_CRASH_ROUNDS` goes through
/// so many of them.
#[test]
fn no_crash_and_no_error_loses_or_invents_a_file() {
    let seed = from_environment("BILICO_SEED").unwrap_or(SEED);
    for seed in seed..seed + from_environment("BILICO_CRASH_ROUNDS").unwrap_or(1) {
        let exploration = Exploration::new(Durability::Disk, seed);
        let recoveries = exploration.run();
        println!(
            "seed {seed}: {} operations, {recoveries} recoveries",
            exploration.operations
        );
        assert!(
            exploration.operations >= 200,
            "only {} operations",
            exploration.operations
        );
        assert!(recoveries >= 20_000, "only {recoveries} recoveries");
    }
}

/// What was handed to the system outlives the process, though nothing is synced.
#[test]
fn without_syncs_no_kill_loses_or_invents_a_file() {
    let seed = from_environment("BILICO_SEED").unwrap_or(SEED);
    for seed in seed..seed + from_environment("BILICO_CRASH_ROUNDS").unwrap_or(1) {
        let recoveries = Exploration::new(Durability::Os, seed).run();
        println!("seed {seed}: {recoveries} recoveries");
        assert!(recoveries >= 500, "only {recoveries} recoveries");
    }
}
