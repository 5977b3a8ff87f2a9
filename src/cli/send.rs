//! `bilico send`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::balancer::positive;
use super::{BALANCER, Exit, Failure, address, complain, say, show};
use crate::client::{self, ClientError, Fate, Form, Options, Source, Tally, Wait, transfer};
use crate::shutdown;
use crate::transport::Tcp;

/// How long a status may take that only adds to what is shown.
const STATUS: Duration = Duration::from_secs(2);

/// Which balancer to talk to.
#[derive(Debug, Clone, Args)]
pub(super) struct BalancerArg {
    /// The balancer
    #[arg(long, value_name = "ADDR", default_value = BALANCER, value_parser = address, env = "BILICO_BALANCER")]
    pub(super) balancer: String,
}

/// Send files from scripts: any file, byte for byte
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
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
    #[arg(long, value_enum, default_value = "delivered")]
    wait: Wait,
    /// How long to wait at the most; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = positive)]
    timeout: Option<Duration>,
    /// Print a JSON object a line for each file instead of a summary
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Sends the files and waits for what was asked.
pub(super) async fn run(args: SendArgs) -> Result<Exit, Failure> {
    let form = if args.json_payload { Form::Payload } else { Form::Raw };
    let mut sources = Vec::new();
    for path in &args.paths {
        find(path, form, args.recursive, &mut sources)?;
    }
    let sent = Sending { balancer: &args.balancer.balancer, wait: args.wait, timeout: args.timeout };
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let Ended { tally, elapsed, result } = sent.run(&sources, args.quiet, stop.cancelled()).await;

    let name = |file: usize| sources.get(file).map_or_else(String::new, |source| source.path.display().to_string());
    if args.json {
        for (file, fate) in tally.fates.iter().enumerate() {
            say(line(&name(file), tally.sizes.get(file).copied().unwrap_or(0), fate));
        }
    } else if !args.quiet && (tally.accepted > 0 || result.is_ok()) {
        let status = client::status(&Tcp, &args.balancer.balancer, STATUS).await.ok();
        say(show::summary(&tally, elapsed, status.as_ref()));
    }
    for failure in show::failures(&tally, name) {
        complain(&failure, None);
    }
    result
}

/// What one file's line says with `--json`.
fn line(path: &str, bytes: u64, fate: &Fate) -> serde_json::Value {
    match fate {
        Fate::Pending => json!({"path": path, "bytes": bytes, "state": "unknown"}),
        Fate::Accepted { number } => {
            json!({"path": path, "bytes": bytes, "state": "accepted", "request_number": number})
        }
        Fate::Delivered { number, server, confirmed } => json!({
            "path": path, "bytes": bytes, "state": "delivered", "request_number": number, "server": server,
            "confirmed": confirmed,
        }),
        Fate::Refused { reason } => json!({"path": path, "bytes": bytes, "state": "refused", "reason": reason}),
        Fate::Unreadable { reason } => json!({"path": path, "bytes": bytes, "state": "unreadable", "reason": reason}),
    }
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
                let title = entry.path().strip_prefix(path).unwrap_or(&entry.path()).to_string_lossy().into_owned();
                found.push(Source { path: entry.path(), title, form });
            }
        }
    }
    Ok(())
}

/// A transfer as a command runs it: with progress, a limit of time, and an end by a signal.
pub(super) struct Sending<'a> {
    pub(super) balancer: &'a str,
    pub(super) wait: Wait,
    pub(super) timeout: Option<Duration>,
}

/// How a transfer ended.
pub(super) struct Ended {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
    pub(super) result: Result<Exit, Failure>,
}

impl Sending<'_> {
    /// Sends the files, until all is done, the time is up, or `interrupted`.
    pub(super) async fn run(&self, sources: &[Source], quiet: bool, interrupted: impl Future<Output = ()>) -> Ended {
        let started = Instant::now();
        let (tally, watched) = watch::channel(Tally::new(sources.len()));
        let result = tokio::select! {
            result = transfer(&Tcp, self.balancer, sources, Options { wait: self.wait }, &tally) => {
                judge(result, &tally.borrow())
            }
            never = show::progress(watched, self.wait, self.balancer), if !quiet => match never {},
            () = interrupted => Err(Failure::new(Exit::Interrupted, "interrupted")),
            () = sleep(self.timeout) => Err(self.timed_out(&tally.borrow()).await),
        };
        Ended { tally: tally.borrow().clone(), elapsed: started.elapsed(), result }
    }

    /// Says what was missing when the time was up: a server, or only time.
    async fn timed_out(&self, tally: &Tally) -> Failure {
        let after = self.timeout.unwrap_or_default();
        let missing = if self.wait == Wait::Accepted { tally.unaccepted() } else { tally.undecided() };
        match client::status(&Tcp, self.balancer, STATUS).await {
            Ok(status) if status.servers.iter().all(|server| !server.eligible) => {
                let error = format!("no server is available: {missing} files are not delivered after {after:?}");
                Failure::new(Exit::NoServer, error).hint("`status` at the prompt of `bilico client` tells why")
            }
            _ => Failure::new(Exit::TimedOut, format!("{missing} files are missing after {after:?}")),
        }
    }
}

fn judge(result: Result<(), ClientError>, tally: &Tally) -> Result<Exit, Failure> {
    result?;
    Ok(if tally.refused + tally.unreadable > 0 { Exit::Failed } else { Exit::Done })
}

async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
