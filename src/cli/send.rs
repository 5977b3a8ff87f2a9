//! `bilico send`.

mod input;
mod report;
mod sending;
mod unfinished;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{Exit, Failure, complain, say, say_json, warn};
use super::secrets::TokenArg;
use super::settings::values::{BALANCER, address, positive};
use super::settings::words::{self, one_of};
use super::show;
use super::tls::CaArg;
use crate::client::receipts::{ReceiptError, ReceiptFile};
use crate::client::walk::{Found, Links};
use crate::client::{self, Changed, Form, Keys, Options, Source, Wait, Way};
use crate::numbers::count;
use crate::shutdown;
use crate::text::printable;
use crate::units::parse_duration;
pub(super) use report::{left_out, nothing};
pub(super) use sending::{SendEnded, Sending, no_time_left, sleep};
pub(super) use unfinished::Place;

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

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LinksArg {
    /// Follow symbolic links in directories: send the files that they lead to. A link back to a
    /// directory that it is in is left out. A link that is named as a path is followed in any case
    #[arg(long, conflicts_with = "skip_links")]
    follow: bool,
    /// Leave out symbolic links, wherever they are, without an error
    #[arg(long)]
    skip_links: bool,
}

impl LinksArg {
    pub(super) fn links(self) -> Links {
        match self {
            Self { follow: true, .. } => Links::Follow,
            Self {
                skip_links: true, ..
            } => Links::Skip,
            _ => Links::Tell,
        }
    }
}

/// Send files from scripts: any file, byte for byte
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[command(after_help = "\
Symbolic links in directories, fifos, sockets, devices and directories that cannot be read are left \
out, and named; the rest is sent.

Exit code 0 only if every file reached what was waited for, and nothing was left out but links by \
--skip-links.")]
pub(super) struct SendArgs {
    /// The files to send, and, with -r, directories; `-` is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    balancer: BalancerArg,
    /// Send all files in directories and their subdirectories
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    links: LinksArg,
    /// The title of the one file that is sent, instead of its name; that of standard input is
    /// `stdin` without it
    #[arg(long, value_name = "TITLE", conflicts_with = "json_payload")]
    title: Option<String>,
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
    let mut found = args.find()?;
    let keys = args.keys(&found.sources)?;
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
        place: Place::Shell,
    };
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    // Kept until all is sent.
    let _input = match found
        .sources
        .iter_mut()
        .find(|source| source.called.is_some())
    {
        Some(source) => Some(input::keep(source, args.quiet, &stop).await?),
        None => None,
    };
    let sources = &found.sources;
    let mut ended = sending
        .run(sources, args.quiet, receipts.as_mut(), stop.cancelled())
        .await;
    let written = match &mut receipts {
        Some(receipts) => receipts
            .finish(&ended.tally, |file| {
                sending.receipt(sources, &ended.tally, file)
            })
            .map_err(cannot_record),
        None => Ok(()),
    };
    if args.quiet || args.json {
        ended.explain();
    }
    args.print(&sending, &found, &ended).await;
    match written {
        Ok(()) => ended.result.map(|exit| with_left_out(exit, &found)),
        Err(failure) if ended.result.is_ok() => Err(failure),
        Err(failure) => {
            complain(&failure.error, None);
            ended.result
        }
    }
}

/// The exit code of a command that has left this out.
pub(super) fn with_left_out(exit: Exit, found: &Found) -> Exit {
    if exit == Exit::Done && found.missed().next().is_some() {
        Exit::Failed
    } else {
        exit
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
    fn find(&self) -> Result<Found, Failure> {
        let form = if self.json_payload {
            Form::Payload
        } else {
            Form::Raw
        };
        let mut found = Found::default();
        for path in &self.paths {
            if path.as_os_str() == input::DASH {
                found.sources.push(input::source(form));
                continue;
            }
            let added = found.add(path, form, self.links.links(), self.recursive);
            added.map_err(|error| {
                Failure::new(Exit::Usage, error).hint("pass -r to send the files in it")
            })?;
        }
        let inputs = found.sources.iter().filter(|file| file.called.is_some());
        if inputs.count() > 1 {
            let error = "`-` is given twice, and standard input can be sent once";
            return Err(Failure::new(Exit::Usage, error).hint("a file called - is ./-"));
        }
        if let Some(title) = &self.title {
            let [file] = &mut found.sources[..] else {
                let files = count(found.sources.len(), "file");
                let error = format!("--title {title:?} is for one file, and there are {files}");
                return Err(Failure::new(Exit::Usage, error));
            };
            file.title.clone_from(title);
        }
        Ok(found)
    }

    /// Prints a line for each file or a summary, then warnings and failures.
    async fn print(&self, sending: &Sending, found: &Found, ended: &SendEnded) {
        let (tally, sources) = (&ended.tally, &found.sources);
        let name = |file: usize| {
            let shown = sources.get(file).map(Source::shown);
            shown.map_or_else(String::new, |shown| printable(&shown).into_owned())
        };
        if self.json {
            (0..sources.len())
                .filter_map(|file| sending.receipt(sources, tally, file))
                .for_each(|receipt| say_json(report::line(receipt)));
            report::skipped(found);
        } else if !self.quiet && ended.has_sums() {
            let status = client::status(&sending.way, STATUS).await.ok();
            say(show::summary(tally, ended.elapsed, status.as_ref(), name));
        }
        for warning in show::warnings(tally, name) {
            warn(&warning);
        }
        for failure in show::failures(tally, name) {
            complain(&failure, None);
        }
        if !self.quiet {
            nothing(found, &self.paths);
            report::unmatched(&self.paths);
        }
        left_out(found, self.quiet);
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
