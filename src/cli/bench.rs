//! `bilico bench`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::balancer::positive;
use super::send::{BalancerArg, no_time_left, out_of_time, sleep};
use super::settings::words::{self, one_of};
use super::show::Bar;
use super::{Exit, Failure, complain, note, say, say_json};
use crate::client::{ClientError, Wait};
use crate::load::drive::{self, Greeted};
use crate::load::hold::{WorkMemory, hold};
use crate::load::{Amount, Contents, Load, Mix, OPEN_LOOP_MOST, Plan, Rate, Run};
use crate::protocol::limits::{MAX_KEY, MAX_TITLE};
use crate::shutdown;
use crate::transport::Tcp;
use crate::units::format_duration;

/// How many files are sent unless something is said about it.
const FILES: u64 = 10_000;

/// How many files are under way on a connection unless something is said about it.
const IN_FLIGHT: u32 = 64;

/// Files that the process has open beside its connections, rounded up.
const OTHER_FILES: u64 = 64;

/// The time between two looks at a run.
const TICK: Duration = Duration::from_millis(100);

/// The longest number behind a prefix, in digits.
const DIGITS: usize = 20;

/// Measure a balancer: send files made up for it, and time the receipts
#[derive(Debug, Args)]
#[command(after_help = "\
Closed loop, without --rate: each connection has --in-flight files under way, and the end of one sends the next. A \
file's time begins when it is put into what is written next to its connection.

Open loop, with --rate: files are due at fixed times, in batches a millisecond apart at most, whatever became of those \
before, and a file's time begins when it is due, however late it could be sent. How late that was is told, too. At \
most 262,144 files are under way; if that is reached, files wait for others to end, their time runs, and a warning says \
so.

Exit code 0 only if every file reached what was waited for. What was measured until a run was broken off is printed \
all the same.")]
pub(super) struct BenchArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// How many files to send; 10,000 if no --duration is given either
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    files: Option<u64>,
    /// Send files for this long, then wait for those that are under way
    #[arg(long, value_name = "TIME", value_parser = positive)]
    duration: Option<Duration>,
    /// The sizes of the files, each with its share of them, e.g. 1KiB or 1KiB,16KiB:10%,1MiB:0.5%;
    /// the one without a share gets the rest. 0 is a size, too
    #[arg(long, value_name = "SIZE[:P%],…", default_value = "1KiB")]
    size: Mix,
    /// How many connections to open
    #[arg(short, long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    connections: u64,
    /// How many files are under way on each connection; 64 unless told otherwise. Not with --rate
    #[arg(long, value_name = "W", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    in_flight: Option<u32>,
    /// Send so many files a second over all connections, whether others have ended or not (open
    /// loop)
    #[arg(long, value_name = "R")]
    rate: Option<Rate>,
    /// What ends a file. With `accepted` the run ends when all are accepted; they may be delivered
    /// later
    #[arg(long, value_parser = one_of(words::WAIT), default_value = "delivered")]
    wait: Wait,
    /// Send so many files before the others, and leave them out of the figures
    #[arg(long, value_name = "N", default_value_t = 0)]
    warm_up: u64,
    /// How long all of it may take; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = positive)]
    timeout: Option<Duration>,
    /// Give every file a key, as `bilico send` does
    #[arg(long)]
    keys: bool,
    /// What titles begin with; the place of the file in the run follows
    #[arg(long, value_name = "P", default_value = "bench-", value_parser = prefix)]
    title_prefix: String,
    /// Decides which file has which size, and the content
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Send nothing: open the connections, hold them idle for this long, and tell how many stayed
    #[arg(long, value_name = "TIME", value_parser = positive, conflicts_with_all = ["duration", "rate", "in_flight", "keys", "timeout", "warm_up"])]
    hold: Option<Duration>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn prefix(text: &str) -> Result<String, String> {
    let most = MAX_TITLE - DIGITS;
    if text.len() > most {
        Err(format!("at most {most} bytes"))
    } else {
        Ok(text.to_owned())
    }
}

/// Measures, and says what came of it.
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
        let result = tokio::select! {
            result = drive::run(Rc::new(Tcp), &self.balancer.balancer, plan.clone(), run.clone()) => self.judge(result, &run),
            never = progress(&plan, &run) => match never {},
            failure = self.cut_off(stop, || missing(&plan, &run)) => Err(failure),
        };
        if result.is_ok() || run.borrow().tally.files > 0 {
            self.tell(&plan, &run.borrow());
        }
        result
    }

    /// Ends a run that lasts too long or is interrupted.
    async fn cut_off(&self, stop: &CancellationToken, missing: impl Fn() -> u64) -> Failure {
        tokio::select! {
            () = stop.cancelled() => interrupted(),
            () = sleep(self.timeout) => {
                let limit = self.timeout.unwrap_or_default();
                match self.wait {
                    Wait::Accepted => out_of_time(missing(), limit),
                    Wait::Delivered => no_time_left(&self.balancer.balancer, limit, missing()).await,
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
                "warning: {held_back} files were sent late because {OPEN_LOOP_MOST} others were under way: \
                 the balancer does not keep up with this rate"
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
            "duration_s": self.duration.map(|length| length.as_secs_f64()), "size": plan.mix.to_string(),
            "connections": plan.connections, "in_flight": in_flight, "rate": rate,
            "wait": if plan.wait == Wait::Accepted { "accepted" } else { "delivered" }, "warm_up": plan.warm_up,
            "keys": self.keys, "title_prefix": plan.title_prefix, "seed": plan.seed,
        })
    }

    async fn hold(&self, length: Duration, stop: &CancellationToken) -> Result<Exit, Failure> {
        let opened = Rc::new(RefCell::new(Vec::new()));
        let address = &self.balancer.balancer;
        let result = tokio::select! {
            result = hold(Rc::new(Tcp), address, self.connections, length, opened.clone()) => result,
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

    fn tell_held(&self, held: &WorkMemory) {
        if self.json {
            return say_json(json!(held));
        }
        let length = |seconds| format_duration(Duration::from_secs_f64(seconds));
        let WorkMemory {
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

/// How many files have not come to their end, as far as their number is known.
fn missing(plan: &Plan, run: &RefCell<Run>) -> u64 {
    let tally = &run.borrow().tally;
    plan.total()
        .unwrap_or(tally.sent)
        .saturating_sub(tally.reached + tally.failed())
}

/// Shows a line of progress on a terminal's standard error until it is dropped, and nothing
/// elsewhere.
async fn progress(plan: &Plan, run: &RefCell<Run>) -> Infallible {
    let template = if plan.total().is_some() {
        "{spinner} {bar:24} {pos}/{len} {msg}"
    } else {
        "{spinner} {pos} {msg}"
    };
    let Some(bar) = Bar::on_terminal(template) else {
        return std::future::pending().await;
    };
    let (mut before, mut at) = (0, Instant::now());
    loop {
        {
            let tally = &run.borrow().tally;
            let done = tally.reached + tally.failed();
            bar.0.set_length(plan.total().unwrap_or(done));
            bar.0.set_position(done);
            let millis = u64::try_from(at.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            let rate = (tally.reached - before).saturating_mul(1000) / millis;
            let under_way = tally.sent.saturating_sub(done);
            bar.0.set_message(format!(
                "{rate} files/s  {under_way} under way  {} failed",
                tally.failed()
            ));
            (before, at) = (tally.reached, Instant::now());
        }
        tokio::time::sleep(TICK * 5).await;
    }
}

/// The same for connections that are being opened and held.
async fn opening(connections: u64, opened: &RefCell<Vec<Greeted>>) -> Infallible {
    let template = "{spinner} {bar:24} {pos}/{len} connections";
    let Some(bar) = Bar::on_terminal(template) else {
        return std::future::pending().await;
    };
    bar.0.set_length(connections);
    loop {
        // Once all are open, they are taken out to be held.
        let open = opened.borrow().len() as u64;
        bar.0.set_position(open.max(bar.0.position()));
        tokio::time::sleep(TICK).await;
    }
}
