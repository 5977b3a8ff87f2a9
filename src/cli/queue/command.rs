//! The subcommands of `bilico queue`. Those about files ask a running balancer by its admin API;
//! `check` and `adopt` read a journal's directory and need no balancer.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{adopt, check, trace};
use crate::admin::types::{Count, FileList};
use crate::balancer::query::{FileReport, MAX_LISTED};
use crate::cli::api::{AdminArg, Api};
use crate::cli::output::{Exit, Failure, say, say_json};
use crate::cli::show;
use crate::units::ByteSize;

/// Ask where a file is and what waits, and deal with dead letters
#[derive(Debug, Args)]
pub(in crate::cli) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Trace one file: who sent it and when, each attempt to deliver it, and where it is or why it
    /// waits
    Show {
        /// The file's request number
        number: u64,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// List the files that wait, oldest first
    Ls {
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the dead letters: files that no server can take, each with its reason
    Dead {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Send a dead letter to the servers again, as if it were new
    Replay {
        /// The dead letter's request number
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        number: Option<u64>,
        /// All dead letters
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Throw away for good a dead letter, or a file that waits or is with a server
    ///
    /// A server that turns out to have stored the file is told to remove it. A file that is with a
    /// server that cannot remove anything (an old-style one) is not dropped; the message says so.
    Drop {
        /// The file's request number
        number: u64,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Read a journal and tell its state, without a balancer and without changing anything
    ///
    /// Exit code 0 if all that was ever accepted can be read, 6 if not, 1 if the directory has no
    /// journal. Beside a running balancer the last records may look torn.
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
    /// servers would take new files for old ones. All files in it stay accepted. Servers know the
    /// journal by a new identity from then on, and a million request numbers are left out. A
    /// waiting file that a server has already may be stored a second time. No balancer may use the
    /// journal meanwhile.
    ///
    /// Exit code 0 if it was adopted, 6 if it was and files are lost in it, or if it cannot be read
    /// or written, 1 if the directory has no journal or a balancer uses it.
    Adopt {
        /// The journal's directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct AskArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Refused with the remedy. Ignoring it would carry an order out on another balancer.
    #[arg(long, hide = true, value_name = "ADDR", value_parser = not_the_clients_port)]
    balancer: Option<String>,
    /// Print JSON instead of text, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The most files to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only files with a higher request number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    ask: AskArgs,
}

/// The clients' port, which questions and orders went to once.
fn not_the_clients_port(_: &str) -> Result<String, String> {
    let error = "the clients' port takes no questions and orders about files; \
                 pass the address of the balancer's admin listener as --admin";
    Err(error.to_owned())
}

/// Carries out one subcommand.
pub(in crate::cli) fn run(args: QueueArgs) -> Result<Exit, Failure> {
    match args.command {
        QueueCommand::Show { number, ask } => show_file(number, &ask),
        QueueCommand::Ls { list } => list_files(&list, "queue", "list the files that wait"),
        QueueCommand::Dead { list } => list_files(&list, "dead", "list the dead letters"),
        QueueCommand::Replay {
            number,
            all: _,
            ask,
        } => replay(number, &ask),
        QueueCommand::Drop { number, ask } => drop_file(number, &ask),
        QueueCommand::Check { dir, json } => check::check(&dir, json),
        QueueCommand::Adopt { dir } => adopt::adopt(&dir),
    }
}

fn show_file(number: u64, ask: &AskArgs) -> Result<Exit, Failure> {
    let file: FileReport = Api::new(&ask.admin)?
        .to(format!("show file {number}"))
        .get(&format!("files/{number}"))?;
    if ask.json {
        print_json(&file)?;
    } else {
        say(trace::trace(&file, now_ms()));
    }
    Ok(Exit::Done)
}

fn replay(number: Option<u64>, ask: &AskArgs) -> Result<Exit, Failure> {
    let (path, purpose) = match number {
        Some(number) => (
            format!("dead/{number}/replay"),
            format!("replay file {number}"),
        ),
        None => (
            "dead/replay".to_owned(),
            "replay all dead letters".to_owned(),
        ),
    };
    let api = Api::new(&ask.admin)?.to(purpose);
    told(ask, api.order("POST", &path, None::<&()>)?, "replayed")
}

fn drop_file(number: u64, ask: &AskArgs) -> Result<Exit, Failure> {
    let api = Api::new(&ask.admin)?.to(format!("drop file {number}"));
    // The route takes every file that is not delivered, not only dead letters.
    let path = format!("dead/{number}");
    let count = api.order("DELETE", &path, None::<&()>)?;
    told(ask, count, "thrown away")
}

/// Says how many files an order was carried out on.
fn told(ask: &AskArgs, count: Count, done: &str) -> Result<Exit, Failure> {
    if ask.json {
        print_json(&count)?;
    } else if count.files == 1 {
        say(format_args!("1 file {done}"));
    } else {
        say(format_args!("{} files {done}", count.files));
    }
    Ok(Exit::Done)
}

/// Lists files, page by page, up to the limit.
fn list_files(list: &ListArgs, route: &str, purpose: impl Display) -> Result<Exit, Failure> {
    let api = Api::new(&list.ask.admin)?.to(purpose);
    let mut listed: Vec<FileReport> = Vec::new();
    let mut after = list.after;
    let last_page = loop {
        let wanted = list.limit.saturating_sub(listed.len());
        // The API lists at least one file; `--limit 0` shows only how many there are.
        let limit = wanted.clamp(1, MAX_LISTED);
        let mut page: FileList = api.get(&format!("{route}?after={after}&limit={limit}"))?;
        let furthest = page.files.last().map(|file| file.number);
        listed.extend(page.files.drain(..).take(wanted));
        match furthest {
            Some(furthest) if listed.len() < list.limit => after = furthest,
            _ => break page,
        }
    };
    if list.ask.json {
        listed.iter().try_for_each(print_json)?;
    } else {
        print_list(&listed, &last_page);
    }
    Ok(Exit::Done)
}

fn print_list(
    listed: &[FileReport],
    FileList {
        total, total_bytes, ..
    }: &FileList,
) {
    if !listed.is_empty() {
        say(show::files(listed, now_ms()));
    }
    let more = total.saturating_sub(listed.len());
    let rest = if more > 0 {
        format!(", {more} of them not listed (--limit, --after)")
    } else {
        String::new()
    };
    let files = if *total == 1 { "file" } else { "files" };
    let size = ByteSize(*total_bytes);
    say(format_args!("{total} {files}, {size}{rest}"));
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Failed, error))?;
    say_json(text);
    Ok(())
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
