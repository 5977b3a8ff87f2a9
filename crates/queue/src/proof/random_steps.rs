//! Random steps of all kinds, in any order, against the model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::driver::{Driver, Stop, config, verify};
use super::model::{Change, File, Truth, attempt, death};
use crate::disk::Disk;
use crate::sim::SimDisk;
use bilico_core::durability::Durability;

const SEGMENT: u64 = 2048;

/// One step. A pick chooses among the files that it can be done to.
#[derive(Debug, Clone)]
enum Step {
    Accept {
        size: usize,
        own: bool,
    },
    Attempt {
        pick: usize,
        is_failure: bool,
    },
    Deliver(usize),
    Bury(usize),
    Replay(usize),
    Drop(usize),
    Forget(usize),
    Commit,
    Clean,
    Idle,
    Crash {
        pick: usize,
        seed: u64,
    },
    Reopen,
    /// Leaves so many bytes.
    Fill(u64),
    GiveRoom,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..900_usize, prop::bool::weighted(0.25))
            .prop_map(|(size, own)| Step::Accept { size, own }),
        3 => (any::<usize>(), any::<bool>())
            .prop_map(|(pick, is_failure)| Step::Attempt { pick, is_failure }),
        6 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::Bury),
        1 => any::<usize>().prop_map(Step::Replay),
        2 => any::<usize>().prop_map(Step::Drop),
        4 => any::<usize>().prop_map(Step::Forget),
        8 => Just(Step::Commit),
        4 => Just(Step::Clean),
        2 => Just(Step::Idle),
        2 => (any::<usize>(), any::<u64>()).prop_map(|(pick, seed)| Step::Crash { pick, seed }),
        1 => Just(Step::Reopen),
        1 => (0..3000_u64).prop_map(Step::Fill),
        1 => Just(Step::GiveRoom),
    ]
}

/// A journal in the midst of its steps.
struct Run {
    driver: Option<Driver>,
    next: u64,
    now: u64,
}

fn pick<T>(of: &BTreeMap<u64, T>, pick: usize) -> Option<u64> {
    of.keys().nth(pick.checked_rem(of.len())?).copied()
}

impl Run {
    fn new() -> Self {
        let config = config(Durability::Disk, SEGMENT);
        let driver = Driver::open(&SimDisk::new(), config, Truth::default())
            .map_err(|stopped| stopped.0)
            .unwrap();
        Self {
            driver: Some(driver),
            next: 1,
            now: 10_000,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        self.now += 1;
        let mut driver = self.driver.take().expect("it is put back");
        let done = match step {
            Step::Commit => driver.commit(),
            Step::Clean => driver.clean(1000),
            Step::Idle => driver.idle(),
            Step::GiveRoom => {
                driver.disk.set_capacity(None);
                driver.journal.restore_reserve();
                Ok(())
            }
            Step::Fill(left) => {
                let used: u64 = driver
                    .disk
                    .list()
                    .unwrap()
                    .iter()
                    .map(|entry| entry.len)
                    .sum();
                driver.disk.set_capacity(Some(used + left));
                Ok(())
            }
            Step::Reopen => return self.reopen(driver),
            Step::Crash { pick, seed } => return self.crash(&driver, *pick, *seed),
            change => self.change(&mut driver, change),
        };
        self.driver = Some(driver);
        match done {
            // Nothing is dropped: it is tried again when there is room.
            Ok(()) | Err(Stop::Full) => Ok(()),
            Err(Stop::Dead(error)) => Err(error),
        }
    }

    fn change(&mut self, driver: &mut Driver, step: &Step) -> Result<(), Stop> {
        driver.prepare()?;
        let mut model = driver.truth.sure.clone();
        for change in &driver.truth.open {
            model.apply(change);
        }
        let file = |at: usize| pick(&model.files, at);
        let change = match *step {
            Step::Accept { size, own } => {
                let (number, file) = (self.next, File::new(self.next, size, own));
                self.next += 1;
                (!own || driver.upload(number, &file.content, size.is_multiple_of(2))?)
                    .then_some(Change::Accept(number, file))
            }
            Step::Attempt { pick, is_failure } => {
                file(pick).map(|number| Change::Attempt(number, attempt(self.now), is_failure))
            }
            Step::Deliver(pick) => file(pick).map(|number| model.ending(number, true)),
            Step::Drop(pick) => file(pick).map(|number| model.ending(number, false)),
            Step::Bury(pick) => file(pick).map(|number| Change::Bury(number, death(self.now))),
            Step::Replay(pick) => file(pick).map(Change::Replay),
            Step::Forget(at) => pick(&model.ended, at).map(|number| Change::Forget(vec![number])),
            _ => None,
        };
        if let Some(change) = change {
            driver.apply(change);
        }
        Ok(())
    }

    fn reopen(&mut self, mut driver: Driver) -> Result<(), String> {
        driver.disk.set_capacity(None);
        driver.idle().map_err(|stop| format!("{stop:?}"))?;
        let driver = driver
            .reopen()
            .map_err(|stopped| format!("{:?}", stopped.0))?;
        self.driver = Some(driver);
        Ok(())
    }

    fn crash(&mut self, driver: &Driver, pick: usize, seed: u64) -> Result<(), String> {
        let shapes = driver.disk.shapes(seed);
        let image = driver.disk.crash(shapes[pick % shapes.len()]);
        image.set_capacity(None);
        let truth = verify(&image, driver.config, &driver.truth)?;
        let driver = Driver::open(&image, driver.config, truth)
            .map_err(|stopped| format!("{:?}", stopped.0))?;
        self.driver = Some(driver);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_steps_leave_what_the_model_says(steps in prop::collection::vec(step(), 1..150)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step).map_err(TestCaseError::fail)?;
        }
        run.take(&Step::Crash { pick: 1, seed: 0 }).map_err(TestCaseError::fail)?;
    }
}
