//! `bilico queue`: where is a file, what waits, and what to do with dead letters.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{Local, TimeZone};
use clap::{Args, Subcommand};
use serde_json::json;

use super::journal_errors::journal_failure;
use super::output::{Exit, Failure, complain, say, say_json};
use super::send::BalancerArg;
use super::{adopt, show};
use crate::client;
use crate::protocol::query::{Answer, FileReport, MAX_LISTED, Place, Query};
use crate::queue::disk::RealDisk;
use crate::queue::recovery::{self, Recovered, Report, Torn};
use crate::text::Printable;
use crate::transport::Tcp;
use crate::units::{ByteSize, format_duration};

/// How long the balancer may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Ask where a file is and what waits, and deal with dead letters
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Trace one file: who sent it and when, each attempt to deliver it, and where it is or why it
    /// waits
    Show {
        /// Its request number
        number: u64,
        #[command(flatten)]
        talk: Talk,
    },
    /// List the files that wait, oldest first
    Ls {
        #[command(flatten)]
        list: List,
    },
    /// List the dead letters: files that no server can take, each with its reason
    Dead {
        #[command(flatten)]
        list: List,
    },
    /// Send a dead letter to the servers again, as if it were new
    Replay {
        /// Its request number
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        number: Option<u64>,
        /// All dead letters
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        talk: Talk,
    },
    /// Throw away for good a dead letter, or a file that waits or is with a server
    ///
    /// A server that turns out to have stored the file is told to remove it. A file that is with a
    /// server that cannot remove anything (an old-style one) is not dropped; the message says so.
    Drop {
        /// Its request number
        number: u64,
        #[command(flatten)]
        talk: Talk,
    },
    /// Read a journal and tell its state, without a balancer and without changing anything
    ///
    /// Exit code 0 if all that was ever accepted can be read, 6 if not, 1 if there is no journal.
    /// Beside a running balancer the last records may look torn.
    Check {
        /// The journal's directory
        #[arg(value_name = "DIR", default_value = "journal")]
        dir: PathBuf,
        /// Print a JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Let a journal that was copied, or restored from a backup, go on under a new identity
    ///
    /// For a journal that is older than what its servers have stored from it, or of which another
    /// copy was used: under the old identity it would give request numbers a second time, and
    /// servers would take new files for old ones. Everything in it stays accepted. Servers know it
    /// by a new identity from then on, and a million request numbers are left out. A waiting file
    /// that a server has already may be stored a second time. No balancer may use the journal
    /// meanwhile.
    ///
    /// Exit code 0 if it was adopted, 6 if it was and files are lost in it, or if it cannot be read
    /// or written, 1 if there is no journal or a balancer uses it.
    Adopt {
        /// The journal's directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Talk {
    #[command(flatten)]
    balancer: BalancerArg,
    /// Print JSON instead of text, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    /// How many files to list at the most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only files with a higher request number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    talk: Talk,
}

/// Asks, and shows the answer.
pub(super) async fn run(args: QueueArgs) -> Result<Exit, Failure> {
    match args.command {
        QueueCommand::Show { number, talk } => {
            let answer = ask(&talk, Query::Show { number }).await?;
            let Answer::File(file) = answer else {
                return Err(unexpected(&answer));
            };
            if talk.json {
                print_json(&file)?;
            } else {
                say(way(&file));
            }
            Ok(Exit::Done)
        }
        QueueCommand::Ls { list } => {
            list_files(list, |after, limit| Query::Waiting { after, limit }).await
        }
        QueueCommand::Dead { list } => {
            list_files(list, |after, limit| Query::Dead { after, limit }).await
        }
        QueueCommand::Replay {
            number,
            all: _,
            talk,
        } => order(&talk, Query::Replay { number }, "replayed").await,
        QueueCommand::Drop { number, talk } => {
            order(&talk, Query::Drop { number }, "thrown away").await
        }
        QueueCommand::Check { dir, json } => check(&dir, json),
        QueueCommand::Adopt { dir } => adopt::adopt(&dir),
    }
}

async fn ask(talk: &Talk, query: Query) -> Result<Answer, Failure> {
    match client::query(&Tcp, &talk.balancer.balancer, query, ANSWER).await? {
        Answer::Failed { reason } => Err(Failure::new(Exit::Failed, reason)),
        answer => Ok(answer),
    }
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the balancer's answer makes no sense: {answer:?}"),
    )
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Failed, error))?;
    say_json(text);
    Ok(())
}

async fn order(talk: &Talk, query: Query, what: &str) -> Result<Exit, Failure> {
    match ask(talk, query).await? {
        Answer::Done { files } if talk.json => say_json(json!({ "files": files })),
        Answer::Done { files: 1 } => say(format_args!("1 file {what}")),
        Answer::Done { files } => say(format_args!("{files} files {what}")),
        other => return Err(unexpected(&other)),
    }
    Ok(Exit::Done)
}

/// Lists page by page, up to the limit.
async fn list_files(list: List, query: impl Fn(u64, usize) -> Query) -> Result<Exit, Failure> {
    let (mut found, mut after) = (Vec::new(), list.after);
    let (total, total_bytes) = loop {
        let limit = list.limit.saturating_sub(found.len()).min(MAX_LISTED);
        let answer = ask(&list.talk, query(after, limit)).await?;
        let Answer::Files {
            files,
            total,
            total_bytes,
        } = answer
        else {
            return Err(unexpected(&answer));
        };
        let furthest = files.last().map(|file| file.number);
        found.extend(files);
        match furthest {
            Some(furthest) if found.len() < list.limit => after = furthest,
            _ => break (total, total_bytes),
        }
    };
    if list.talk.json {
        for file in &found {
            print_json(file)?;
        }
        return Ok(Exit::Done);
    }
    if !found.is_empty() {
        say(show::files(&found, now_ms()));
    }
    let more = total.saturating_sub(found.len());
    let rest = if more > 0 {
        format!(", {more} of them not listed (--limit, --after)")
    } else {
        String::new()
    };
    let files = if total == 1 { "file" } else { "files" };
    say(format_args!(
        "{total} {files}, {}{rest}",
        ByteSize(total_bytes)
    ));
    Ok(Exit::Done)
}

/// The way of a file, in lines.
fn way(file: &FileReport) -> String {
    let mut lines = vec![
        format!("file {}: {:?}", file.number, file.title),
        format!(
            "  {} bytes, crc32c {}{}",
            file.size,
            Printable(&file.crc32c),
            key(file)
        ),
        format!(
            "  {}  accepted from {}",
            time(file.accepted_ms),
            Printable(&file.from)
        ),
    ];
    for attempt in &file.history {
        let (server, reason) = (Printable(&attempt.server), Printable(&attempt.reason));
        lines.push(format!(
            "  {}  came back from {server}: {reason}",
            time(attempt.at_ms)
        ));
    }
    let more = (file.attempts as usize).saturating_sub(file.history.len());
    if more > 0 {
        lines.push(format!("  … and {more} times more"));
    }
    lines.push(format!("  {}", end(file)));
    lines.join("\n")
}

fn key(file: &FileReport) -> String {
    file.key
        .as_ref()
        .map_or_else(String::new, |key| format!(", key {key:?}"))
}

/// Where the file is, and why.
fn end(file: &FileReport) -> String {
    let (server, reason) = (
        file.server.as_deref().unwrap_or("?"),
        file.reason.as_deref().unwrap_or("?"),
    );
    let (server, reason) = (Printable(server), Printable(reason));
    let at = time(file.ended_ms.unwrap_or_default());
    let waits = format_duration(Duration::from_secs(
        now_ms().saturating_sub(file.accepted_ms) / 1000,
    ));
    match file.place {
        Place::Accepting => "being written to the journal: not accepted yet".to_owned(),
        Place::Waiting => format!("has waited for {waits}: {reason}"),
        Place::InFlight => format!("with {server}, which has not acknowledged it yet"),
        Place::Delivered if file.confirmed == Some(false) => {
            format!("{at}  given to {server}, which never acknowledges")
        }
        Place::Delivered => format!("{at}  stored by {server}"),
        Place::Dead => format!("{at}  dead letter: {reason}"),
        Place::Dropped => format!("{at}  thrown away; it was a dead letter: {reason}"),
    }
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Local.timestamp_millis_opt(ms).single());
    time.map_or_else(
        || "?".to_owned(),
        |time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    )
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a journal and tells its state.
fn check(dir: &std::path::Path, json: bool) -> Result<Exit, Failure> {
    if !dir.is_dir() {
        let failure = Failure::new(Exit::Failed, format!("{} is no directory", dir.display()));
        return Err(failure.hint("name the directory that the balancer was given with --journal"));
    }
    let disk = RealDisk::read_only(dir).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot open {}: {error}", dir.display()),
        )
    })?;
    let found = recovery::check(&disk)
        .map_err(|error| journal_failure(error, dir, "name the directory"))?;
    if found.report == Report::default() && !dir.join(recovery::IDENTITY).exists() {
        return Err(adopt::no_journal(dir));
    }
    if json {
        say_json(check_json(&found));
    } else {
        check_text(&found);
    }
    Ok(if found.report.is_sound() {
        Exit::Done
    } else {
        Exit::Journal
    })
}

fn check_json(found: &Recovered) -> serde_json::Value {
    let report = &found.report;
    let dead = found.dead();
    let damage = report.damage.iter().map(|damage| {
        json!({
            "file": damage.name, "what": damage.what, "offset": damage.offset, "bytes": damage.len,
            "aside": damage.aside, "known": damage.is_known,
        })
    });
    json!({
        "sound": report.is_sound(), "waiting": found.files.len() - dead, "dead": dead, "remembered": found.ended.len(),
        "next_number": found.next_number, "segments": report.segments, "bytes": report.bytes, "records": report.records,
        "torn_bytes": report.torn.as_ref().map_or(0, |torn| torn.len), "lost_records": report.lost_records, "lost_content": report.lost_content,
        "orphans": report.orphans, "damage": damage.collect::<Vec<_>>(),
    })
}

fn check_text(found: &Recovered) {
    let report = &found.report;
    let dead = found.dead();
    let (waiting, remembered) = (found.files.len() - dead, found.ended.len());
    let (segments, bytes, records) = (report.segments, ByteSize(report.bytes), report.records);
    say(format_args!(
        "segments: {segments}, {bytes}, with {records} records"
    ));
    say(format_args!(
        "files: {waiting} wait, {dead} are dead letters, {remembered} that ended are remembered"
    ));
    say(format_args!(
        "the next request number is {}",
        found.next_number
    ));
    if let Some(Torn {
        name, offset, len, ..
    }) = &report.torn
    {
        let cut = "the next start copies them to a file `torn-…` and cuts them off";
        say(format_args!(
            "{len} bytes at the end, from {offset} in {name}, were never synced: no receipt was given for them; {cut}"
        ));
    }
    if report.orphans > 0 {
        say(format_args!(
            "content that belongs to no file: {} files",
            report.orphans
        ));
    }
    complain_of(report);
    say(if report.is_sound() {
        "sound"
    } else {
        "not sound"
    });
}

/// Tells of what is damaged or lost.
pub(super) fn complain_of(report: &Report) {
    for damage in &report.damage {
        let (name, what, offset, len) = (
            Printable(&damage.name),
            Printable(&damage.what),
            damage.offset,
            damage.len,
        );
        let aside = damage.aside.as_ref().filter(|_| damage.is_known);
        let aside = aside.map_or_else(String::new, |aside| {
            format!("; a copy is in {}", Printable(aside))
        });
        complain(
            &format!("{name}: damaged: {what}: {len} bytes at {offset}{aside}"),
            None,
        );
    }
    if report.lost_records > 0 {
        complain(
            &format!(
                "records are missing: {}. Files may be lost, or come twice",
                report.lost_records
            ),
            None,
        );
    }
    for number in &report.lost_content {
        complain(&format!("file {number}: its content is missing"), None);
    }
}
