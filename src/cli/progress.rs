//! The progress line of a transfer.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use super::show::{per_second, ratio, state, whole_seconds};
use crate::client::{self, Tally, Wait};
use crate::text::{Printable, printable};
use crate::transport::Connect;
use crate::units::format_duration;

/// Time between two looks at a transfer.
const TICK: Duration = Duration::from_millis(100);

/// After this long without progress the balancer is asked why.
const STUCK: Duration = Duration::from_secs(1);

/// Shows a progress line if standard error is a terminal, until the future is dropped. Without
/// progress it asks the balancer for the reason.
pub(super) async fn line(
    mut tally: watch::Receiver<Tally>,
    wait: Wait,
    (connector, balancer): (&Arc<dyn Connect>, &str),
) -> Infallible {
    let Some(Bar(bar)) = &Bar::on_terminal("{spinner} {bar:24} {pos}/{len} {msg}") else {
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
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(progress_text(&tally, done, total, started.elapsed()) + &trouble);
        }
        tokio::time::sleep(TICK).await;
        if moved.elapsed() > STUCK {
            moved = Instant::now();
            trouble = why_nothing_moves(connector, balancer).await;
        }
    }
}

/// Why no file is delivered; empty if the balancer does not know.
async fn why_nothing_moves(connector: &Arc<dyn Connect>, balancer: &str) -> String {
    match client::status(connector, balancer, STUCK).await {
        Ok(status) if status.servers.iter().all(|server| !server.eligible) => {
            let reasons: BTreeSet<String> = status.servers.iter().map(state).collect();
            format!(
                "  no server can take files ({})",
                Printable(Vec::from_iter(reasons).join(", "))
            )
        }
        _ => String::new(),
    }
}

/// A progress line. Dropping it clears the line.
pub(super) struct Bar(pub(super) ProgressBar);

impl Bar {
    /// `None` if standard error is not a terminal.
    pub(super) fn on_terminal(template: &str) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Some(Self(bar))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn progress_text(tally: &Tally, done: usize, total: usize, elapsed: Duration) -> String {
    let mut text = format!("accepted {}  delivered {}", tally.accepted, tally.delivered);
    if done > 0 && elapsed > Duration::ZERO {
        let left = elapsed.mul_f64(ratio((total - done) as u64, done as u64));
        let _ = write!(
            text,
            "  {:.0} files/s  ETA {}",
            per_second(done, elapsed),
            format_duration(whole_seconds(left))
        );
    }
    let servers = tally
        .by_server
        .iter()
        .take(4)
        .map(|(server, files)| format!("{} {files}", Printable(server)));
    let servers: Vec<_> = servers.collect();
    if !servers.is_empty() {
        let _ = write!(text, "  [{}]", servers.join(", "));
    }
    match &tally.waiting {
        _ if tally.reconnecting => text + "  reconnecting …",
        Some(reason) => text + "  waiting: " + &printable(reason),
        None => text,
    }
}
