//! The progress line of a transfer.

mod line;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::output::note;
use super::show::{per_second, ratio, state, whole_seconds};
use crate::client::{self, Tally, Wait, Way};
use crate::text::{Printable, PrintableLines, printable};
use crate::units::format_duration;
use line::CLEAR;
pub(super) use line::{Bar, Part};

/// Time between two looks at a transfer.
const TICK: Duration = Duration::from_millis(100);

/// After this long without progress the balancer is asked why.
const STUCK: Duration = Duration::from_secs(1);

/// Shows a progress line if standard error is a terminal, until the future is dropped. Without
/// progress it asks the balancer for the reason.
pub(super) async fn line(mut tally: watch::Receiver<Tally>, wait: Wait, way: &Way) -> Infallible {
    let Some(bar) = &Bar::on_terminal(true) else {
        return std::future::pending().await;
    };
    let started = Instant::now();
    let (mut moved, mut last, mut trouble) = (Instant::now(), 0, String::new());
    loop {
        {
            let tally = tally.borrow_and_update();
            let total = tally.fates.len();
            let done = total
                - if wait == Wait::Delivered {
                    tally.undecided()
                } else {
                    tally.unaccepted()
                };
            if done != last {
                (moved, last) = (Instant::now(), done);
                trouble.clear();
            }
            let parts = parts(&tally, done, total, started.elapsed(), &trouble);
            bar.show(done as u64, total as u64, &parts);
        }
        tokio::time::sleep(TICK).await;
        if moved.elapsed() > STUCK {
            moved = Instant::now();
            trouble = why_nothing_moves(way).await;
        }
    }
}

/// Writes a notice above the progress line, which is drawn again by itself.
pub(super) fn above_the_line(text: &str) {
    if stderr().is_terminal() {
        let text = PrintableLines(text);
        // One write: nothing of the line can come between.
        let _ = stderr()
            .lock()
            .write_all(format!("{CLEAR}{text}\n").as_bytes());
    } else {
        note(text);
    }
}

/// Why no file is delivered; empty if the balancer does not know.
async fn why_nothing_moves(way: &Way) -> String {
    match client::status(way, STUCK).await {
        Ok(status) if status.servers.iter().all(|server| !server.eligible) => {
            let reasons: BTreeSet<String> = status.servers.iter().map(state).collect();
            format!(
                "no server can take files ({})",
                Printable(Vec::from_iter(reasons).join(", "))
            )
        }
        _ => String::new(),
    }
}

/// What is told beside the bar, in the order of importance: a narrow terminal shows the first.
fn parts(tally: &Tally, done: usize, total: usize, elapsed: Duration, trouble: &str) -> Vec<Part> {
    let mut parts = vec![Part::Whole(format!(
        "accepted {}  delivered {}",
        tally.accepted, tally.delivered
    ))];
    match &tally.waiting {
        _ if tally.reconnecting => parts.push(Part::Whole("reconnecting …".to_owned())),
        Some(reason) => {
            parts.push(Part::Trouble(format!("waiting: {}", printable(reason))));
        }
        None => {}
    }
    if !trouble.is_empty() {
        parts.push(Part::Trouble(trouble.to_owned()));
    }
    if done > 0 && elapsed > Duration::ZERO {
        let left = elapsed.mul_f64(ratio((total - done) as u64, done as u64));
        parts.push(Part::Whole(format!(
            "{:.0} files/s  ETA {}",
            per_second(done, elapsed),
            format_duration(whole_seconds(left))
        )));
    }
    let servers = tally
        .by_server
        .iter()
        .take(4)
        .map(|(server, files)| format!("{} {files}", Printable(server)));
    let servers: Vec<_> = servers.collect();
    if !servers.is_empty() {
        parts.push(Part::Whole(format!("[{}]", servers.join(", "))));
    }
    parts
}
