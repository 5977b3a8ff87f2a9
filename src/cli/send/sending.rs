//! A transfer as commands run it, and why it ended early.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cli::output::{Exit, Failure};
use crate::cli::progress;
use crate::client::receipts::{Receipt, ReceiptFile};
use crate::client::{self, ClientError, Options, Source, Tally, Wait, transfer};
use crate::protocol::status::ServerReport;
use crate::transport::Connect;

/// Time limit of a status request.
const STATUS: Duration = Duration::from_secs(2);

/// Longest time between the end of a file and its receipt on disk.
const RECORD: Duration = Duration::from_millis(100);

/// A transfer with a progress line, a time limit, and an end by a signal.
pub(in crate::cli) struct Sending<'a> {
    pub(in crate::cli) balancer: &'a str,
    /// How connections to it are made.
    pub(in crate::cli) connector: Arc<dyn Connect>,
    pub(in crate::cli) options: Options,
    pub(in crate::cli) timeout: Option<Duration>,
}

/// How a transfer ended.
pub(in crate::cli) struct SendEnded {
    pub(in crate::cli) tally: Tally,
    pub(in crate::cli) elapsed: Duration,
    pub(in crate::cli) result: Result<Exit, Failure>,
}

impl Sending<'_> {
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
        let shown = progress::line(
            watched.clone(),
            self.options.wait,
            (&self.connector, self.balancer),
        );
        let result = tokio::select! {
            result = transfer(&self.connector, self.balancer, sources, &self.options, &tally) => {
                judge(result, &tally.borrow())
            }
            never = shown, if !quiet => match never {},
            never = self.record(watched, sources, receipts) => match never {},
            () = interrupted => Err(Failure::new(Exit::Interrupted, "interrupted")),
            () = sleep(self.timeout) => Err(self.timed_out(&tally.borrow()).await),
        };
        let tally = tally.borrow().clone();
        SendEnded {
            tally,
            elapsed: started.elapsed(),
            result,
        }
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

    /// Why files are missing when the time limit passed: no server, or not enough time.
    async fn timed_out(&self, tally: &Tally) -> Failure {
        let after = self.timeout.unwrap_or_default();
        let missing = if self.options.wait == Wait::Accepted {
            tally.unaccepted()
        } else {
            tally.undecided()
        };
        no_time_left(&self.connector, self.balancer, after, missing as u64).await
    }
}

/// Why files are missing when the time limit passed: no server, or not enough time.
pub(in crate::cli) async fn no_time_left(
    connector: &Arc<dyn Connect>,
    balancer: &str,
    after: Duration,
    missing: u64,
) -> Failure {
    let servers = client::status(connector, balancer, STATUS)
        .await
        .map(|status| status.servers);
    why_missing(servers.ok().as_deref(), after, missing)
}

/// `servers` is what the balancer reported; `None` if it did not answer.
fn why_missing(servers: Option<&[ServerReport]>, after: Duration, missing: u64) -> Failure {
    match servers {
        Some(servers) if !servers.iter().any(ServerReport::is_in_service) => {
            let error = format!(
                "no server is available: {missing} files are not delivered after {after:?}"
            );
            Failure::new(Exit::NoServer, error).hint("`bilico status` shows why")
        }
        _ => out_of_time(missing, after),
    }
}

pub(in crate::cli) fn out_of_time(missing: u64, after: Duration) -> Failure {
    Failure::new(
        Exit::TimedOut,
        format!("{missing} files are missing after {after:?}"),
    )
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
