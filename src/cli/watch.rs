//! `bilico watch`.

mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::output::{Exit, Failure};
use super::send::BalancerArg;
use super::service::Service;
use super::settings::values::positive;
use super::settings::words::{self, one_of};
use crate::client::{MAX_PREFIX, Wait};
use crate::shutdown;
use crate::units::parse_duration;
use crate::watch::{self, After, Config, Globs, Rule, RuleSpec, Rules, Told, WatchError};
use show::Show;

/// Names that are left out: what is hidden, and what programs write before they rename it.
const UNFINISHED: [&str; 8] = [
    ".*",
    "~$*",
    "*~",
    "*.tmp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.filepart",
];

/// Watch a folder: hand over what is put into it, then move, delete or leave it
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[command(
    after_help = "Each file is handed over once, whatever is killed meanwhile: docs/watch.md. \
                  With --once, exit code 0 only if every file was handed over."
)]
pub(super) struct WatchArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    balancer: BalancerArg,
    /// Watch the folders in it, too
    #[arg(short, long)]
    recursive: bool,
    /// Take only files of this name, such as '*.pdf', or of this path below DIR, such as 'in/*';
    /// repeat the flag for each
    #[arg(long, value_name = "GLOB", default_value = "*")]
    include: Vec<String>,
    /// Leave out files and folders of this name or path; repeat the flag for each. It replaces what
    /// is left out without it
    #[arg(long, value_name = "GLOB", default_values = UNFINISHED)]
    exclude: Vec<String>,
    /// Take a file only once there is another one with its name and this end, such as .done. That
    /// one is never handed over, and is deleted with its file's move or delete
    #[arg(long, value_name = "END", env = "BILICO_DONE_SUFFIX")]
    done_suffix: Option<String>,
    /// How long the size and the time of a file must stay the same before it is taken. A file that
    /// was renamed into place is taken at once, and after a tenth of this if its writer closed it
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration, env = "BILICO_SETTLE")]
    settle: Duration,
    /// Look at the folder this often (1s) instead of being told by the system, which network file
    /// systems do not do
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        value_parser = positive,
        env = "BILICO_POLL"
    )]
    poll: Option<Duration>,
    /// Which receipt to wait for
    #[arg(long, value_parser = one_of(words::WAIT), default_value = "delivered", env = "BILICO_UNTIL")]
    until: Wait,
    /// What happens to a file then
    #[arg(long, value_parser = one_of(words::AFTER), default_value = "move", env = "BILICO_AFTER")]
    after: After,
    /// Where files are moved to; a path that does not begin with / is below DIR
    #[arg(long, value_name = "FOLDER", default_value = "done", env = "BILICO_TO")]
    to: PathBuf,
    /// Where files go that cannot be handed over, each with its reason in a file beside it
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "failed",
        env = "BILICO_FAILED_TO"
    )]
    failed_to: PathBuf,
    /// Treat some files in another way: 'include=*.pdf after=delete', with include, until, after,
    /// to and failed-to. Repeat the flag for each rule; the first one that fits a file has it
    #[arg(long, value_name = "RULE")]
    rule: Vec<RuleSpec>,
    /// Where to remember what was handed over
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = ".bilico-watch",
        env = "BILICO_STATE"
    )]
    state: PathBuf,
    /// Hand over what is there, and end
    #[arg(long)]
    once: bool,
    /// With --once: how long the balancer may be away. Without it, the watcher waits for it for ever
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1m",
        value_parser = parse_duration,
        env = "BILICO_RETRY"
    )]
    retry: Duration,
    /// What the keys of the files begin with, for those who look at the balancer: at most 128 bytes
    #[arg(
        long,
        value_name = "P",
        default_value = "watch-",
        value_parser = prefix,
        env = "BILICO_WATCH_PREFIX"
    )]
    key_prefix: String,
    /// For how long the balancer surely remembers the keys of delivered files: not longer than its
    /// --remember. A file whose receipt was lost for longer is not sent again, but set aside
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        value_parser = positive,
        env = "BILICO_REMEMBERED"
    )]
    remembered: Duration,
    /// Print one JSON object per line and event
    #[arg(long)]
    json: bool,
    /// Print nothing but warnings and errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

fn prefix(text: &str) -> Result<String, String> {
    if text.len() <= MAX_PREFIX {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a prefix of {} bytes: it must have at most {MAX_PREFIX}",
            text.len()
        ))
    }
}

/// Watches until a signal comes, or, with `--once`, until everything is handed over.
pub(super) async fn run(args: WatchArgs) -> Result<Exit, Failure> {
    let config = args.config()?;
    let way = args.balancer.way()?;
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let mut show = Show::new(&args.folder, (args.json, args.quiet), args.once);
    let service = Service::of_environment();
    let watched = watch::watch(config, way, stop.clone(), &mut |told| {
        if matches!(told, Told::Started { .. }) {
            let progress = Arc::clone(&show.progress);
            service.ready(stop.clone(), move || {
                std::future::ready(Some(progress.line()))
            });
        }
        show.tell(&told);
    })
    .await;
    let summary = watched.map_err(failure)?;
    show.end(&summary);
    let is_clean = summary.failed == 0 && summary.skipped == 0 && summary.left == 0;
    Ok(match (args.once, is_clean) {
        (false, _) | (true, true) => Exit::Done,
        (true, false) if stop.is_cancelled() => Exit::Interrupted,
        (true, false) => Exit::Failed,
    })
}

impl WatchArgs {
    fn config(&self) -> Result<Config, Failure> {
        let usage = |error: String| Failure::new(Exit::Usage, error);
        let at = |path: &Path| self.folder.join(path);
        let other = Rule {
            until: self.until,
            after: self.after,
            done: at(&self.to),
            failed: at(&self.failed_to),
        };
        let kind = |spec: &RuleSpec| {
            let rule = Rule {
                until: spec.until.unwrap_or(other.until),
                after: spec.after.unwrap_or(other.after),
                done: spec.to.as_deref().map_or_else(|| other.done.clone(), at),
                failed: spec
                    .failed_to
                    .as_deref()
                    .map_or_else(|| other.failed.clone(), at),
            };
            Globs::new(&spec.include).map(|names| (names, rule))
        };
        let kinds: Result<_, _> = self.rule.iter().map(kind).collect();
        if self
            .done_suffix
            .as_ref()
            .is_some_and(|end| end.is_empty() || end.contains('/'))
        {
            let error = "--done-suffix: expected the end of a name, such as .done";
            return Err(usage(error.to_owned()));
        }
        if !self.folder.is_dir() {
            let error = format!("{} is not a folder", self.folder.display());
            return Err(Failure::new(Exit::Failed, error).hint("make it first: `mkdir DIR`"));
        }
        Ok(Config {
            folder: self.folder.clone(),
            recursive: self.recursive,
            state: at(&self.state),
            rules: Rules {
                include: Globs::new(&self.include).map_err(usage)?,
                exclude: Globs::new(&self.exclude).map_err(usage)?,
                marker: self.done_suffix.clone(),
                kinds: kinds.map_err(usage)?,
                other,
            },
            settle: self.settle,
            poll: self.poll,
            once: self.once.then_some(self.retry),
            prefix: self.key_prefix.clone(),
            remembered: self.remembered,
        })
    }
}

fn failure(error: WatchError) -> Failure {
    match error {
        WatchError::Balancer(error) => error.into(),
        WatchError::Damaged { .. } => Failure::new(Exit::Failed, &error).hint(
            "move the file away to begin anew: then all files in the folder are handed over, also \
             those that were before",
        ),
        WatchError::Locked(_) => Failure::new(Exit::Failed, &error)
            .hint("one watcher can have several rules: see --rule"),
        error => Failure::new(Exit::Failed, &error),
    }
}
