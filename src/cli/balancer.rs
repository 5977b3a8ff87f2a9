//! `bilico balancer`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};

use super::admin::{AdminAt, AdminListener};
use super::reload::{self, Reloader, Started};
use super::settings::words::{self, one_of};
use super::{ADMIN, BALANCER, Exit, Failure, RoleArgs, address, bind, note};
use crate::admin::{Admin, balancer_routes};
use crate::balancer::events::Kind;
use crate::balancer::{
    Balancer, BalancerConfig, BalancerError, DispatchConfig, InDoubt, QueueLimits, Settings, Window,
};
use crate::config::{ServerSpec, check_servers};
use crate::descriptors::{self, Openings, TooFew};
use crate::durability::Durability;
use crate::queue::journal::SEGMENT_SIZES;
use crate::queue::{JournalConfig, JournalError, Retention};
use crate::schedule::HealthConfig;
use crate::transport::Tcp;
use crate::units::{ByteSize, parse_duration};

/// Run a balancer: takes files from clients, queues them, and sends them on to servers
#[derive(Debug, Args)]
pub(super) struct BalancerArgs {
    /// Where clients connect, native and old-style ones alike
    #[arg(long, value_name = "ADDR", default_value = BALANCER, value_parser = address, env = "BILICO_LISTEN")]
    listen: String,
    /// A file server and its weight; repeat it for each server
    #[arg(
        long = "server",
        value_name = "ADDR=WEIGHT",
        required = true,
        env = "BILICO_SERVERS",
        value_delimiter = ','
    )]
    servers: Vec<ServerSpec>,
    /// Where accepted files are kept until they are delivered; one balancer a directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "journal",
        env = "BILICO_JOURNAL"
    )]
    journal: PathBuf,
    /// When a file counts as accepted
    #[arg(long, value_parser = one_of(words::DURABILITY), default_value = "disk", env = "BILICO_DURABILITY")]
    durability: Durability,
    /// How long a segment of the journal gets, from 1 MiB to 1 GiB; without it a sixteenth of the
    /// disk, 64 MiB at most
    #[arg(long, value_name = "SIZE", value_parser = segment_size, env = "BILICO_SEGMENT_SIZE")]
    segment_size: Option<ByteSize>,
    /// What becomes of a file that was with a server when the server vanished: it may be stored
    /// there, or not
    #[arg(long, value_parser = one_of(words::IN_DOUBT), default_value = "redirect", env = "BILICO_IN_DOUBT")]
    in_doubt: InDoubt,
    /// After so many refusals that are its own fault a file becomes a dead letter; one that every
    /// server refuses for good becomes one at once. A server that is down, full or busy does not
    /// count
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_MAX_ATTEMPTS")]
    max_attempts: u32,
    /// How long delivered files are remembered, so that one that is sent again under its key is not
    /// stored twice
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration, env = "BILICO_REMEMBER")]
    remember: Duration,
    /// How many delivered files are remembered at the most; each takes some 300 bytes of memory and
    /// of the journal
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        env = "BILICO_REMEMBER_FILES"
    )]
    remember_files: u32,
    /// The most files that wait; then the balancer stops reading from clients
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_QUEUE_FILES")]
    queue_files: u32,
    /// The most bytes that wait, on disk; one file may take half of it
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64GiB",
        env = "BILICO_QUEUE_BYTES"
    )]
    queue_bytes: ByteSize,
    /// The largest object of an old-style client
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_MAX_JSON"
    )]
    max_json: ByteSize,
    /// The most files in flight to the heaviest server; the others' windows are smaller by their
    /// weights
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_WINDOW_FILES")]
    window_files: u32,
    /// The most bytes in flight to the heaviest server; a larger file goes alone
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_WINDOW_BYTES"
    )]
    window_bytes: ByteSize,
    /// The time between two probes of a server
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = probe_interval, env = "BILICO_PROBE_INTERVAL")]
    probe_interval: Duration,
    /// How long a probe, or a connection to a server, may take
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = positive, env = "BILICO_PROBE_TIMEOUT")]
    probe_timeout: Duration,
    /// Failed probes in a row that make a server down
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_FALL")]
    fall: u32,
    /// Good probes in a row that make it up again
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_RISE")]
    rise: u32,
    /// How long a peer may stop in the middle of something
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive, env = "BILICO_STALL_TIMEOUT")]
    stall_timeout: Duration,
    /// How long a client may be silent with nothing under way
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = positive, env = "BILICO_IDLE_TIMEOUT")]
    idle_timeout: Duration,
    /// The most client connections at once, if the process may open that much; who is silent or
    /// idle makes way for who comes
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..), env = "BILICO_MAX_CONNECTIONS")]
    max_connections: u32,
    /// How long a stopping balancer goes on delivering what it has
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration, env = "BILICO_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Duration,
    /// Where operators look in and give orders, over HTTP from this machine only; `none` for
    /// nowhere
    #[arg(long, value_name = "ADDR", default_value = ADMIN, env = "BILICO_ADMIN")]
    admin: AdminAt,
    #[command(flatten)]
    role: RoleArgs,
}

/// A time that is not zero.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than 0".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn segment_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    if SEGMENT_SIZES.contains(&size.0) {
        Ok(size)
    } else {
        Err("a segment has 1 MiB to 1 GiB".to_owned())
    }
}

fn probe_interval(text: &str) -> Result<Duration, String> {
    let interval = positive(text)?;
    let shortest = Duration::from_millis(10);
    if interval < shortest {
        Err("probes need at least 10ms between them".to_owned())
    } else {
        Ok(interval)
    }
}

/// What the flags must be together; the error names a key.
pub(super) fn check(matches: &ArgMatches) -> Result<(), (&'static str, String)> {
    let Ok(args) = BalancerArgs::from_arg_matches(matches) else {
        return Ok(());
    };
    check_servers(&args.servers).map_err(|error| ("servers", error.to_string()))?;
    queue_limits(&args)
        .check(args.max_json.0)
        .map_err(|error| ("max-json", error.to_string()))
}

/// Runs the balancer until it is told to stop.
pub(super) async fn run(args: BalancerArgs, started: Started) -> Result<Exit, Failure> {
    let hangup = reload::hangups()?;
    let openings = openings(&args)?;
    let (listener, address) = bind(&args.listen).await?;
    let operators = AdminListener::bind(&args.admin).await?;
    let log = args.role.log.start("balancer.log".to_owned())?;
    tell_openings(args.max_connections, &openings);
    let outcome = match Balancer::open(config(&args, openings)) {
        Ok(balancer) => {
            let reloader = Reloader::new(started, log.level(), Some(balancer.control()));
            let reload = reloader.hook();
            reloader.follow(hangup, log.names());
            let events = balancer.control().events().clone();
            log.listen(move |level, text| events.tell(level.into(), Kind::Log, None, None, text));
            let told = operators.address();
            let admin = Admin {
                control: balancer.control(),
                door: balancer.door(),
                listen: address.to_string(),
                reload,
            };
            let serving = operators.serve(|stop| balancer_routes(admin, stop));
            let stop = args.role.ready(address, told)?;
            let outcome = balancer.run(listener, Arc::new(Tcp), stop).await;
            serving.stop().await;
            outcome
        }
        Err(error) => Err(error),
    };
    drop(log);
    match outcome {
        Ok(outcome) => {
            if outcome.undelivered > 0 {
                let (files, journal) = (outcome.undelivered, args.journal.display());
                note(format_args!(
                    "{files} files are not delivered yet: {journal} keeps them for the next start"
                ));
            }
            Ok(Exit::Done)
        }
        Err(error @ BalancerError::Limits(_)) => Err(Failure::new(Exit::Usage, error)),
        Err(error @ BalancerError::SetBack { .. }) => {
            let hint = format!(
                "nothing was removed on the strength of it; `bilico queue adopt {}` gives the journal a new name and lets its numbers go on \
                 far behind: then all that waits in it is delivered. If another balancer runs on a copy of it, stop one first",
                args.journal.display()
            );
            Err(Failure::new(Exit::Journal, error).hint(hint))
        }
        Err(BalancerError::Journal(error)) => Err(journal_failure(error, &args.journal)),
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    }
}

/// What the process may open, and what of that is for clients.
fn openings(args: &BalancerArgs) -> Result<Openings, Failure> {
    let limit = descriptors::raise();
    let (servers, wanted) = (args.servers.len(), args.max_connections as usize);
    Openings::of_balancer(limit, servers, args.admin.max_connections(), wanted).map_err(too_few)
}

/// Says that the process may not open enough.
pub(super) fn too_few(error: TooFew) -> Failure {
    Failure::new(Exit::Failed, error).hint(RAISE)
}

/// How a process comes to be allowed more.
const RAISE: &str =
    "raise the limit of open files: `ulimit -n` in a shell, LimitNOFILE= with systemd";

/// Tells if there are fewer connections than were asked for.
pub(super) fn tell_openings(wanted: u32, openings: &Openings) {
    let Openings {
        limit, connections, ..
    } = *openings;
    if connections < wanted as usize {
        let max_connections = wanted;
        tracing::warn!(
            connections,
            max_connections,
            open_files = limit,
            "fewer connections than max-connections: {RAISE}, or lower max-connections"
        );
    }
}

/// What is wrong with the journal in `dir`, and what helps.
pub(super) fn journal_failure(error: JournalError, dir: &Path) -> Failure {
    let dir = dir.display();
    let hint = match &error {
        JournalError::Locked { .. } => {
            "one balancer a journal: pass --journal for another directory, or stop the other balancer".to_owned()
        }
        JournalError::Directory { .. } => {
            "pass --journal for another directory, or let this user write there".to_owned()
        }
        JournalError::Moved { .. } => {
            format!(
                "what was accepted is in the directory that was {dir}: put it back, or pass --journal for where it is now"
            )
        }
        JournalError::Removed { name, .. } => {
            format!("put {name} back from a copy, if there is one; without it, what it held cannot be delivered")
        }
        JournalError::Intruder { name } => {
            format!("find out which program made {name}, end it, and move what it made out of {dir}")
        }
        JournalError::NotRegular { name } => format!("put the file back in the place of {name}; no link is followed"),
        JournalError::SegmentsGone { .. } => format!(
            "put the segments (`….log`) back into {dir}; to begin anew without what they held, pass --journal for another directory"
        ),
        JournalError::NameLost => format!("put `journal-id` back from a copy, or run `bilico queue adopt {dir}`"),
        _ => format!("`bilico queue check {dir}` tells its state; what was accepted stays in it"),
    };
    let exit = if matches!(error, JournalError::Locked { .. }) {
        Exit::Failed
    } else {
        Exit::Journal
    };
    Failure::new(exit, error).hint(hint)
}

/// How much the flags let wait.
fn queue_limits(args: &BalancerArgs) -> QueueLimits {
    QueueLimits {
        files: args.queue_files as usize,
        bytes: args.queue_bytes.0,
    }
}

/// The settings that the flags make.
pub(super) fn settings(args: &BalancerArgs) -> Settings {
    Settings {
        servers: args.servers.clone(),
        queue: queue_limits(args),
        dispatch: DispatchConfig {
            window: Window {
                files: args.window_files as usize,
                bytes: args.window_bytes.0,
            },
            health: HealthConfig {
                fall: args.fall,
                rise: args.rise,
                ..HealthConfig::default()
            },
            max_attempts: args.max_attempts,
            in_doubt: args.in_doubt,
        },
        retention: Retention {
            time: args.remember,
            files: args.remember_files as usize,
        },
        probe_interval: args.probe_interval,
        probe_timeout: args.probe_timeout,
        stall: args.stall_timeout,
        idle: args.idle_timeout,
        max_json: args.max_json.0,
    }
}

/// The configuration that the flags make.
fn config(args: &BalancerArgs, openings: Openings) -> BalancerConfig {
    BalancerConfig {
        settings: settings(args),
        max_connections: args.max_connections as usize,
        openings,
        grace: args.shutdown_timeout,
        journal: args.journal.clone(),
        journal_config: JournalConfig {
            durability: args.durability,
            segment_size: args.segment_size.map(|size| size.0),
        },
        ..BalancerConfig::default()
    }
}
