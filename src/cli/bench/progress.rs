//! The progress lines of a measurement.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::cli::progress::{Bar, Part};
use crate::load::drive::Greeted;
use crate::load::{Plan, Run};

/// Time between two looks at a run.
const TICK: Duration = Duration::from_millis(100);

/// Shows a progress line if standard error is a terminal, until the future is dropped.
pub(super) async fn progress(plan: &Plan, run: &RefCell<Run>) -> Infallible {
    let Some(bar) = Bar::on_terminal(plan.total().is_some()) else {
        return std::future::pending().await;
    };
    let (mut before, mut at) = (0, Instant::now());
    loop {
        {
            let tally = &run.borrow().tally;
            let done = tally.reached + tally.failed();
            let millis = u64::try_from(at.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            let rate = (tally.reached - before).saturating_mul(1000) / millis;
            let under_way = tally.sent.saturating_sub(done);
            let parts = [
                Part::Whole(format!("{rate} files/s")),
                Part::Whole(format!("{under_way} under way")),
                Part::Whole(format!("{} failed", tally.failed())),
            ];
            bar.show(done, plan.total().unwrap_or(done), &parts);
            (before, at) = (tally.reached, Instant::now());
        }
        tokio::time::sleep(TICK * 5).await;
    }
}

/// Shows how many connections are open, as [`progress`] does.
pub(super) async fn opening(connections: u64, opened: &RefCell<Vec<Greeted>>) -> Infallible {
    let Some(bar) = Bar::on_terminal(true) else {
        return std::future::pending().await;
    };
    loop {
        // Once all are open, `hold` takes them out of the list.
        let open = opened.borrow().len() as u64;
        let parts = [Part::Whole("connections".to_owned())];
        bar.show(open.max(bar.position()), connections, &parts);
        tokio::time::sleep(TICK).await;
    }
}
