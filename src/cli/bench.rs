//! `bilico bench`.

mod progress;

use std::cell::RefCell;
use std::fmt::Write;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::output::{Exit, Failure, complain, note, say, say_json};
use super::send::{BalancerArg, Place, no_time_left, sleep};
use super::settings::values::{positive, whole};
use super::settings::words::{self, one_of};
use crate::client::{ClientError, Wait, Way};
use crate::load::drive;
use crate::load::hold::{HoldReport, hold};
use crate::load::{Amount, Contents, Load, Mix, OPEN_LOOP_MOST, Plan, Rate, Run};
use crate::numbers::{plural, seconds};
use crate::protocol::limits::{MAX_KEY, MAX_TITLE};
use crate::shutdown;
use crate::units::format_duration;
use progress::{opening, progress};

/// Default number of files.
const FILES: u64 = 10_000;

/// Default number of files under way on a connection.
const IN_FLIGHT: u32 = 64;

/// Files that the process has open besides its connections, rounded up.
const OTHER_FILES: u64 = 64;

/// Digits of the longest number behind a prefix.
const DIGITS: usize = 20;

/// Measure a balancer: send generated files and time the receipts
#[derive(Debug, Args)]
#[command(after_help = "\
Closed loop, without --rate: each connection has --in-flight files under way, and the end of one \
file sends the next. A file's time begins when it enters the write buffer of its connection.

Open loop, with --rate: files are due at fixed times, in batches at most a millisecond apart, \
regardless of earlier files. A file's time begins when it is due, however late it is sent; the \
report says how late files were sent. At most 262,144 files are under way; beyond that, files \
wait for others to end, their time runs, and a warning is printed.

Exit code 0 only if every file reached the state that --wait names. If a run is interrupted, the \
measurements until then are printed.")]
pub(super) struct BenchArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// How many files to send; 10,000 unless --duration is given
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = whole::<u64>(..))]
    files: Option<u64>,
    /// Send files for this long, then wait for the files under way
    #[arg(long, value_name = "TIME", value_parser = positive)]
    duration: Option<Duration>,
    /// Sizes of the files, each with its share, e.g. 1KiB or 1KiB,16KiB:10%,1MiB:0.5%; the size
    /// without a share gets the rest. A size may be 0
    #[arg(long, value_name = "SIZE[:P%],…", default_value = "1KiB")]
    size: Mix,
    /// How many connections to open
    #[arg(
        short,
        long,
        value_name = "C",
        default_value_t = 1,
        value_parser = whole::<u64>(1..=60_000)
    )]
    connections: u64,
    /// How many files are under way on each connection; 64 by default. Not with --rate
    #[arg(
        long,
        value_name = "W",
        conflicts_with = "rate",
        value_parser = whole::<u32>(1..=1_048_576)
    )]
    in_flight: Option<u32>,
    /// Send this many files per second over all connections, whether earlier ones have ended or not
    /// (open loop)
    #[arg(long, value_name = "R")]
    rate: Option<Rate>,
    /// Which receipt ends a file. With `accepted`, the run ends when all files are accepted; they
    /// may be delivered later
    #[arg(long, value_parser = one_of(words::WAIT), default_value = "delivered")]
    wait: Wait,
    /// Send this many files first, and leave them out of the figures
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..))]
    warm_up: u64,
    /// Time limit of the whole run; without it, there is no limit
    #[arg(long, value_name = "TIME", value_parser = positive)]
    timeout: Option<Duration>,
    /// Give every file a key, as `bilico send` does
    #[arg(long)]
    keys: bool,
    /// Prefix of the titles; the index of the file in the run follows
    #[arg(long, value_name = "P", default_value = "bench-", value_parser = prefix)]
    title_prefix: String,
    /// Seed of the sizes and the content
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..))]
    seed: u64,
    /// Send nothing: open the connections, hold them idle for this long, and report how many stayed
    /// open
    #[arg(
        long,
        value_name = "TIME",
        value_parser = positive,
        conflicts_with_all = ["duration", "rate", "in_flight", "keys", "timeout", "warm_up"]
    )]
    hold: Option<Duration>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn prefix(text: &str) -> Result<String, String> {
    let most = MAX_TITLE - DIGITS;
    if text.len() > most {
        Err(format!(
            "title prefix too long, {} bytes: expected at most {most} bytes",
            text.len()
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// Measures, and prints the results.
pub(super) async fn run(args: BenchArgs) -> Result<Exit, Failure> {
    args.check()?;
    allow_files(args.connections)?;
    let stop = shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    // One thread does it all: no lock, no waking of others, and the machine's other processors are
    // left to the balancer.
    let run = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
        LocalSet::new().block_on(&runtime, args.run(&stop))
    });
    run.await
        .unwrap_or_else(|error| Err(Failure::new(Exit::Failed, error)))
}

/// Raises the number of files that the process may have open, as far as it goes.
fn allow_files(connections: u64) -> Result<(), Failure> {
    let needed = connections.saturating_add(OTHER_FILES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        let error = format!(
            "{connections} connections need {needed} open files, and this process may have {most}"
        );
        return Err(Failure::new(Exit::Failed, error)
            .hint("raise the hard limit (`ulimit -Hn`), or open fewer"));
    }
    limit.current = Some(needed);
    let cannot = |error| {
        Failure::new(
            Exit::Failed,
            format!("cannot have {needed} files open: {error}"),
        )
    };
    setrlimit(Resource::Nofile, limit).map_err(|error| cannot(io::Error::from(error)))
}

impl BenchArgs {
    fn check(&self) -> Result<(), Failure> {
        let wrong = match (self.hold, self.files) {
            (None, Some(0)) => "no files: --files must be at least 1",
            (Some(_), Some(1..)) => "--hold sends no files",
            _ => return Ok(()),
        };
        Err(Failure::new(Exit::Usage, wrong))
    }

    async fn run(self, stop: &CancellationToken) -> Result<Exit, Failure> {
        match self.hold {
            Some(length) => self.hold(length, stop).await,
            None => self.load(stop).await,
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            wait: self.wait,
            amount: self
                .duration
                .map_or(Amount::Files(self.files.unwrap_or(FILES)), Amount::Time),
            warm_up: self.warm_up,
            connections: self.connections,
            load: self.rate.map_or(
                Load::Closed(self.in_flight.unwrap_or(IN_FLIGHT)),
                Load::Open,
            ),
            contents: Contents::prepare(&self.size, self.seed),
            mix: self.size.clone(),
            title_prefix: self.title_prefix.clone(),
            key_prefix: self
                .keys
                .then(|| format!("bench-{:032x}-", rand::random::<u128>())),
            seed: self.seed,
        }
    }

    async fn load(&self, stop: &CancellationToken) -> Result<Exit, Failure> {
        let plan = Rc::new(self.plan());
        debug_assert!(
            plan.key_prefix
                .as_ref()
                .is_none_or(|prefix| prefix.len() + DIGITS <= MAX_KEY)
        );
        let run = Rc::new(RefCell::new(Run::new(&plan)));
        let way = self.balancer.way()?;
        let result = tokio::select! {
            result = drive::run(&way, plan.clone(), run.clone()) => {
                self.judge(result, &run)
            }
            never = progress(&plan, &run) => match never {},
            failure = self.cut_off(&way, stop, || missing(&plan, &run)) => Err(failure),
        };
        if result.is_ok() || run.borrow().tally.files > 0 {
            self.tell(&plan, &run.borrow());
        }
        result
    }

    /// Ends a run at its time limit or when it is interrupted.
    async fn cut_off(
        &self,
        way: &Way,
        stop: &CancellationToken,
        missing: impl Fn() -> u64,
    ) -> Failure {
        tokio::select! {
            () = stop.cancelled() => interrupted(),
            () = sleep(self.timeout) => {
                let limit = format_duration(self.timeout.unwrap_or_default());
                let files = plural(missing(), "file is", "files are");
                match self.wait {
                    Wait::Accepted => {
                        Failure::new(Exit::TimedOut, format!("{files} not accepted after {limit}"))
                    }
                    Wait::Delivered => {
                        let text = format!("{files} not delivered after {limit}");
                        no_time_left(way, text, Place::Shell).await
                    }
                }
            }
        }
    }

    fn judge(&self, result: Result<(), ClientError>, run: &RefCell<Run>) -> Result<Exit, Failure> {
        let tally = &run.borrow().tally;
        let what = if self.wait == Wait::Accepted {
            "accepted"
        } else {
            "delivered"
        };
        result.map_err(|error| {
            let mut failure = Failure::from(error);
            if tally.sent > 0 {
                let _ = write!(
                    failure.error,
                    ", {} of {} sent files were {what}",
                    tally.reached, tally.sent
                );
            }
            failure
        })?;
        Ok(if tally.failed() > 0 {
            Exit::Failed
        } else {
            Exit::Done
        })
    }

    fn tell(&self, plan: &Plan, run: &Run) {
        let report = run.tally.report(self.rate.is_some());
        if self.json {
            let mut object = json!(report);
            if let Some(fields) = object.as_object_mut() {
                fields.insert("settings".to_owned(), self.settings(plan));
            }
            say_json(object);
        } else {
            say(&report);
        }
        for failure in report.failures() {
            complain(&failure, None);
        }
        if let Some(held_back @ 1..) = report.held_back {
            note(format_args!(
                "warning: {held_back} files were sent late because {OPEN_LOOP_MOST} others were \
                 under way: the balancer does not keep up with this rate"
            ));
        }
    }

    fn settings(&self, plan: &Plan) -> Value {
        let (in_flight, rate) = match plan.load {
            Load::Closed(in_flight) => (Some(in_flight), None),
            Load::Open(rate) => (None, Some(rate.per_second())),
        };
        let files = if let Amount::Files(files) = plan.amount {
            Some(files)
        } else {
            None
        };
        json!({
            "balancer": self.balancer.balancer, "files": files,
            "duration_s": self.duration.map(seconds), "size": plan.mix.to_string(),
            "connections": plan.connections, "in_flight": in_flight, "rate": rate,
            "wait": if plan.wait == Wait::Accepted { "accepted" } else { "delivered" }, "warm_up": plan.warm_up,
            "keys": self.keys, "title_prefix": plan.title_prefix, "seed": plan.seed,
        })
    }

    async fn hold(&self, length: Duration, stop: &CancellationToken) -> Result<Exit, Failure> {
        let opened = Rc::new(RefCell::new(Vec::new()));
        let way = self.balancer.way()?;
        let held = hold(&way, self.connections, length, opened.clone());
        let result = tokio::select! {
            result = held => result,
            never = opening(self.connections, &opened) => match never {},
            () = stop.cancelled() => return Err(interrupted()),
        };
        let held = result.map_err(|error| {
            let mut failure = Failure::from(error);
            let _ = write!(
                failure.error,
                " ({} of {} connections were open)",
                opened.borrow().len(),
                self.connections
            );
            failure
        })?;
        self.tell_held(&held);
        match held.opened - held.stayed {
            0 => Ok(Exit::Done),
            lost => Err(Failure::new(
                Exit::Unreachable,
                format!("{lost} connections were closed by the balancer"),
            )),
        }
    }

    fn tell_held(&self, held: &HoldReport) {
        if self.json {
            return say_json(json!(held));
        }
        let length = |seconds| format_duration(Duration::from_secs_f64(seconds));
        let HoldReport {
            opened,
            stayed,
            open_seconds,
            hold_seconds,
            ..
        } = held;
        let (open_for, held_for) = (length(*open_seconds), length(*hold_seconds));
        say(format_args!(
            "{opened} connections opened in {open_for}, {stayed} of them open after {held_for}"
        ));
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// How many files have not ended. Without a fixed number of files, only sent ones count.
fn missing(plan: &Plan, run: &RefCell<Run>) -> u64 {
    let tally = &run.borrow().tally;
    plan.total()
        .unwrap_or(tally.sent)
        .saturating_sub(tally.reached + tally.failed())
}
