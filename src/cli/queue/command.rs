//! The subcommands of `bilico queue`. Those about files ask a running balancer by its admin API;
//! `check` and `adopt` read a journal's directory and need no balancer.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::ask::{AskArgs, print_json};
use super::orders::{self, DeadArgs, SureArgs, WaitingArgs};
use super::save::{self, SaveArgs};
use super::{adopt, check, trace};
use crate::admin::types::FileList;
use crate::balancer::query::{FileReport, MAX_LISTED};
use crate::cli::api::Api;
use crate::cli::output::{Exit, Failure, say};
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
    /// Send dead letters to the servers again, as if they were new
    Replay {
        #[command(flatten)]
        which: DeadArgs,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Throw away for good dead letters, or files that wait or are with a server
    ///
    /// By their numbers it takes every file that is not delivered. A server that turns out to have
    /// stored the file is told to remove it. A file that is with a server that cannot remove
    /// anything (an old-style one) is not dropped; the message says so. By --all, --title, --user or
    /// --reason it takes dead letters only. It asks first; `queue save` keeps a copy.
    Drop {
        #[command(flatten)]
        which: DeadArgs,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Cancel waiting files: no server gets them, and their clients hear of it
    ///
    /// A file that a server has, or may have, is left alone, with the reason; `queue drop` throws
    /// that away, too. Files that come in later are not cancelled. It asks first. Exit code 1 if a
    /// file was left alone.
    Cancel {
        #[command(flatten)]
        which: WaitingArgs,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Save the content of dead letters, or of files that wait, to files
    ///
    /// Each goes to a file `NUMBER_TITLE`, as servers name it, and nothing is overwritten: what is
    /// there already with the same content counts as saved, so a run that broke off can be repeated.
    /// Content that does not have its client's checksum any more is not saved without --damaged.
    Save(SaveArgs),
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

/// Carries out one subcommand.
pub(in crate::cli) fn run(args: QueueArgs) -> Result<Exit, Failure> {
    match args.command {
        QueueCommand::Show { number, ask } => show_file(number, &ask),
        QueueCommand::Ls { list } => list_files(&list, "queue", "list the files that wait"),
        QueueCommand::Dead { list } => list_files(&list, "dead", "list the dead letters"),
        QueueCommand::Replay { which, ask } => orders::replay(&which, &ask),
        QueueCommand::Drop { which, sure, ask } => orders::drop_files(&which, &sure, &ask),
        QueueCommand::Cancel { which, sure, ask } => orders::cancel(&which, &sure, &ask),
        QueueCommand::Save(args) => save::save(&args),
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

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
