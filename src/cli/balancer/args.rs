//! The flags of `bilico balancer`, and the configuration that they make.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};

use super::fleet_args::FleetArgs;
use crate::access::users::UserName;
use crate::access::{Accounts, Auth, Lock, MetricsFor};
use crate::balancer::{
    BalancerConfig, DispatchConfig, InDoubt, QueueLimits, ServersSpeak, Settings, Window,
};
use crate::cli::admin::AdminAt;
use crate::cli::output::{Exit, Failure};
use crate::cli::role::{RoleArgs, too_few};
use crate::cli::settings::values::{ADMIN, BALANCER, address, positive, whole};
use crate::cli::settings::words::{self, one_of};
use crate::cli::tls::{self, ClusterArgs, TlsArgs};
use crate::config::{ServerSpec, check_servers};
use crate::descriptors::{self, Openings};
use crate::durability::Durability;
use crate::queue::journal::SEGMENT_SIZES;
use crate::queue::{JournalConfig, Retention};
use crate::schedule::HealthConfig;
use crate::units::{ByteSize, parse_duration};

/// Run a balancer: it takes files from clients, queues them, and sends them to servers
#[derive(Debug, Args)]
#[command(
    override_usage = "bilico balancer [OPTIONS] --server <ADDR=WEIGHT>...\n       bilico balancer [OPTIONS] --join <WHO>\n       bilico balancer [OPTIONS] --config <FILE>"
)]
pub(in crate::cli) struct BalancerArgs {
    /// Address that native and old-style clients connect to
    #[arg(
        long,
        value_name = "ADDR",
        default_value = BALANCER,
        value_parser = address,
        env = "BILICO_LISTEN"
    )]
    pub(super) listen: String,
    /// A file server and its weight, also as NAME@ADDR=WEIGHT in a cluster; repeat the flag for
    /// each server
    #[arg(
        long = "server",
        value_name = "ADDR=WEIGHT",
        env = "BILICO_SERVERS",
        value_delimiter = ','
    )]
    servers: Vec<ServerSpec>,
    /// Directory that keeps accepted files until they are delivered; one balancer per directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "journal",
        env = "BILICO_JOURNAL"
    )]
    pub(super) journal: PathBuf,
    /// When a file counts as accepted
    #[arg(
        long,
        value_parser = one_of(words::DURABILITY),
        default_value = "disk",
        env = "BILICO_DURABILITY"
    )]
    durability: Durability,
    /// Size of a segment of the journal, from 1 MiB to 1 GiB; by default a sixteenth of the disk,
    /// at most 64 MiB
    #[arg(long, value_name = "SIZE", value_parser = segment_size, env = "BILICO_SEGMENT_SIZE")]
    segment_size: Option<ByteSize>,
    /// What to do with a file that was in flight to a server when the server went away: it may be
    /// stored there or not
    #[arg(
        long,
        value_parser = one_of(words::IN_DOUBT),
        default_value = "redirect",
        env = "BILICO_IN_DOUBT"
    )]
    in_doubt: InDoubt,
    /// A file becomes a dead letter after this many refusals caused by the file itself, or at once
    /// if every server refuses it for good. A server that is down, full or busy does not count
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        value_parser = whole::<u32>(1..),
        env = "BILICO_MAX_ATTEMPTS"
    )]
    max_attempts: u32,
    /// How long delivered files are remembered, so that a file that is sent again under its key is
    /// not stored twice
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        value_parser = parse_duration,
        env = "BILICO_REMEMBER"
    )]
    remember: Duration,
    /// How many delivered files are remembered at most; each takes some 300 bytes of memory and of
    /// the journal
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        value_parser = whole::<u32>(..),
        env = "BILICO_REMEMBER_FILES"
    )]
    remember_files: u32,
    /// Most files in the queue; when it is full, the balancer stops reading from clients
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = whole::<u32>(1..),
        env = "BILICO_QUEUE_FILES"
    )]
    queue_files: u32,
    /// Most bytes in the queue, on disk; one file may take half of them
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64GiB",
        env = "BILICO_QUEUE_BYTES"
    )]
    queue_bytes: ByteSize,
    /// Largest object of an old-style client
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_MAX_JSON"
    )]
    max_json: ByteSize,
    /// Most files in flight to the heaviest server; the windows of the others are smaller in
    /// proportion to their weights
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1024,
        value_parser = whole::<u32>(1..),
        env = "BILICO_WINDOW_FILES"
    )]
    window_files: u32,
    /// Most bytes in flight to the heaviest server; a file counts as a quarter of them at most
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "BILICO_WINDOW_BYTES"
    )]
    window_bytes: ByteSize,
    /// Time between two probes of a server
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = probe_interval,
        env = "BILICO_PROBE_INTERVAL"
    )]
    probe_interval: Duration,
    /// Time limit of a probe, and of a connection attempt to a server
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = positive,
        env = "BILICO_PROBE_TIMEOUT"
    )]
    probe_timeout: Duration,
    /// What servers may speak. An old-style server acknowledges nothing, so whoever takes the port
    /// of a server that is down would get its files by answering as one
    #[arg(
        long,
        value_parser = one_of(words::SERVERS_SPEAK),
        default_value = "any",
        env = "BILICO_SERVERS_SPEAK"
    )]
    servers_speak: ServersSpeak,
    /// Consecutive failed probes after which a server is down
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = whole::<u32>(1..),
        env = "BILICO_FALL"
    )]
    fall: u32,
    /// Consecutive good probes after which a server is up again
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = whole::<u32>(1..),
        env = "BILICO_RISE"
    )]
    rise: u32,
    /// How long a peer may stall in the middle of a message
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = positive,
        env = "BILICO_STALL_TIMEOUT"
    )]
    stall_timeout: Duration,
    /// How long an old-style server may take to save a file: it closes the file's connection then
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2m",
        value_parser = positive,
        env = "BILICO_OLD_STYLE_TIMEOUT"
    )]
    old_style_timeout: Duration,
    /// How long a client with nothing under way may be silent
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = positive,
        env = "BILICO_IDLE_TIMEOUT"
    )]
    idle_timeout: Duration,
    /// Most client connections at once, as far as the limit of open files allows; a silent or idle
    /// one is closed for a new one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16_384,
        value_parser = whole::<u32>(1..),
        env = "BILICO_MAX_CONNECTIONS"
    )]
    pub(super) max_connections: u32,
    /// How long a stopping balancer goes on delivering its files
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = parse_duration,
        env = "BILICO_SHUTDOWN_TIMEOUT"
    )]
    shutdown_timeout: Duration,
    /// Address of the page, API and metrics for operators: HTTP, from this machine only; `none` for
    /// no such listener
    #[arg(long, value_name = "ADDR", default_value = ADMIN, env = "BILICO_ADMIN")]
    pub(super) admin: AdminAt,
    /// Address of a listener that has only /metrics, for everybody who reaches it; `none` for no such
    /// listener
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_METRICS"
    )]
    pub(super) metrics: AdminAt,
    /// Who may read the metrics at that listener: everybody who reaches it, or with `--auth
    /// required` who shows a token with the right `metrics`
    #[arg(
        long,
        value_parser = one_of(words::METRICS_FOR),
        default_value = "everybody",
        env = "BILICO_METRICS_FOR"
    )]
    pub(super) metrics_for: MetricsFor,
    /// Who may do what: without users this machine may do everything and others hand files over;
    /// with them, whoever shows no token may do nothing
    #[arg(
        long,
        value_parser = one_of(words::AUTH),
        default_value = "off",
        env = "BILICO_AUTH"
    )]
    pub(super) auth: Auth,
    /// File of the users, for `--auth required`; `bilico user add` makes it
    #[arg(
        long,
        value_name = "FILE",
        default_value = "users.json",
        env = "BILICO_USERS"
    )]
    pub(super) users: PathBuf,
    /// A network whose old-style clients are taken for a user, who may only send: they cannot say
    /// who they are. Repeat the flag for each
    #[arg(
        long,
        value_name = "NETWORK=USER",
        env = "BILICO_OLD_STYLE_FROM",
        value_delimiter = ','
    )]
    old_style_from: Vec<OldStyleFrom>,
    /// The flag that hints name for another directory: the parent of this process has another one
    #[arg(
        long,
        hide = true,
        value_name = "FLAG",
        default_value = "--journal",
        allow_hyphen_values = true
    )]
    pub(super) journal_flag: String,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    #[command(flatten)]
    pub(super) role: RoleArgs,
}

/// A network whose old-style clients are taken for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct OldStyleFrom(ipnet::IpNet, UserName);

impl FromStr for OldStyleFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("invalid network and user {text:?}: expected e.g. 10.1.0.0/16=tills");
        let (network, user) = text.split_once('=').ok_or_else(wrong)?;
        let network = network.parse().map_err(|_| wrong())?;
        let user = user
            .parse()
            .map_err(|error| format!("{user:?} is {error}"))?;
        Ok(Self(network, user))
    }
}

/// Who is who at this balancer. Blocks on the disk.
pub(super) fn lock(args: &BalancerArgs) -> Result<Lock, Failure> {
    if args.auth == Auth::Off {
        if args.metrics_for == MetricsFor::Users {
            let error = "metrics-for = \"users\" needs users: --auth required";
            return Err(Failure::new(Exit::Usage, error));
        }
        return Ok(Lock::off_at_balancer());
    }
    let networks = args.old_style_from.iter();
    let networks = networks.map(|OldStyleFrom(network, user)| (*network, user.clone()));
    let accounts = Accounts::open(&args.users, networks.collect());
    accounts
        .map(|accounts| Lock::with_users(Arc::new(accounts)))
        .map_err(|error| {
            let failure = Failure::new(Exit::Failed, error);
            failure.hint("pass --users FILE for another file, or --auth off")
        })
}

fn segment_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    if SEGMENT_SIZES.contains(&size.0) {
        Ok(size)
    } else {
        Err(format!(
            "invalid segment size {text:?}: expected 1MiB to 1GiB"
        ))
    }
}

fn probe_interval(text: &str) -> Result<Duration, String> {
    let interval = positive(text)?;
    let shortest = Duration::from_millis(10);
    if interval < shortest {
        Err(format!(
            "invalid probe interval {text:?}: expected at least 10ms"
        ))
    } else {
        Ok(interval)
    }
}

/// Checks the values against each other; the error names a key.
pub(in crate::cli) fn check(matches: &ArgMatches) -> Result<(), (&'static str, String)> {
    let Ok(args) = BalancerArgs::from_arg_matches(matches) else {
        return Ok(());
    };
    check_servers(&args.servers).map_err(|error| ("servers", error.to_string()))?;
    queue_limits(&args)
        .check(args.max_json.0)
        .map_err(|error| ("max-json", error.to_string()))?;
    tls::check(&args.tls)?;
    args.cluster.check()?;
    args.fleet.join.check(args.cluster.is_given())
}

/// A file may leave the servers to the command line; once both are read, there must be some.
fn check_for_servers(args: &BalancerArgs) -> Result<(), &'static str> {
    if args.servers.is_empty() && !args.fleet.join.takes_servers() {
        return Err(
            "a balancer needs servers: name them with --server ADDR=WEIGHT, or let servers register \
             themselves with --join loopback, secret or certificate",
        );
    }
    Ok(())
}

/// How many files and connections the process may open, and how many of those are for clients.
pub(super) fn openings(args: &BalancerArgs) -> Result<Openings, Failure> {
    check_for_servers(args).map_err(|error| Failure::new(Exit::Usage, error))?;
    let limit = descriptors::raise();
    let (servers, wanted) = (args.servers.len(), args.max_connections as usize);
    let operators = args.admin.max_connections() + args.metrics.max_of_metrics();
    let operators = operators + args.fleet.agents.max_connections();
    let operators = operators + args.fleet.old.max_connections();
    Openings::of_balancer(limit, servers, operators, wanted).map_err(too_few)
}

/// Reads the settings that a running balancer can change.
pub(super) fn settings(matches: &ArgMatches) -> Result<Settings, String> {
    let args = BalancerArgs::from_arg_matches(matches).map_err(|error| error.to_string())?;
    check_for_servers(&args)?;
    Ok(settings_of(&args))
}

fn queue_limits(args: &BalancerArgs) -> QueueLimits {
    QueueLimits {
        files: args.queue_files as usize,
        bytes: args.queue_bytes.0,
    }
}

fn settings_of(args: &BalancerArgs) -> Settings {
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
        servers_speak: args.servers_speak,
        stall: args.stall_timeout,
        old_style: args.old_style_timeout,
        idle: args.idle_timeout,
        max_json: args.max_json.0,
    }
}

pub(super) fn config(
    args: &BalancerArgs,
    openings: Openings,
    access: Lock,
) -> Result<BalancerConfig, Failure> {
    let join = args.fleet.join.join()?;
    if !join.is_none() {
        tracing::info!("servers may register themselves (--join)");
    }
    Ok(BalancerConfig {
        access,
        join,
        settings: settings_of(args),
        max_connections: args.max_connections as usize,
        openings,
        grace: args.shutdown_timeout,
        journal: args.journal.clone(),
        journal_config: JournalConfig {
            durability: args.durability,
            segment_size: args.segment_size.map(|size| size.0),
        },
        history: args.fleet.history(),
        registry: args.fleet.registry(),
        ..BalancerConfig::default()
    })
}
