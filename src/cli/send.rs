//! `bilico send`.

mod sending;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::output::{Exit, Failure, complain, say, say_json, warn};
use super::secrets::TokenArg;
use super::settings::values::{BALANCER, address, positive};
use super::settings::words::{self, one_of};
use super::show;
use super::tls::CaArg;
use crate::client::receipts::{Receipt, ReceiptError, ReceiptFile};
use crate::client::{self, Changed, Form, Keys, Options, Source, Wait, Way};
use crate::shutdown;
use crate::text::printable_path;
use crate::units::parse_duration;
pub(super) use sending::{SendEnded, Sending, no_time_left, out_of_time, sleep};

/// Time limit of a status request whose answer is optional.
const STATUS: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Args)]
pub(super) struct BalancerArg {
    /// Address of the balancer
    #[arg(
        long,
        value_name = "ADDR",
        default_value = BALANCER,
        value_parser = address,
        env = "BILICO_BALANCER"
    )]
    pub(super) balancer: String,
    #[command(flatten)]
    pub(super) token: TokenArg,
    #[command(flatten)]
    pub(super) ca: CaArg,
}

impl BalancerArg {
    /// The way there, with the token that there is for it.
    pub(super) fn way(&self) -> Result<Way, Failure> {
        Ok(Way {
            token: self.token.find(&self.balancer)?,
            ..self.way_without_token()?
        })
    }

    /// The way there for somebody who shows no token, or something else.
    pub(super) fn way_without_token(&self) -> Result<Way, Failure> {
        Ok(Way {
            connector: self.ca.connector()?,
            ..Way::plain(&*self.balancer)
        })
    }
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct RetryArg {
    /// How long to try to reconnect after the connection to the balancer was lost; then files
    /// without a receipt are sent again, and none is stored twice. With 0, a lost connection is an
    /// error at once. If the first connection fails, that is always an error
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1m",
        value_parser = parse_duration,
        env = "BILICO_RETRY"
    )]
    pub(super) retry: Duration,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ChangedArg {
    /// What to do with a file that is written to, truncated or replaced while it is read: fail
    /// gives up at once; retry reads it again, up to 5 times within some 3 s, and then gives up;
    /// send sends the content that was read, with a warning. A file that is given up is not sent,
    /// and the exit code is 1
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
    /// The files to send, and, with -r, directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    balancer: BalancerArg,
    /// Send all files in directories and their subdirectories
    #[arg(short, long)]
    recursive: bool,
    /// The files are JSON payloads: send their title and content fields
    #[arg(long)]
    json_payload: bool,
    /// Which receipt to wait for
    #[arg(
        long,
        value_parser = one_of(words::WAIT),
        default_value = "delivered",
        env = "BILICO_WAIT"
    )]
    wait: Wait,
    /// Longest time to wait; without it, there is no limit
    #[arg(long, value_name = "TIME", value_parser = positive, env = "BILICO_TIMEOUT")]
    timeout: Option<Duration>,
    #[command(flatten)]
    retry: RetryArg,
    #[command(flatten)]
    changed: ChangedArg,
    /// Give each file the key P followed by its title. Then the same command, run again, stores
    /// nothing twice and resumes large files where it was interrupted. P has 1 to 128 bytes; the
    /// titles must differ. Without it, each run has its own keys, and files that are sent again are
    /// stored again
    #[arg(long, value_name = "P", env = "BILICO_KEY_PREFIX")]
    key_prefix: Option<String>,
    /// Append a JSON line for each file to FILE, for `bilico verify`: as soon as the file's state
    /// is final, and at the end for files whose state is not. FILE must be new, empty, or a file of
    /// receipts; otherwise nothing is sent or written, and the exit code is 2
    #[arg(long, value_name = "FILE", env = "BILICO_RECEIPTS")]
    receipts: Option<PathBuf>,
    /// Print one JSON object per line and file instead of a summary
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Sends the files and waits for the receipts that were asked for.
pub(super) async fn run(args: SendArgs) -> Result<Exit, Failure> {
    let sources = args.sources()?;
    let keys = args.keys(&sources)?;
    let mut receipts = args
        .receipts
        .as_deref()
        .map(ReceiptFile::open)
        .transpose()
        .map_err(cannot_record)?;
    let sending = Sending {
        way: args.balancer.way()?,
        options: Options {
            wait: args.wait,
            keys,
            retry: args.retry.retry,
            changed: args.changed.changed,
            hashed: args.receipts.is_some() || args.json,
        },
        timeout: args.timeout,
    };
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let ended = sending
        .run(&sources, args.quiet, receipts.as_mut(), stop.cancelled())
        .await;
    let written = match &mut receipts {
        Some(receipts) => receipts
            .finish(&ended.tally, |file| {
                sending.receipt(&sources, &ended.tally, file)
            })
            .map_err(cannot_record),
        None => Ok(()),
    };
    args.print(&sending, &sources, &ended).await;
    match written {
        Ok(()) => ended.result,
        Err(failure) if ended.result.is_ok() => Err(failure),
        Err(failure) => {
            complain(&failure.error, None);
            ended.result
        }
    }
}

fn cannot_record(error: ReceiptError) -> Failure {
    let exit = if matches!(error, ReceiptError::Foreign { .. }) {
        Exit::Usage
    } else {
        Exit::Failed
    };
    Failure::new(exit, error)
}

impl SendArgs {
    fn sources(&self) -> Result<Vec<Source>, Failure> {
        let form = if self.json_payload {
            Form::Payload
        } else {
            Form::Raw
        };
        let mut sources = Vec::new();
        for path in &self.paths {
            find(path, form, self.recursive, &mut sources)?;
        }
        Ok(sources)
    }

    /// Prints a line for each file or a summary, then warnings and failures.
    async fn print(&self, sending: &Sending, sources: &[Source], ended: &SendEnded) {
        let tally = &ended.tally;
        let name = |file: usize| {
            sources
                .get(file)
                .map_or_else(String::new, |source| printable_path(&source.path))
        };
        if self.json {
            (0..sources.len())
                .filter_map(|file| sending.receipt(sources, tally, file))
                .for_each(|receipt| say_json(line(receipt)));
        } else if !self.quiet && (tally.accepted > 0 || ended.result.is_ok()) {
            let status = client::status(&sending.way, STATUS).await.ok();
            say(show::summary(tally, ended.elapsed, status.as_ref()));
        }
        for warning in show::warnings(tally, name) {
            warn(&warning);
        }
        for failure in show::failures(tally, name) {
            complain(&failure, None);
        }
    }

    /// The keys of the files; an error if two files have the same key.
    fn keys(&self, sources: &[Source]) -> Result<Keys, Failure> {
        let keys = self
            .key_prefix
            .as_deref()
            .map_or_else(|| Ok(Keys::default()), Keys::titled);
        let checked = keys.and_then(|keys| keys.check(sources).map(|()| keys));
        checked.map_err(|error| Failure::new(Exit::Usage, error))
    }
}

/// The line of one file with `--json`.
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

/// Adds the files that `path` names. The title of a file in a directory is its path below it.
fn find(path: &Path, form: Form, recursive: bool, found: &mut Vec<Source>) -> Result<(), Failure> {
    // A missing or unreadable file is reported when its turn comes, so that it does not delay
    // others.
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
            // Links are not followed: they may form a cycle or lead out of the directory.
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
