//! `bilico send`.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::balancer::positive;
use super::settings::words::{self, one_of};
use super::{BALANCER, Exit, Failure, address, complain, say, say_json, show, warn};
use crate::client::receipts::{Receipt, ReceiptError, ReceiptFile};
use crate::client::{
    self, Changed, ClientError, Form, Keys, Options, Source, Tally, Wait, transfer,
};
use crate::protocol::status::ServerReport;
use crate::shutdown;
use crate::text::printable_path;
use crate::transport::Tcp;
use crate::units::parse_duration;

/// How long a status may take that only adds to what is shown.
const STATUS: Duration = Duration::from_secs(2);

/// The longest time between a final fate and its receipt on disk.
const RECORD: Duration = Duration::from_millis(100);

/// Which balancer to talk to.
#[derive(Debug, Clone, Args)]
pub(super) struct BalancerArg {
    /// The balancer
    #[arg(long, value_name = "ADDR", default_value = BALANCER, value_parser = address, env = "BILICO_BALANCER")]
    pub(super) balancer: String,
}

/// What to do when the connection is lost.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct RetryArg {
    /// When the connection to the balancer is lost, how long to try for another one; then the files
    /// without a receipt are sent again, and none is stored twice. With 0 a lost connection is an
    /// error at once, as a first connection that cannot be made always is
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration, env = "BILICO_RETRY")]
    pub(super) retry: Duration,
}

/// What to do with a file that changes.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ChangedArg {
    /// What to do with a file that is written to, cut, or replaced while it is read: fail gives it
    /// up at once; retry reads it again, up to 5 times within some 3 s, and then gives it up; send
    /// sends what was read, and says so. What is given up is not sent at all, and the exit code is
    /// 1
    #[arg(
        long,
        value_parser = one_of(words::CHANGED),
        value_name = "WHAT",
        default_value = "retry",
        env = "BILICO_CHANGED",
        hide_possible_values = true
    )]
    pub(super) changed: Changed,
}

/// Send files from scripts: any file, byte for byte
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[command(after_help = "Exit code 0 only if every file reached what was waited for.")]
pub(super) struct SendArgs {
    /// The files to send, and with -r directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    balancer: BalancerArg,
    /// Send all files in directories, and in those below
    #[arg(short, long)]
    recursive: bool,
    /// The files are JSON payloads: send the title and the content in them
    #[arg(long)]
    json_payload: bool,
    /// What to wait for
    #[arg(long, value_parser = one_of(words::WAIT), default_value = "delivered", env = "BILICO_WAIT")]
    wait: Wait,
    /// How long to wait at the most; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = positive, env = "BILICO_TIMEOUT")]
    timeout: Option<Duration>,
    #[command(flatten)]
    retry: RetryArg,
    #[command(flatten)]
    changed: ChangedArg,
    /// Give each file the key P followed by its title, so that the same command, run again, sends
    /// nothing twice and goes on with large files where it was interrupted. P has 1 to 128 bytes;
    /// the titles must differ. Without it, each run has keys of its own, and files sent again are
    /// stored again
    #[arg(long, value_name = "P", env = "BILICO_KEY_PREFIX")]
    key_prefix: Option<String>,
    /// Append a JSON line for each file to FILE as soon as its fate is final, and at the end for
    /// those whose is not, for `bilico verify`. FILE is new, empty, or has receipts already;
    /// anything else is left as it is, and the command ends with exit code 2 before anything is
    /// sent
    #[arg(long, value_name = "FILE", env = "BILICO_RECEIPTS")]
    receipts: Option<PathBuf>,
    /// Print a JSON object a line for each file instead of a summary
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Sends the files and waits for what was asked.
pub(super) async fn run(args: SendArgs) -> Result<Exit, Failure> {
    let form = if args.json_payload {
        Form::Payload
    } else {
        Form::Raw
    };
    let mut sources = Vec::new();
    for path in &args.paths {
        find(path, form, args.recursive, &mut sources)?;
    }
    let keys = args.keys(&sources)?;
    let cannot = |error: ReceiptError| {
        let exit = if matches!(error, ReceiptError::Foreign { .. }) {
            Exit::Usage
        } else {
            Exit::Failed
        };
        Failure::new(exit, error)
    };
    let mut receipts = args
        .receipts
        .as_deref()
        .map(ReceiptFile::open)
        .transpose()
        .map_err(cannot)?;
    let sent = Sending {
        balancer: &args.balancer.balancer,
        options: Options {
            wait: args.wait,
            keys,
            retry: args.retry.retry,
            changed: args.changed.changed,
        },
        timeout: args.timeout,
    };
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let SendEnded {
        tally,
        elapsed,
        result,
    } = sent
        .run(&sources, args.quiet, receipts.as_mut(), stop.cancelled())
        .await;
    let written = match &mut receipts {
        Some(receipts) => receipts
            .finish(&tally, |file| sent.receipt(&sources, &tally, file))
            .map_err(cannot),
        None => Ok(()),
    };
    let name = |file: usize| {
        sources
            .get(file)
            .map_or_else(String::new, |source| printable_path(&source.path))
    };
    if args.json {
        (0..sources.len())
            .filter_map(|file| sent.receipt(&sources, &tally, file))
            .for_each(|receipt| say_json(line(receipt)));
    } else if !args.quiet && (tally.accepted > 0 || result.is_ok()) {
        let status = client::status(&Tcp, &args.balancer.balancer, STATUS)
            .await
            .ok();
        say(show::summary(&tally, elapsed, status.as_ref()));
    }
    for warning in show::warnings(&tally, name) {
        warn(&warning);
    }
    for failure in show::failures(&tally, name) {
        complain(&failure, None);
    }
    match written {
        Ok(()) => result,
        Err(failure) if result.is_ok() => Err(failure),
        Err(failure) => {
            complain(&failure.error, None);
            result
        }
    }
}

impl SendArgs {
    /// The keys of the files; two files with one key are a mistake.
    fn keys(&self, sources: &[Source]) -> Result<Keys, Failure> {
        let keys = self
            .key_prefix
            .as_deref()
            .map_or_else(|| Ok(Keys::default()), Keys::titled);
        let checked = keys.and_then(|keys| keys.check(sources).map(|()| keys));
        checked.map_err(|error| Failure::new(Exit::Usage, error))
    }
}

/// What one file's line says with `--json`.
fn line(receipt: Receipt) -> serde_json::Value {
    let mut line = json!({
        "path": receipt.path, "title": receipt.title, "key": receipt.key, "bytes": receipt.size.unwrap_or(0),
        "state": receipt.state,
    });
    let known = [
        (
            "hash",
            receipt.hash.map(|hash| json!(hash.to_hex().as_str())),
        ),
        ("request_number", receipt.number.map(|number| json!(number))),
        ("server", receipt.server.map(|server| json!(server))),
        (
            "confirmed",
            receipt.confirmed.map(|confirmed| json!(confirmed)),
        ),
        ("reason", receipt.reason.map(|reason| json!(reason))),
        ("change", receipt.change.map(|change| json!(change))),
    ];
    if let Some(fields) = line.as_object_mut() {
        fields.extend(
            known
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
    }
    line
}

/// Adds the files that `path` stands for. Those in a directory are titled by their way below it.
fn find(path: &Path, form: Form, recursive: bool, found: &mut Vec<Source>) -> Result<(), Failure> {
    // What is missing or cannot be looked at is told when its turn comes, and holds up no other.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        found.push(Source::named(path, form));
        return Ok(());
    }
    if !recursive {
        let failure = Failure::new(Exit::Usage, format!("{} is a directory", path.display()));
        return Err(failure.hint("pass -r to send the files in it"));
    }
    let mut waiting = vec![path.to_owned()];
    while let Some(dir) = waiting.pop() {
        let cannot = |error| Failure::new(Exit::Failed, format!("{}: {error}", dir.display()));
        let entries: Result<Vec<_>, _> = fs::read_dir(&dir).map_err(cannot)?.collect();
        let mut entries = entries.map_err(cannot)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            // Links are not followed: they may lead in a circle, or out of the directory.
            let kind = entry.file_type().map_err(cannot)?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let title = entry
                    .path()
                    .strip_prefix(path)
                    .unwrap_or(&entry.path())
                    .to_string_lossy()
                    .into_owned();
                found.push(Source {
                    path: entry.path(),
                    title,
                    form,
                });
            }
        }
    }
    Ok(())
}

/// A transfer as a command runs it: with progress, a limit of time, and an end by a signal.
pub(super) struct Sending<'a> {
    pub(super) balancer: &'a str,
    pub(super) options: Options,
    pub(super) timeout: Option<Duration>,
}

/// How a transfer ended.
pub(super) struct SendEnded {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
    pub(super) result: Result<Exit, Failure>,
}

impl Sending<'_> {
    /// Sends the files, until all is done, the time is up, or `interrupted`. Fates that are final
    /// by then are in the file of receipts, but for those of the last moment.
    pub(super) async fn run(
        &self,
        sources: &[Source],
        quiet: bool,
        receipts: Option<&mut ReceiptFile>,
        interrupted: impl Future<Output = ()>,
    ) -> SendEnded {
        let started = Instant::now();
        let (tally, watched) = watch::channel(Tally::new(sources.len()));
        let result = tokio::select! {
            result = transfer(&Tcp, self.balancer, sources, &self.options, &tally) => judge(result, &tally.borrow()),
            never = show::progress(watched.clone(), self.options.wait, self.balancer), if !quiet => match never {},
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

    /// Writes receipts as fates become final. What cannot be written now is tried again, at last by
    /// the caller.
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

    fn receipt(&self, sources: &[Source], tally: &Tally, file: usize) -> Option<Receipt> {
        Some(Receipt::of(
            file,
            sources.get(file)?,
            &self.options.keys,
            tally,
        ))
    }

    /// Says what was missing when the time was up: a server, or only time.
    async fn timed_out(&self, tally: &Tally) -> Failure {
        let after = self.timeout.unwrap_or_default();
        let missing = if self.options.wait == Wait::Accepted {
            tally.unaccepted()
        } else {
            tally.undecided()
        };
        no_time_left(self.balancer, after, missing as u64).await
    }
}

/// Says why files are missing when the time is up: for want of a server, or only of time.
pub(super) async fn no_time_left(balancer: &str, after: Duration, missing: u64) -> Failure {
    match client::status(&Tcp, balancer, STATUS).await {
        Ok(status) if !status.servers.iter().any(takes_files) => {
            let error = format!(
                "no server is available: {missing} files are not delivered after {after:?}"
            );
            Failure::new(Exit::NoServer, error)
                .hint("`status` at the prompt of `bilico client` tells why")
        }
        _ => out_of_time(missing, after),
    }
}

/// Says how much is missing when the time is up.
pub(super) fn out_of_time(missing: u64, after: Duration) -> Failure {
    Failure::new(
        Exit::TimedOut,
        format!("{missing} files are missing after {after:?}"),
    )
}

/// Whether a server takes files, if not at this moment: one that has as many as it may have under
/// way takes the next soon.
fn takes_files(server: &ServerReport) -> bool {
    server.eligible
        || server
            .reason
            .as_deref()
            .is_some_and(|reason| reason.starts_with("window:"))
}

fn judge(result: Result<(), ClientError>, tally: &Tally) -> Result<Exit, Failure> {
    result?;
    Ok(if tally.failed() > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// Until the limit, if there is one.
pub(super) async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
