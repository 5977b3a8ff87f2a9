//! A transfer as commands run it, and why it ended early.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::unfinished::{Place, Unfinished};
use crate::cli::output::{Exit, Failure};
use crate::cli::progress;
use crate::client::receipts::{Receipt, ReceiptFile};
use crate::client::{self, ClientError, Options, Source, Tally, Way, transfer};
use crate::protocol::status::ServerReport;
use crate::units::format_duration;

/// Time limit of a status request.
const STATUS: Duration = Duration::from_secs(2);

/// Longest time between the end of a file and its receipt on disk.
const RECORD: Duration = Duration::from_millis(100);

/// A transfer with a progress line, a time limit, and an end by a signal.
pub(in crate::cli) struct Sending {
    pub(in crate::cli) way: Way,
    pub(in crate::cli) options: Options,
    pub(in crate::cli) timeout: Option<Duration>,
    /// Where the command was typed.
    pub(in crate::cli) place: Place,
}

/// How a transfer ended.
pub(in crate::cli) struct SendEnded {
    pub(in crate::cli) tally: Tally,
    pub(in crate::cli) elapsed: Duration,
    pub(in crate::cli) result: Result<Exit, Failure>,
    /// What did not get as far as was waited for.
    pub(in crate::cli) unfinished: Unfinished,
}

impl SendEnded {
    /// Whether there is anything to sum up.
    pub(in crate::cli) fn has_sums(&self) -> bool {
        self.result.is_ok() || self.tally.accepted > 0 || self.tally.unsure() > 0
    }

    /// Adds to the error of a transfer that ended early how many files it left behind, for whoever
    /// sees no summary.
    pub(in crate::cli) fn explain(&mut self) {
        let text = self.unfinished.text("not delivered", "");
        if let Err(failure) = &mut self.result
            && !text.is_empty()
            && !failure.error.contains(&text)
        {
            failure.error = format!("{}: {text}", failure.error);
        }
    }
}

impl Sending {
    /// Sends the files until all are done, the time limit passes, or `interrupted` completes. The
    /// last receipts may not be on disk yet: the caller calls [`ReceiptFile::finish`].
    pub(in crate::cli) async fn run(
        &self,
        sources: &[Source],
        quiet: bool,
        receipts: Option<&mut ReceiptFile>,
        interrupted: impl Future<Output = ()>,
    ) -> SendEnded {
        let started = Instant::now();
        let (tally, watched) = watch::channel(Tally::new(sources.len()));
        let shown = progress::line(watched.clone(), self.options.wait, &self.way);
        let result = tokio::select! {
            result = transfer(&self.way, sources, &self.options, &tally) => {
                judge(result, &tally.borrow())
            }
            never = shown, if !quiet => match never {},
            never = self.record(watched, sources, receipts) => match never {},
            () = interrupted => Err(Failure::new(Exit::Interrupted, "interrupted")),
            () = sleep(self.timeout) => Err(self.timed_out(&tally.borrow()).await),
        };
        let tally = tally.borrow().clone();
        let unfinished = self.unfinished(&tally);
        let result = result.map_err(|failure| match failure.hint {
            Some(_) => failure,
            None => Failure {
                hint: unfinished.hint(self.place),
                ..failure
            },
        });
        SendEnded {
            tally,
            elapsed: started.elapsed(),
            result,
            unfinished,
        }
    }

    fn unfinished(&self, tally: &Tally) -> Unfinished {
        let is_repeatable = self.options.keys.are_durable();
        Unfinished::of(tally, self.options.wait, is_repeatable)
    }

    /// Writes receipts as states become final. A failed write is tried again, at last by the
    /// caller.
    async fn record(
        &self,
        mut tally: watch::Receiver<Tally>,
        sources: &[Source],
        receipts: Option<&mut ReceiptFile>,
    ) -> Infallible {
        let Some(receipts) = receipts else {
            return std::future::pending().await;
        };
        loop {
            {
                let tally = tally.borrow_and_update();
                let _ = receipts.tell(&tally, |file| self.receipt(sources, &tally, file));
            }
            tokio::time::sleep(RECORD).await;
        }
    }

    pub(in crate::cli) fn receipt(
        &self,
        sources: &[Source],
        tally: &Tally,
        file: usize,
    ) -> Option<Receipt> {
        Some(Receipt::of(
            file,
            sources.get(file)?,
            &self.options.keys,
            tally,
        ))
    }

    /// How far files got when the time limit passed, and why: no server, or not enough time.
    async fn timed_out(&self, tally: &Tally) -> Failure {
        let after = format!(
            " after {}",
            format_duration(self.timeout.unwrap_or_default())
        );
        let text = self.unfinished(tally).text("not delivered", &after);
        no_time_left(&self.way, text, self.place).await
    }
}

/// The failure of a command whose time limit passed: no server, or not enough time. `text` says what
/// is not finished.
pub(in crate::cli) async fn no_time_left(way: &Way, text: String, place: Place) -> Failure {
    let servers = client::status(way, STATUS)
        .await
        .map(|status| status.servers);
    why_unfinished(servers.ok().as_deref(), text, place)
}

/// `servers` is what the balancer reported; `None` if it did not answer.
fn why_unfinished(servers: Option<&[ServerReport]>, text: String, place: Place) -> Failure {
    match servers {
        Some(servers) if !servers.iter().any(ServerReport::is_in_service) => {
            let hint = match place {
                Place::Shell => "`bilico status` shows why",
                Place::Prompt => "`status` shows why",
            };
            Failure::new(Exit::NoServer, format!("no server is available: {text}")).hint(hint)
        }
        _ => Failure::new(Exit::TimedOut, text),
    }
}

fn judge(result: Result<(), ClientError>, tally: &Tally) -> Result<Exit, Failure> {
    result?;
    Ok(if tally.failed() > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// Sleeps until the limit; forever without one.
pub(in crate::cli) async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
